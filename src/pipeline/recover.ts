/** @file Setting right what a killed run left behind: a torn last line, a line without its image, temporary files. */

import { readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "../errors.js";
import { sha256, writeFileAtomic } from "../util/files.js";
import { readBytes, readTextIfThere } from "../util/read-file.js";
import { type CandidateLine, candidateImagePath, candidateLineSchema } from "./candidate-record.js";
import type { RunConfig } from "./manifest.js";

/** A line takes about a kilobyte and a run has at most ten thousand. */
const MAX_CANDIDATES_BYTES = 128 << 20;

/** The sound lines of a candidates.jsonl, and how many pieces of text were none. A line counts when its line break is there. */
export function readCandidateLines(
  text: string,
  config: RunConfig,
): { readonly lines: readonly CandidateLine[]; readonly rejected: number } {
  const pieces = text.split("\n");
  let rejected = pieces.pop() === "" ? 0 : 1;
  const lines = new Map<number, CandidateLine>();
  for (const piece of pieces) {
    const line = parseLine(piece, config);
    if (line === undefined || lines.has(line.index)) rejected++;
    else lines.set(line.index, line);
  }
  return { lines: [...lines.values()], rejected };
}

function parseLine(text: string, config: RunConfig): CandidateLine | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { success, data } = candidateLineSchema.safeParse(json);
  if (!success || data.index >= config.count || data.seed !== config.seed + data.index) return undefined;
  return data.image === candidateImagePath(data) ? data : undefined;
}

/** Keeps the lines whose image is whole, rewrites the list if any was not, and removes temporary files. Needs the run's lock. */
export async function recoverCandidates(directory: string, config: RunConfig): Promise<CandidateLine[]> {
  const path = join(directory, "candidates.jsonl");
  const text = await readCandidatesText(path);
  const { lines, rejected } = readCandidateLines(text, config);
  const sound: CandidateLine[] = [];
  for (const line of lines) {
    const expected = { expected: "an image of the run", limit: line.bytes };
    const png = await readBytes(join(directory, line.image), expected).catch(() => undefined);
    if (png !== undefined && png.byteLength === line.bytes && sha256(png) === line.sha256) sound.push(line);
  }
  if (rejected > 0 || sound.length < lines.length) {
    await writeFileAtomic(path, sound.map((line) => `${JSON.stringify(line)}\n`).join(""), { durable: true });
  }
  await removeTemporaryFiles(directory);
  return sound;
}

/** The text of a candidates.jsonl; empty when there is none. @throws UsageError when it cannot be read */
export async function readCandidatesText(path: string): Promise<string> {
  const options = { expected: "the candidates of a run", limit: MAX_CANDIDATES_BYTES, as: UsageError };
  return (await readTextIfThere(path, options)) ?? "";
}

/** Files that were being written: `.<name>.<pid>.<hex>.tmp`, see writeFileAtomic. */
export async function removeTemporaryFiles(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && /^\..+\.\d+\.[0-9a-f]+\.tmp$/.test(entry.name)) {
      await unlink(join(entry.parentPath, entry.name)).catch(() => undefined);
    }
  }
}
