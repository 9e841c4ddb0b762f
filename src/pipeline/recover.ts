/** @file Setting right what a killed run left behind: a torn last line, a line without its image, temporary files. Lists are read line by line. */

import { opendir, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { z } from "zod";
import { isTemporaryName, sha256, writeFileAtomic } from "../util/files.js";
import { completeLines } from "../util/lines.js";
import { readBytes } from "../util/read-file.js";
import { type CandidateLine, candidateImagePath } from "./candidate-record.js";

/** Longest line that is looked at; a record takes a kilobyte or two, with the longest prompt a hundred times that. */
const LONGEST_LINE = 1 << 22;
/** Images that are read at once. */
const IMAGES_AT_ONCE = 16;

/** A list of candidates, and which of its lines count. */
export interface CandidateList<Line extends CandidateLine> {
  readonly directory: string;
  readonly file: string;
  readonly schema: z.ZodType<Line>;
  /** Whether a line can be one of this run. */
  readonly accepts: (line: Line) => boolean;
}

/** A record, and where its line is in the file. */
export interface Placed<Record> {
  readonly record: Record;
  readonly offset: number;
  readonly bytes: number;
}

/** The records of a list that meet `schema`; lines that do not are left out. */
export async function* readRecords<Record>(
  path: string,
  schema: z.ZodType<Record>,
): AsyncGenerator<Placed<Record>, void> {
  for await (const { text, offset, bytes } of completeLines(path, LONGEST_LINE)) {
    const record = text === undefined ? undefined : parseRecord(text, schema);
    if (record !== undefined) yield { record, offset, bytes };
  }
}

/** The record in a line, or undefined when there is none. */
export function parseRecord<Record>(text: string, schema: z.ZodType<Record>): Record | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { success, data } = schema.safeParse(json);
  return success ? data : undefined;
}

/** The candidates of a list in the order they were stored in, each once. Their images are not looked at. */
export async function* readCandidates<Line extends CandidateLine>(list: CandidateList<Line>): AsyncGenerator<Line> {
  for await (const { record } of placedCandidates(list)) yield record;
}

async function* placedCandidates<Line extends CandidateLine>(list: CandidateList<Line>): AsyncGenerator<Placed<Line>> {
  const seen = new Set<number>();
  for await (const placed of readRecords(join(list.directory, list.file), list.schema)) {
    const { record } = placed;
    if (seen.has(record.index) || record.image !== candidateImagePath(record) || !list.accepts(record)) continue;
    seen.add(record.index);
    yield placed;
  }
}

/** Keeps the lines whose image is whole, rewrites the list if any was not, and tells of each that is. Needs the run's lock. */
export async function recoverCandidates<Line extends CandidateLine>(
  list: CandidateList<Line>,
  onSound: (line: Line) => void,
): Promise<void> {
  const kept = new Set<number>();
  let pending: Placed<Line>[] = [];
  const check = async (): Promise<void> => {
    const whole = await Promise.all(pending.map(({ record }) => isWhole(list.directory, record)));
    for (const [i, { record, offset }] of pending.entries()) {
      if (whole[i] !== true) continue;
      kept.add(offset);
      onSound(record);
    }
    pending = [];
  };
  for await (const placed of placedCandidates(list)) if (pending.push(placed) === IMAGES_AT_ONCE) await check();
  await check();
  await keepLines(join(list.directory, list.file), kept);
}

/** Rewrites a list without the lines that do not begin at one of the places `kept`, a torn last one included; leaves alone one that has none. */
export async function keepLines(path: string, kept: ReadonlySet<number>): Promise<void> {
  let lines = 0;
  let end = 0;
  for await (const { offset, bytes } of completeLines(path, 0)) {
    lines++;
    end = offset + bytes + 1;
  }
  const size = (await stat(path).catch(() => undefined))?.size ?? 0;
  if (lines === kept.size && size === end) return;
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    for await (const { text, offset } of completeLines(path, LONGEST_LINE))
      if (text !== undefined && kept.has(offset)) yield Buffer.from(`${text}\n`);
  };
  await writeFileAtomic(path, pieces(), { durable: true });
}

async function isWhole(directory: string, { image, bytes, sha256: digest }: CandidateLine): Promise<boolean> {
  const png = await readBytes(join(directory, image), { expected: "an image of the run", limit: bytes }).catch(
    () => undefined,
  );
  return png !== undefined && png.byteLength === bytes && sha256(png) === digest;
}

/** Removes files that were being written. */
export async function removeTemporaryFiles(directory: string): Promise<void> {
  for await (const entry of await opendir(directory, { bufferSize: 1024 })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await removeTemporaryFiles(path);
    else if (entry.isFile() && isTemporaryName(entry.name)) await unlink(path).catch(() => undefined);
  }
}
