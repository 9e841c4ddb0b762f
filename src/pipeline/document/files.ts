/** @file The files that pictures are made from: what they were when a run was planned, and whether they still are. */

import { stat } from "node:fs/promises";
import { UsageError } from "../../errors.js";
import { decodeRgb } from "../../image/decode.js";
import type { RgbImage } from "../../image/types.js";
import { sha256, sha256File } from "../../util/files.js";
import { describeSystemError, readBytes, statusFault } from "../../util/read-file.js";
import { parseLora } from "../../weights/lora/spec.js";
import { DocumentError, type Fault } from "../../util/yaml/located.js";
import type { FaultAt } from "./items.js";
import type { OpenSettings, PipelinePlan, PlanFile, PlanStep } from "./plan.js";

/** Largest picture. */
const MAXIMUM_BYTES = 512 << 20;

/** A picture's bytes. @throws UsageError when it cannot be read */
function readPicture(path: string): Promise<Buffer> {
  return readBytes(path, { expected: "a picture", limit: MAXIMUM_BYTES, as: UsageError });
}

/** SHA-256 of a file, hex; `expected` names it. @throws UsageError when it cannot be read */
async function digestPlanFile(path: string, expected: string): Promise<string> {
  const fail = (actual: string, cause?: unknown): UsageError =>
    new UsageError(`${path}: expected ${expected}, got ${actual}`, { cause });
  try {
    const fault = statusFault(await stat(path));
    if (fault === undefined) return await sha256File(path);
    throw fail(fault);
  } catch (error) {
    throw error instanceof UsageError ? error : fail(describeSystemError(error), error);
  }
}

/** Every file that settings and steps name, once, with its digest. @throws DocumentError naming each that cannot be read */
export async function planFiles(settings: OpenSettings, steps: readonly PlanStep[], at: FaultAt): Promise<PlanFile[]> {
  const named: (readonly [what: string, path: string | undefined, keys: readonly PropertyKey[]])[] = [];
  const inSettings = (keys: readonly PropertyKey[], { embeddings = [], lora = [] }: OpenSettings): void => {
    embeddings.forEach((path, i) => named.push(["an embedding", path, [...keys, "embeddings", i]]));
    lora.forEach((text, i) => named.push(["a LoRA", parseLora(text).path, [...keys, "lora", i]]));
  };
  inSettings(["settings"], settings);
  steps.forEach((step, i) => {
    if ("settings" in step) inSettings(["steps", i, step.kind], step.settings);
    if (step.kind !== "generate") return;
    named.push(
      ["a picture", step.init, ["steps", i, "generate", "init"]],
      ["a picture", step.mask, ["steps", i, "generate", "mask"]],
    );
  });
  const files = new Map<string, string>();
  const faults: Fault[] = [];
  for (const [what, path, keys] of named) {
    if (path === undefined || files.has(path)) continue;
    try {
      files.set(path, await digestPlanFile(path, what));
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
    const picture = readPicture(path).then((bytes) => {
      expectDigest(path, sha256(bytes), digests.get(path) ?? "", path);
      return decodeRgb(bytes, path);
    });
    read.set(path, picture);
    return picture;
  };
}

/** @throws UsageError when a file is not what it was when the run was planned */
export async function expectPlanFiles({ files }: PipelinePlan, where: string): Promise<void> {
  for (const { path, sha256: expected } of files) {
    expectDigest(path, await digestPlanFile(path, "the file that the run was planned with"), expected, where);
  }
}

function expectDigest(path: string, actual: string, expected: string, where: string): void {
  if (actual === expected) return;
  throw new UsageError(
    `${where}: expected the file that the run was planned with, ${path} (SHA-256 ${expected.slice(0, 12)}), got another (${actual.slice(0, 12)})`,
  );
}
