/** @file What was scored before: a file of JSON lines that is appended to, and a table of where each picture's line is. */

import { type FileHandle, mkdtemp, open, rename, rm, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { LaurelError, UsageError } from "../../errors.js";
import { readInto, temporaryName } from "../../util/files.js";
import { HashNumbers, hash64 } from "../../util/hash-numbers.js";
import { completeLines } from "../../util/lines.js";
import { holderInWords, type ProcessLock, tryLock } from "../../util/process-lock.js";
import { isMissing, writeFault } from "../../util/read-file.js";
import { kindOf } from "../../util/rows.js";
import type { PictureScore } from "./picture-score.js";

/** Name of the index inside a folder of pictures. */
export const INDEX_NAME = ".laurel-scores.jsonl";

const HEADER = '{"laurelScores":1}';
/** A line's key stands first, so that a table of a million is made without parsing them. */
const KEY = /^\{"key":"([0-9a-f]{8})([0-9a-f]{8})",/;
const LONGEST = 8 << 20;
const WINDOW = 1 << 16;
/** Lines of no use, beyond those in use, before the file is written anew. */
const SPARE_LINES = 1000;

/** One picture's line. */
export interface IndexedScore extends Omit<PictureScore, "path"> {
  /** The sidecar as it was: its name, size and time of change. */
  readonly side: readonly [name: string, bytes: number, modified: number] | null;
  /** Its metadata hold the score. */
  readonly written?: boolean | undefined;
}

/** A line as it is written. */
interface Line {
  /** Below the index's folder, with `/`; else absolute. */
  readonly path: string;
  readonly task: string;
  readonly score: IndexedScore;
}

/**
 * Scores by picture and task; a task is a reward with a prompt or a way to find prompts. Of two lines for the same the later counts. One process at a time has it open.
 * A picture takes about 30 bytes of memory; lines are read where they are needed, cheaply in the order they were written.
 */
export class ScoreIndex {
  readonly path: string;
  readonly #folder: string;
  readonly #temporary: string | undefined;
  readonly #lock: ProcessLock | undefined;
  readonly #table = new HashNumbers();
  #file: FileHandle;
  #end = 0;
  /** What is not written yet, and where it begins to be added to. */
  #pending: string[] = [];
  #next = 0;
  #writing: Promise<void> = Promise.resolve();
  #window = { start: 0, bytes: Buffer.alloc(0) };

  private constructor(path: string, file: FileHandle, lock: ProcessLock | undefined, temporary: string | undefined) {
    this.path = path;
    this.#folder = dirname(path);
    this.#file = file;
    this.#lock = lock;
    this.#temporary = temporary;
  }

  /**
   * Opens the index at `path`, made if it is missing. What a kill left half written is cut off.
   * @throws UsageError when another process has it open, it is something else, or its folder cannot be written to
   */
  static async open(path: string): Promise<ScoreIndex> {
    const place = resolve(path);
    const { lock, holder } = await tryLock(`${place}.lock`).catch((error: unknown) => {
      throw new UsageError(`${place}: expected a place for the index of scores, got ${writeFault(error)}`, {
        cause: error,
      });
    });
    if (lock === undefined) {
      throw new UsageError(
        `${place}: expected an index of scores that no other process works on, got ${holderInWords(holder)}`,
      );
    }
    try {
      return await ScoreIndex.#openAt(place, lock, undefined);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** An index that is gone when it is closed. */
  static async temporary(): Promise<ScoreIndex> {
    const folder = await mkdtemp(join(tmpdir(), "laurel-scores-"));
    return ScoreIndex.#openAt(join(folder, "scores.jsonl"), undefined, folder);
  }

  static async #openAt(
    path: string,
    lock: ProcessLock | undefined,
    temporary: string | undefined,
  ): Promise<ScoreIndex> {
    const file = await openOrMake(path);
    const index = new ScoreIndex(path, file, lock, temporary);
    try {
      const { lines } = await index.#load();
      if (lines > 2 * index.#table.size + SPARE_LINES) await index.#rewrite();
      return index;
    } catch (error) {
      await index.#file.close();
      throw error;
    }
  }

  /** Pictures and tasks that are known. */
  get size(): number {
    return this.#table.size;
  }

  /** The line of a picture. @param path absolute */
  async find(task: string, path: string): Promise<IndexedScore | undefined> {
    const own = this.#named(path);
    const offset = this.#table.get(keyOf(task, own));
    if (offset === undefined) return undefined;
    const line = await this.#line(offset);
    return line?.path === own && line.task === task ? line.score : undefined;
  }

  /** Where the line of a picture is, for {@link read}. */
  offsetOf(task: string, path: string): number | undefined {
    return this.#table.get(keyOf(task, this.#named(path)));
  }

  /** Adds a line, or replaces that of the same picture and task. It is on the disk after {@link flush}. @returns where it is, for {@link read} */
  append(task: string, path: string, score: IndexedScore): number {
    const own = this.#named(path);
    const key = keyOf(task, own);
    const text = `{"key":"${hex(key[0])}${hex(key[1])}",${JSON.stringify({ ...score, key: undefined, path: own, task }).slice(1)}\n`;
    const offset = this.#next;
    this.#add(text);
    this.#table.set(key, offset);
    return offset;
  }

  /** Adds a line that says what a task is, for people. */
  note(task: string, facts: Readonly<Record<string, unknown>>): void {
    this.#add(`${JSON.stringify({ task, ...facts })}\n`);
  }

  #add(text: string): void {
    this.#pending.push(text);
    this.#next += Buffer.byteLength(text);
  }

  /** Writes what was added. @throws LaurelError when the disk takes no more */
  flush(): Promise<void> {
    // one after the other: lines may be added, and asked for, while others are written
    const written = this.#writing.then(() => this.#write());
    this.#writing = written.catch(() => undefined);
    return written;
  }

  async #write(): Promise<void> {
    if (this.#pending.length === 0) return;
    const count = this.#pending.length;
    const bytes = Buffer.from(this.#pending.join(""));
    try {
      for (let written = 0; written < bytes.length;) {
        const part = await this.#file.write(bytes, written, bytes.length - written, this.#end + written);
        written += part.bytesWritten;
      }
    } catch (error) {
      throw new LaurelError(`${this.path}: expected room for the index of scores, got ${writeFault(error)}`, {
        cause: error,
      });
    }
    this.#end += bytes.length;
    this.#pending = this.#pending.slice(count);
  }

  /** What the line at an offset says, with the absolute path of its picture. */
  async read(offset: number): Promise<(IndexedScore & { readonly path: string }) | undefined> {
    const line = await this.#line(offset);
    return line && { ...line.score, path: this.#pathOf(line.path) };
  }

  async #line(offset: number): Promise<Line | undefined> {
    if (offset >= this.#end) await this.flush();
    if (offset >= this.#end) return undefined;
    for (let length = WINDOW; length <= 2 * LONGEST; length *= 4) {
      const { start, bytes } = this.#window;
      const from = offset - start;
      const end = from >= 0 && from < bytes.length ? bytes.indexOf(0x0a, from) : -1;
      if (end >= 0) return parsed(bytes.toString("utf8", from, end));
      const buffer = Buffer.alloc(Math.min(length, this.#end - offset));
      const count = await readInto(this.#file, buffer, offset);
      this.#window = { start: offset, bytes: buffer.subarray(0, count) };
    }
    return undefined;
  }

  #pathOf(path: string): string {
    return isAbsolute(path) ? path : join(this.#folder, ...path.split("/"));
  }

  /** Writes what was added and lets others have the index. */
  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.#file.close();
      await this.#lock?.release();
      if (this.#temporary !== undefined) await rm(this.#temporary, { recursive: true, force: true });
    }
  }

  #named(path: string): string {
    const below = relative(this.#folder, path);
    return below.startsWith(`..${sep}`) || isAbsolute(below) ? path : below.split(sep).join("/");
  }

  /** Reads the keys. */
  async #load(): Promise<{ readonly lines: number }> {
    let [lines, end, first] = [0, 0, true];
    for await (const { text, offset, bytes } of completeLines(this.path, LONGEST)) {
      if (first && text !== HEADER)
        throw new UsageError(`${this.path}: expected an index of scores, got something else; it is left as it is`);
      first = false;
      end = offset + bytes + 1;
      const key = text === undefined || !text.endsWith("}") ? null : KEY.exec(text);
      if (key === null) continue;
      lines++;
      this.#table.set([Number.parseInt(key[1]!, 16), Number.parseInt(key[2]!, 16)], offset);
    }
    const { size } = await this.#file.stat();
    if (first && size > HEADER.length)
      throw new UsageError(`${this.path}: expected an index of scores, got something else; it is left as it is`);
    // the rest of a line that a kill cut short
    await this.#file.truncate(end);
    this.#end = end;
    this.#next = end;
    if (first) this.#add(`${HEADER}\n`);
    return { lines };
  }

  /** Leaves out the lines that later ones replace. */
  async #rewrite(): Promise<void> {
    const temporary = temporaryName(this.path);
    const file = await open(temporary, "wx+");
    try {
      let part: string[] = [];
      for await (const { text, offset } of completeLines(this.path, LONGEST)) {
        const key = text === undefined ? null : KEY.exec(text);
        const own =
          key === null ? undefined : this.#table.get([Number.parseInt(key[1]!, 16), Number.parseInt(key[2]!, 16)]);
        if (text !== undefined && (key === null || own === offset)) part.push(`${text}\n`);
        if (part.length < 4096) continue;
        await file.appendFile(part.join(""));
        part = [];
      }
      await file.appendFile(part.join(""));
      await rename(temporary, this.path);
    } catch (error) {
      await file.close();
      await unlink(temporary).catch(() => undefined);
      // a full disk: the longer file serves as well
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
      return;
    }
    await this.#file.close();
    this.#file = file;
    await this.#load();
  }
}

function keyOf(task: string, path: string): readonly [number, number] {
  return hash64(`${task}\0${path}`);
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}

/** A line, undefined for one that somebody has written who does not know how. */
function parsed(text: string): Line | undefined {
  try {
    const line = JSON.parse(text) as Readonly<Record<string, unknown>>;
    const fits = Object.entries(FIELDS).every(([name, types]) => types.includes(kindOf(line[name])));
    if (!fits) return undefined;
    const { path, task, ...score } = line as unknown as IndexedScore & Omit<Line, "score">;
    return { path, task, score };
  } catch {
    return undefined;
  }
}

/** What the fields of a line may be. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  path: ["a string"],
  task: ["a string"],
  bytes: ["a number"],
  modified: ["a number"],
  width: ["a number", "null"],
  height: ["a number", "null"],
  prompt: ["a string", "null"],
  promptFrom: ["a string", "null"],
  score: ["a number", "null"],
  digest: ["a string", "null"],
  look: ["a string", "null"],
  side: ["a list", "null"],
  problem: ["a string", "a undefined"],
  error: ["a string", "a undefined"],
};

async function openOrMake(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r+").catch((error: unknown) => {
      if (!isMissing(error)) throw error;
      return open(path, "wx+");
    });
  } catch (error) {
    throw new UsageError(`${path}: expected an index of scores, got ${writeFault(error)}`, { cause: error });
  }
}
