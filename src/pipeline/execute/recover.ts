/** @file What a pipeline's run has already, read line by line: torn lines, lines without their image and lines twice are dropped. */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { z } from "zod";
import { sha256, writeFileAtomic } from "../../util/files.js";
import { readBytes } from "../../util/read-file.js";
import { candidateImagePath } from "../candidate-record.js";
import { CANDIDATES_FILE } from "../candidate-store.js";
import type { PipelinePlan } from "../document/plan.js";
import { removeTemporaryFiles } from "../recover.js";
import {
  type ItemLine,
  itemLineSchema,
  type PipelineCandidate,
  PIPELINE_FILES,
  pipelineCandidateSchema,
  type PlacedCandidate,
} from "./manifest.js";

/** A candidate of an unfinished item. */
export interface RecordedCandidate extends PlacedCandidate {
  readonly prompt: string;
  readonly lineage: PipelineCandidate["lineage"];
}

/** What is there. */
export interface Recovered {
  /** Indices of the items that need nothing more. */
  readonly finished: ReadonlySet<number>;
  /** Candidates of the other items, by item. */
  readonly recorded: ReadonlyMap<number, readonly RecordedCandidate[]>;
  readonly candidates: number;
  readonly evaluations: number;
}

/** Longest line that is looked at; a record takes a few kilobytes, with the longest prompt some ten times that. */
const MAXIMUM_LINE = 1 << 20;

/** Sets right what a kill left behind, and says what is there. Needs the run's lock. */
export async function recoverPipeline(directory: string, plan: PipelinePlan): Promise<Recovered> {
  const path = join(directory, CANDIDATES_FILE);
  const recorded = new Map<number, RecordedCandidate[]>();
  const sound = new Set<number>();
  let evaluations = 0;
  for await (const line of readCandidates(directory, plan)) {
    if (!(await isWhole(directory, line))) continue;
    sound.add(line.index);
    evaluations += line.evaluations;
    const item = Math.floor(line.index / plan.candidatesPerItem);
    const { index, seed, score, image, prompt, lineage } = line;
    recorded.set(item, [
      ...(recorded.get(item) ?? []),
      { index, seed, score, image, evaluations: line.evaluations, prompt, lineage },
    ]);
  }
  if ((await countLines(path)) !== sound.size) {
    await rewrite(path, readCandidates(directory, plan), (line) => sound.has(line.index));
  }
  const finished = new Set<number>();
  for await (const line of readItems(directory)) {
    // an item that failed is tried again, one that lost a picture is completed
    if (line.error !== null || (recorded.get(line.index)?.length ?? 0) < line.candidates) continue;
    finished.add(line.index);
    recorded.delete(line.index);
  }
  const items = join(directory, PIPELINE_FILES.items);
  if ((await countLines(items)) !== finished.size) {
    await rewrite(items, readItems(directory), (line) => finished.has(line.index));
  }
  await removeTemporaryFiles(directory);
  return { finished, recorded, candidates: sound.size, evaluations };
}

/** The candidates of a run in the order they were stored in, each once. Their pictures are not looked at. */
export async function* readCandidates(
  directory: string,
  { items, candidatesPerItem }: Pick<PipelinePlan, "items" | "candidatesPerItem">,
): AsyncGenerator<PipelineCandidate> {
  const seen = new Set<number>();
  for await (const text of completeLines(join(directory, CANDIDATES_FILE))) {
    const line = parse(pipelineCandidateSchema, text);
    if (line === undefined || line.index >= items.length * candidatesPerItem || seen.has(line.index)) continue;
    if (line.image !== candidateImagePath(line)) continue;
    seen.add(line.index);
    yield line;
  }
}

/** The items of a run in the order they were finished in; of several lines of one item, the last. */
export async function* readItems(directory: string): AsyncGenerator<ItemLine> {
  const path = join(directory, PIPELINE_FILES.items);
  const latest = new Map<number, number>();
  let number = 0;
  for await (const text of completeLines(path)) {
    const line = parse(itemLineSchema, text);
    if (line !== undefined) latest.set(line.index, number);
    number++;
  }
  number = 0;
  for await (const text of completeLines(path)) {
    const line = parse(itemLineSchema, text);
    if (line !== undefined && latest.get(line.index) === number) yield line;
    number++;
  }
}

/** The lines of a file that have their line break; a last one without is torn. */
async function* completeLines(path: string): AsyncGenerator<string> {
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined) return;
  let read = 0;
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
    read += Buffer.byteLength(line) + 1;
    if (read <= facts.size) yield line;
  }
}

/** Lines of a file, a torn one counted. */
async function countLines(path: string): Promise<number> {
  let lines = 0;
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined) return 0;
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
    if (line.length >= 0) lines++;
  }
  return lines;
}

async function rewrite<T>(path: string, lines: AsyncIterable<T>, keep: (line: T) => boolean): Promise<void> {
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    for await (const line of lines) if (keep(line)) yield Buffer.from(`${JSON.stringify(line)}\n`);
  };
  await writeFileAtomic(path, pieces(), { durable: true });
}

async function isWhole(directory: string, { image, bytes, sha256: digest }: PipelineCandidate): Promise<boolean> {
  const png = await readBytes(join(directory, image), { expected: "an image of the run", limit: bytes }).catch(
    () => undefined,
  );
  return png !== undefined && png.byteLength === bytes && sha256(png) === digest;
}

function parse<T>(schema: z.ZodType<T>, text: string): T | undefined {
  if (text.length > MAXIMUM_LINE) return undefined;
  try {
    const { success, data } = schema.safeParse(JSON.parse(text));
    return success ? data : undefined;
  } catch {
    return undefined;
  }
}
