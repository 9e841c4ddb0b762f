/** @file What a pipeline's run has already. Memory holds a number per candidate while the lists are read, and what unfinished items need. */

import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import type { Lineage } from "../../strategies/contract.js";
import { readInto } from "../../util/files.js";
import { isMissing } from "../../util/read-file.js";
import { CANDIDATES_FILE } from "../candidate-store.js";
import type { PipelinePlan } from "../document/plan.js";
import {
  type CandidateList,
  keepLines,
  parseRecord,
  readCandidates,
  readRecords,
  recoverCandidates,
  removeTemporaryFiles,
} from "../recover.js";
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
  readonly lineage: Lineage;
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

/** As far as its indices go, what a run was made from. */
type Extent = Pick<PipelinePlan, "items" | "candidatesPerItem">;

/** The candidates of a run in the order they were stored in, each once. Their pictures are not looked at. */
export function readPipelineCandidates(directory: string, plan: Extent): AsyncGenerator<PipelineCandidate> {
  return readCandidates(listOf(directory, plan));
}

function listOf(directory: string, { items, candidatesPerItem }: Extent): CandidateList<PipelineCandidate> {
  const limit = items.length * candidatesPerItem;
  return {
    directory,
    file: CANDIDATES_FILE,
    schema: pipelineCandidateSchema,
    accepts: ({ index, item }) => index < limit && items[Math.floor(index / candidatesPerItem)]?.id === item,
  };
}

/** Sets right what a kill left behind, and says what is there. Needs the run's lock. */
export async function recoverPipeline(directory: string, plan: Extent): Promise<Recovered> {
  const path = join(directory, PIPELINE_FILES.items);
  const done = new Map<number, { readonly offset: number; readonly candidates: number }>();
  for await (const { record, offset } of readRecords(path, itemLineSchema)) {
    // an item that failed is tried again
    if (record.error !== null || record.index >= plan.items.length) done.delete(record.index);
    else done.set(record.index, { offset, candidates: record.candidates });
  }
  const itemOf = ({ index }: { readonly index: number }): number => Math.floor(index / plan.candidatesPerItem);
  const recorded = new Map<number, RecordedCandidate[]>();
  const record = (line: PipelineCandidate): void => {
    const { index, seed, score, image, evaluations, prompt, lineage } = line;
    const one: RecordedCandidate = { index, seed, score, image, evaluations, prompt, lineage };
    const list = recorded.get(itemOf(line));
    if (list === undefined) recorded.set(itemOf(line), [one]);
    else list.push(one);
  };
  const missing = new Map([...done].map(([index, item]) => [index, item.candidates]));
  let candidates = 0;
  let evaluations = 0;
  await recoverCandidates(listOf(directory, plan), (line) => {
    candidates++;
    evaluations += line.evaluations;
    const left = missing.get(itemOf(line));
    if (left === undefined) record(line);
    else missing.set(itemOf(line), left - 1);
  });
  // an item that lost a picture is completed
  const incomplete = new Set([...missing].flatMap(([index, left]) => (left > 0 ? [index] : [])));
  if (incomplete.size > 0) {
    for await (const line of readPipelineCandidates(directory, plan)) if (incomplete.has(itemOf(line))) record(line);
    for (const index of incomplete) done.delete(index);
  }
  await keepLines(path, new Set([...done.values()].map(({ offset }) => offset)));
  await removeTemporaryFiles(directory);
  return { finished: new Set(done.keys()), recorded, candidates, evaluations };
}

type Place = readonly [offset: number, bytes: number];

/** The finished items of a run: where each line is, one in memory at a time. */
export class ItemLines {
  readonly #places: ReadonlyMap<number, Place>;
  readonly #handle: FileHandle | undefined;

  private constructor(places: ReadonlyMap<number, Place>, handle: FileHandle | undefined) {
    this.#places = places;
    this.#handle = handle;
  }

  /** Opens the list of a run; an empty one where there is none. Of several lines of one item, the last counts. */
  static async open(directory: string): Promise<ItemLines> {
    const path = join(directory, PIPELINE_FILES.items);
    const places = new Map<number, Place>();
    for await (const { record, offset, bytes } of readRecords(path, itemLineSchema)) {
      places.set(record.index, [offset, bytes]);
    }
    const handle = await open(path, "r").catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    return new ItemLines(new Map([...places].sort(([a], [b]) => a - b)), handle);
  }

  /** How many there are. */
  get count(): number {
    return this.#places.size;
  }

  /** The line of an item; undefined for one that is not there. */
  async read(index: number): Promise<ItemLine | undefined> {
    const place = this.#places.get(index);
    if (place === undefined || this.#handle === undefined) return undefined;
    const text = Buffer.alloc(place[1]);
    await readInto(this.#handle, text, place[0]);
    return parseRecord(text.toString("utf8"), itemLineSchema);
  }

  /** All lines, items in their order. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ItemLine, void> {
    for (const index of this.#places.keys()) {
      const line = await this.read(index);
      if (line !== undefined) yield line;
    }
  }

  /** Closes the file. */
  async close(): Promise<void> {
    await this.#handle?.close();
  }
}
