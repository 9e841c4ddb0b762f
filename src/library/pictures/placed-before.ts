/** @file What a folder of sorted pictures has got before: a file of JSON lines in it, one a picture, and a lock. */

import { type FileHandle, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { LaurelError, UsageError } from "../../errors.js";
import { hash64, HashNumbers } from "../../util/hash-numbers.js";
import { completeLines } from "../../util/lines.js";
import { holderInWords, type ProcessLock, tryLock } from "../../util/process-lock.js";
import { isMissing, writeFault } from "../../util/read-file.js";

/** Name of the file inside the folder. */
export const SORTED_NAME = ".laurel-sorted.jsonl";

const LONGEST = 1 << 20;

/** The pictures a folder has got, about 30 bytes of memory each. One process at a time sorts into a folder. */
export class PlacedBefore {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #lock: ProcessLock;
  readonly #known: HashNumbers;

  private constructor(path: string, file: FileHandle, lock: ProcessLock, known: HashNumbers) {
    this.#path = path;
    this.#file = file;
    this.#lock = lock;
    this.#known = known;
  }

  /** Opens what is known of a folder, which is made if it is missing. @throws UsageError when another process sorts into it, or nothing can be written there */
  static async open(folder: string): Promise<PlacedBefore> {
    const path = join(folder, SORTED_NAME);
    const fault = (error: unknown): UsageError =>
      new UsageError(`${folder}: expected a folder to sort pictures into, got ${writeFault(error)}`, { cause: error });
    const { lock, holder } = await makeFolder(folder)
      .then(
        () => tryLock(`${path}.lock`),
        (error: unknown) => Promise.reject(error instanceof Error ? error : new Error(String(error))),
      )
      .catch((error: unknown) => {
        throw fault(error);
      });
    if (lock === undefined) {
      throw new UsageError(
        `${folder}: expected a folder that no other process sorts into, got ${holderInWords(holder)}`,
      );
    }
    try {
      const known = new HashNumbers();
      let end = 0;
      for await (const { text, offset, bytes } of completeLines(path, LONGEST)) {
        end = offset + bytes + 1;
        const line = lineOf(text);
        if (line !== undefined) known.set(hash64(`${line.from}\0${line.digest}`), 1);
      }
      const file = await open(path, "a");
      await file.truncate(end);
      return new PlacedBefore(path, file, lock, known);
    } catch (error) {
      await lock.release();
      throw error instanceof UsageError ? error : fault(error);
    }
  }

  /** Whether a picture with these pixels came from there before. */
  has(from: string, digest: string | null): boolean {
    return this.#known.get(hash64(`${from}\0${digest}`)) !== undefined;
  }

  /** @throws LaurelError when the disk takes no more */
  async add(from: string, digest: string | null, to: string): Promise<void> {
    this.#known.set(hash64(`${from}\0${digest}`), 1);
    await this.#file.appendFile(`${JSON.stringify({ from, digest, to })}\n`).catch((error: unknown) => {
      throw new LaurelError(`${this.#path}: expected room for what was sorted, got ${writeFault(error)}`, {
        cause: error,
      });
    });
  }

  async close(): Promise<void> {
    await this.#file.close();
    await this.#lock.release();
  }
}

/** Makes a folder and those it is in. On a disk that is read-only, mkdir of several speaks of a missing file. */
async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
    return mkdir(folder);
  });
}

function lineOf(text: string | undefined): { readonly from: string; readonly digest: string | null } | undefined {
  try {
    const line = JSON.parse(text ?? "") as { from?: unknown; digest?: unknown } | null;
    const digest = line?.digest ?? null;
    if (typeof line?.from !== "string" || (digest !== null && typeof digest !== "string")) return undefined;
    return { from: line.from, digest };
  } catch {
    return undefined;
  }
}
