/** @file What a move has chosen, written down before it begins: of what is left after an interruption nobody could tell the best few again. */

import { unlink } from "node:fs/promises";
import { join } from "node:path";
import { LaurelError } from "../../errors.js";
import { sha256, writeFileAtomic } from "../../util/files.js";
import { hash64, HashNumbers } from "../../util/hash-numbers.js";
import { completeLines } from "../../util/lines.js";
import { writeFault } from "../../util/read-file.js";
import type { RankedPicture, ScoredPictures } from "./scored-pictures.js";
import type { SortPicturesOptions } from "./sort-pictures.js";

/** Name of the file inside the folder that pictures are moved to; it is gone when all are there. */
export const PLAN_NAME = ".laurel-move.jsonl";

const LONGEST = 1 << 20;
/** Two ranks in one number. */
const RANKS = 2 ** 26;

/** The pictures that a move has chosen, with the ranks they had, about 30 bytes of memory each. */
export class MovePlan {
  readonly #path: string;
  readonly #places: HashNumbers;

  private constructor(path: string, places: HashNumbers) {
    this.#path = path;
    this.#places = places;
  }

  /**
   * What an interrupted move of the same choice had before it, as far as it is among these pictures; else what is chosen now. Have the folder's lock.
   * @throws LaurelError when it cannot be written down
   */
  static async open(to: string, set: ScoredPictures, options: SortPicturesOptions): Promise<MovePlan> {
    const path = join(to, PLAN_NAME);
    const { choice = {}, by, bucket } = options;
    const header = JSON.stringify({ move: sha256(JSON.stringify([choice, by, bucket, set.records])) });
    const old = new MovePlan(path, await readPlaces(path, header));
    for await (const picture of set.rows({}, "chosen")) if (old.#has(picture)) return old;
    const places = new HashNumbers();
    const lines = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from(`${header}\n`);
      for await (const { path: from, digest, rank, rankOfAll } of set.rows(choice, "chosen")) {
        const place = (rank ?? 0) * RANKS + (rankOfAll ?? 0);
        places.set(keyOf(from, digest), place);
        yield Buffer.from(`${JSON.stringify({ from, digest, place })}\n`);
      }
    };
    await writeFileAtomic(path, lines()).catch((error: unknown) => {
      throw new LaurelError(`${path}: expected room for what is to be moved, got ${writeFault(error)}`, {
        cause: error,
      });
    });
    return new MovePlan(path, places);
  }

  /** Those of the pictures that are to be moved, in the order they were found, with the ranks they had. */
  async *pictures(set: ScoredPictures): AsyncGenerator<RankedPicture, void> {
    for await (const picture of set.rows({}, "chosen")) {
      const place = this.#places.get(keyOf(picture.path, picture.digest));
      if (place !== undefined) yield { ...picture, rank: Math.floor(place / RANKS), rankOfAll: place % RANKS };
    }
  }

  /** Forgets the plan. */
  async done(): Promise<void> {
    await unlink(this.#path).catch(() => undefined);
  }

  #has({ path, digest }: RankedPicture): boolean {
    return this.#places.get(keyOf(path, digest)) !== undefined;
  }
}

function keyOf(from: string, digest: string | null): readonly [number, number] {
  return hash64(`${from}\0${digest}`);
}

interface PlanLine {
  readonly from: string;
  readonly digest: string | null;
  readonly place: number;
}

function lineOf(text: string): PlanLine | undefined {
  try {
    const line = JSON.parse(text) as PlanLine | null;
    return typeof line?.from === "string" && Number.isSafeInteger(line.place) ? line : undefined;
  } catch {
    return undefined;
  }
}

/** What a plan holds; nothing where it is missing or of another choice. */
async function readPlaces(path: string, header: string): Promise<HashNumbers> {
  const places = new HashNumbers();
  let first = true;
  for await (const { text = "" } of completeLines(path, LONGEST)) {
    if (first && text !== header) return places;
    if (!first) {
      const line = lineOf(text);
      if (line !== undefined) places.set(keyOf(line.from, line.digest), line.place);
    }
    first = false;
  }
  return places;
}
