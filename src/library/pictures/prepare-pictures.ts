/** @file From found files to pictures that wait for their score, a few at a time; those that are known are passed through. */

import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { LaurelError } from "../../errors.js";
import type { FoundPicture, PassedOver } from "../../image/walk-pictures.js";
import type { SourceImage } from "../../image/types.js";
import { throwIfAborted } from "../../util/abort.js";
import { describeSystemError } from "../../util/read-file.js";
import type { PictureScore, PromptsFrom } from "./picture-score.js";
import { decodePicture, ownPrompt, pixelDigest, readPicture } from "./read-picture.js";
import type { IndexedScore, ScoreIndex } from "./score-index.js";

/** Files looked at together, pictures decoded at the same time, and what may wait for its score: 64 MB of pixels or 16 pictures. */
const LOOKED_AT = 64;
const DECODING = 4;
const WAITING = { pictures: 16, bytes: 64 << 20 } as const;

/** What is known of a picture before it is scored, as the index will have it. */
export type Facts = Omit<IndexedScore, "path" | "task">;

/** A picture on its way: known from before, waiting for its score, or with a problem. */
export interface Prepared {
  readonly found: FoundPicture;
  readonly facts: Facts;
  /** The line of the index that holds already. */
  readonly offset?: number | undefined;
  /** Pixels that wait for their score. */
  readonly image?: SourceImage | undefined;
  /** The file could not be looked at: nothing of it is remembered. */
  readonly gone?: boolean | undefined;
}

/** What pictures are prepared for. */
export interface Task {
  readonly id: string;
  readonly index: ScoreIndex;
  /** For all, or undefined for each picture's own. */
  readonly prompt: string | undefined;
  readonly prompts: PromptsFrom;
  readonly signal: AbortSignal | undefined;
  readonly onPassedOver: (passed: PassedOver) => void;
}

/** Groups of pictures in the order they are found. */
export async function* preparePictures(
  walk: AsyncIterable<FoundPicture | PassedOver>,
  task: Task,
): AsyncGenerator<readonly Prepared[], void> {
  let found: FoundPicture[] = [];
  for await (const one of walk) {
    if (one.kind === "passed over") task.onPassedOver(one);
    else found.push(one);
    if (found.length < LOOKED_AT) continue;
    yield* groups(found, task);
    found = [];
  }
  yield* groups(found, task);
}

async function* groups(found: readonly FoundPicture[], task: Task): AsyncGenerator<readonly Prepared[], void> {
  throwIfAborted(task.signal, "scoring");
  const looks = await Promise.all(found.map((one) => lookAt(one, task)));
  const known: (Facts | undefined)[] = [];
  // one after the other: the index is read in its order
  for (const { path } of found) known.push(await task.index.find(task.id, path));
  let group: Prepared[] = [];
  let waiting = { pictures: 0, bytes: 0 };
  for (let next = 0; next < found.length;) {
    const part = found.slice(next, next + DECODING);
    const prepared = await Promise.all(
      part.map((one, i) => prepare(one, { ...looks[next + i]!, known: known[next + i] }, task)),
    );
    next += part.length;
    group.push(...prepared);
    for (const { image } of prepared) {
      if (image === undefined) continue;
      waiting = { pictures: waiting.pictures + 1, bytes: waiting.bytes + image.data.byteLength };
    }
    if (waiting.pictures < WAITING.pictures && waiting.bytes < WAITING.bytes) continue;
    throwIfAborted(task.signal, "scoring");
    yield group;
    [group, waiting] = [[], { pictures: 0, bytes: 0 }];
  }
  if (group.length > 0) yield group;
}

/** A file as the system has it, and as the index does. */
interface Look {
  readonly status: Stats | Error;
  readonly side: Facts["side"];
  readonly known?: Facts | undefined;
}

async function lookAt({ path, sidecar }: FoundPicture, { prompt, prompts }: Task): Promise<Look> {
  const asked = sidecar !== null && prompt === undefined && prompts !== "metadata";
  const [status, beside] = await Promise.all([
    stat(path).catch((error: unknown) => error as Error),
    asked ? stat(sidecar).catch(() => undefined) : undefined,
  ]);
  return { status, side: beside === undefined ? null : [basename(sidecar!), beside.size, beside.mtimeMs] };
}

async function prepare(found: FoundPicture, { status, side, known }: Look, task: Task): Promise<Prepared> {
  if (status instanceof Error) return gone(found, describeSystemError(status));
  const same = known !== undefined && JSON.stringify(known.side) === JSON.stringify(side);
  if (same && known.bytes === status.size && known.modified === status.mtimeMs)
    return { found, facts: known, offset: task.index.offsetOf(task.id, found.path) };
  return read(found, { status, side, known, task });
}

interface Reading {
  readonly status: Stats;
  readonly side: Facts["side"];
  readonly known: Facts | undefined;
  readonly task: Task;
}

/** Reads a picture that is new or was changed; one whose pixels and prompt are as before keeps its score. */
async function read(found: FoundPicture, { status, side, known, task }: Reading): Promise<Prepared> {
  const { path, sidecar } = found;
  let bytes: Uint8Array;
  try {
    bytes = await readPicture(path);
  } catch (error) {
    if (error instanceof LaurelError) return gone(found, withoutPath(error.message, path), status);
    throw error;
  }
  const own =
    task.prompt === undefined
      ? await ownPrompt(bytes, path, sidecar, task.prompts)
      : { prompt: task.prompt, promptFrom: "given" as const };
  const digest = pixelDigest(bytes, path);
  const { prompt } = own;
  const promptFrom = own.prompt === null ? null : own.promptFrom;
  const now = { bytes: status.size, modified: status.mtimeMs, side, prompt, promptFrom, digest };
  if (known !== undefined && known.digest === digest && known.prompt === prompt && known.score !== null)
    return { found, facts: { ...known, ...now, written: false } };
  const decoded = await decodePicture(bytes, path);
  if (decoded.image === undefined) {
    const error = withoutPath(decoded.error, path);
    return { found, facts: { ...now, ...NO_SIZE, look: null, score: null, problem: "broken", error } };
  }
  const { image, look } = decoded;
  const facts = { ...now, width: image.width, height: image.height, look, score: null };
  if (own.prompt === null) return { found, facts: { ...facts, problem: "no prompt", error: own.error } };
  return { found, facts, image };
}

const NO_SIZE = { width: null, height: null };

/** A file that vanished, or cannot be opened: another time it may be different, whatever its time of change says. */
function gone(found: FoundPicture, reason: string, status?: Stats): Prepared {
  const unknown = { ...NO_SIZE, side: null, prompt: null, promptFrom: null, digest: null, look: null, score: null };
  const facts = { ...unknown, bytes: status?.size ?? 0, modified: status?.mtimeMs ?? null };
  return { found, facts: { ...facts, problem: "broken", error: reason }, gone: true };
}

/** The index holds errors without paths, as its folder may move. */
function withoutPath(message: string, path: string): string {
  return message.replace(`${path}: `, "");
}

/** The picture's score as it is told. @param path absolute */
export function toldOf(path: string, facts: Facts): PictureScore {
  const notTold = { side: undefined, written: undefined, key: undefined };
  const { problem, error } = facts;
  const told = problem === undefined || problem === "no prompt" ? error : `${path}: ${error ?? problem}`;
  return { ...facts, ...notTold, path, error: told };
}
