/** @file The files that pictures are made from: what they were when a run was planned, and whether they still are. */

import { UsageError } from "../../errors.js";
import { decodeRgb } from "../../image/decode.js";
import type { RgbImage } from "../../image/types.js";
import { sha256 } from "../../util/files.js";
import { readBytes } from "../../util/read-file.js";
import { DocumentError, type Fault } from "../../util/yaml/located.js";
import type { FaultAt } from "./items.js";
import type { OpenSettings, PipelinePlan, PlanFile, PlanStep } from "./plan.js";

/** Largest picture or embedding. */
const MAXIMUM_BYTES = 512 << 20;

/** A file's bytes. @throws UsageError when it cannot be read */
export function readPlanFile(path: string): Promise<Buffer> {
  return readBytes(path, { expected: "a picture or an embedding", limit: MAXIMUM_BYTES, as: UsageError });
}

/** Every file that settings and steps name, once, with its digest. @throws DocumentError naming each that cannot be read */
export async function planFiles(settings: OpenSettings, steps: readonly PlanStep[], at: FaultAt): Promise<PlanFile[]> {
  const named: (readonly [path: string | undefined, keys: readonly PropertyKey[]])[] = [];
  const embeddings = (keys: readonly PropertyKey[], paths: readonly string[] = []): void =>
    paths.forEach((path, i) => named.push([path, [...keys, "embeddings", i]]));
  embeddings(["settings"], settings.embeddings);
  steps.forEach((step, i) => {
    if ("settings" in step) embeddings(["steps", i, step.kind], step.settings.embeddings);
    if (step.kind !== "generate") return;
    named.push([step.init, ["steps", i, "generate", "init"]], [step.mask, ["steps", i, "generate", "mask"]]);
  });
  const files = new Map<string, string>();
  const faults: Fault[] = [];
  for (const [path, keys] of named) {
    if (path === undefined || files.has(path)) continue;
    try {
      files.set(path, sha256(await readPlanFile(path)));
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      faults.push(at(keys, error.message));
    }
  }
  if (faults.length > 0) throw new DocumentError(faults);
  return [...files].map(([path, digest]) => ({ path, sha256: digest }));
}

/** Reads the pictures among `files`, each once. @throws UsageError when one is not what it was when the run was planned */
export function pictureReader(files: readonly PlanFile[]): (path: string) => Promise<RgbImage> {
  const read = new Map<string, Promise<RgbImage>>();
  const digests = new Map(files.map(({ path, sha256: digest }) => [path, digest]));
  return (path) => {
    const known = read.get(path);
    if (known !== undefined) return known;
    const picture = readPlanFile(path).then((bytes) => {
      expectDigest(path, bytes, digests.get(path) ?? "", path);
      return decodeRgb(bytes, path);
    });
    read.set(path, picture);
    return picture;
  };
}

/** @throws UsageError when a file is not what it was when the run was planned */
export async function expectPlanFiles({ files }: PipelinePlan, where: string): Promise<void> {
  for (const { path, sha256: expected } of files) {
    expectDigest(path, await readPlanFile(path), expected, where);
  }
}

function expectDigest(path: string, bytes: Uint8Array, expected: string, where: string): void {
  const actual = sha256(bytes);
  if (actual === expected) return;
  throw new UsageError(
    `${where}: expected the file that the run was planned with, ${path} (SHA-256 ${expected.slice(0, 12)}), got another (${actual.slice(0, 12)})`,
  );
}
