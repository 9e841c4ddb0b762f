/** @file Scored pictures of any number: ranks, choices and near-duplicates over columns of numbers; rows come from the index, one at a time. */

import { hash64, HashNumbers, NumberList } from "../../util/hash-numbers.js";
import { LARGEST_DISTANCE, NearHashes } from "../../util/near-hashes.js";
import type { RewardRecords } from "../models.js";
import type { PictureCounts, ScoringSummary } from "./counts.js";
import type { PictureScore } from "./picture-score.js";
import { toldOf } from "./prepare-pictures.js";
import type { ScoreIndex } from "./score-index.js";

/** Which of scored pictures are chosen. All conditions hold together. */
export interface PictureChoice {
  /** Least score. */
  readonly minimum?: number | undefined;
  /** Largest score. */
  readonly maximum?: number | undefined;
  /** The best so many of each prompt. */
  readonly topK?: number | undefined;
  /** Of near-duplicates (see {@link ScoredPictures.findDuplicates}) only the best. @default false */
  readonly unique?: boolean | undefined;
}

/** A scored picture in its place. */
export interface RankedPicture extends PictureScore {
  /** Among the pictures of its prompt, 1 is best; null without a score. */
  readonly rank: number | null;
  /** Among all. */
  readonly rankOfAll: number | null;
  /** The first picture found that it is a duplicate of, absolute; null where it is none, or none was looked for. */
  readonly duplicateOf: string | null;
  /** Bits of 64 in which the two look different; 0 also for equal pixels. */
  readonly duplicateDistance: number | null;
  /** It is among those that were chosen. */
  readonly chosen: boolean;
}

/** Near-duplicates unless said otherwise: hashes differ in at most so many bits of 64. Resized and recompressed pictures do by 0 to 4. */
export const NEAR = 4;

/** What {@link scorePictures} gives. Its rows lie in the index: close it. */
export class ScoredPictures {
  /** What judged. */
  readonly records: RewardRecords;
  readonly #index: ScoreIndex;
  readonly #counts: PictureCounts;
  readonly #places = new NumberList();
  readonly #scores = new NumberList();
  /** A number for each prompt; -1 without one. */
  readonly #prompts = new NumberList();
  readonly #promptIds = new HashNumbers();
  readonly #digests = new HashNumbers();
  readonly #looks = new NearHashes();
  /** The first picture that each is a duplicate of, and in how many bits they differ; empty while none were looked for. */
  readonly #firsts = new NumberList();
  readonly #distances = new NumberList();
  /** Files that links among the pictures lead to. */
  readonly #targets = new Set<string>();
  #ranks: Ranks | undefined;

  /** Use {@link scorePictures}. @internal */
  constructor(index: ScoreIndex, records: RewardRecords, counts: PictureCounts) {
    this.#index = index;
    this.records = records;
    this.#counts = counts;
  }

  /** How many there are, with a score or without. */
  get size(): number {
    return this.#places.length;
  }

  /** Different prompts. */
  get prompts(): number {
    return this.#promptIds.size;
  }

  /** Counts, problems and warnings. */
  summary(): ScoringSummary {
    return this.#counts.summary();
  }

  /** Whether one of the pictures is a link to this file. @param path without links in it */
  isTarget(path: string): boolean {
    return this.#targets.has(path);
  }

  /** @param target the file that the picture is a link to @internal */
  add({ score, prompt }: PictureScore, place: number, target: string | null): void {
    if (target !== null) this.#targets.add(target);
    this.#places.push(place);
    this.#scores.push(score ?? Number.NaN);
    this.#prompts.push(prompt === null ? -1 : this.#promptId(prompt));
    this.#ranks = undefined;
  }

  /**
   * Looks for pictures with the same pixels, and for those that look nearly the same: their perceptual hashes differ in at most `distance` bits. Each is told by the first
   * of its kind that was found; pictures of one colour have no hash and are duplicates only of equal ones.
   * @param distance 0 to 7. @default 4
   * @returns pictures that are duplicates of an earlier one
   */
  async findDuplicates(distance = NEAR): Promise<{ readonly exact: number; readonly near: number }> {
    const most = Math.min(Math.max(distance, 0), LARGEST_DISTANCE);
    let [exact, near] = [0, 0];
    for (let i = this.#firsts.length; i < this.size; i++) {
      const { digest = null, look = null } = (await this.#index.read(this.#places.at(i))) ?? {};
      const same = digest === null ? undefined : this.#digests.get(hash64(digest));
      const hash = look === null ? undefined : halvesOf(look);
      const nearest = same === undefined && hash !== undefined ? this.#looks.nearest(hash, most) : undefined;
      if (same !== undefined) exact++;
      else if (nearest !== undefined) near++;
      const first = same ?? nearest?.value ?? i;
      this.#firsts.push(first);
      this.#distances.push(nearest?.distance ?? 0);
      if (digest !== null && same === undefined) this.#digests.set(hash64(digest), first);
      if (hash !== undefined && first === i) this.#looks.add(hash, i);
    }
    return { exact, near };
  }

  /** How many are chosen. */
  count(choice: PictureChoice = {}): number {
    return this.#choose(choice).reduce((sum, one) => sum + one, 0);
  }

  /**
   * The pictures in the order they were found, each with its ranks. Ranks are among all, whatever is chosen.
   * @param which `all`, only what is chosen, or only the scored rest
   */
  async *rows(
    choice: PictureChoice = {},
    which: "all" | "chosen" | "rest" = "all",
  ): AsyncGenerator<RankedPicture, void> {
    const chosen = this.#choose(choice);
    for (let i = 0; i < this.size; i++) {
      if (which === "chosen" && chosen[i] === 0) continue;
      if (which === "rest" && (chosen[i] === 1 || Number.isNaN(this.#scores.at(i)))) continue;
      const row = await this.#row(i, chosen[i] === 1);
      if (row !== undefined) yield row;
    }
  }

  /** The best of what is chosen, over all prompts. */
  async best(count: number, choice: PictureChoice = {}): Promise<RankedPicture[]> {
    const chosen = this.#choose(choice);
    const rows: RankedPicture[] = [];
    for (const i of this.#ranked().order) {
      if (rows.length >= count) break;
      const row = chosen[i] === 1 ? await this.#row(i, true) : undefined;
      if (row !== undefined) rows.push(row);
    }
    return rows;
  }

  /** Lets go of the index. */
  close(): Promise<void> {
    return this.#index.close();
  }

  async #row(i: number, chosen: boolean): Promise<RankedPicture | undefined> {
    const line = await this.#index.read(this.#places.at(i));
    if (line === undefined) return undefined;
    const { rank, rankOfAll } = this.#ranked();
    const first = this.#firsts.at(i);
    const isDuplicate = Number.isFinite(first) && first !== i;
    const original = isDuplicate ? await this.#index.read(this.#places.at(first)) : undefined;
    return {
      ...toldOf(line.path, line),
      rank: rank[i] === 0 ? null : rank[i]!,
      rankOfAll: rankOfAll[i] === 0 ? null : rankOfAll[i]!,
      duplicateOf: original?.path ?? null,
      duplicateDistance: isDuplicate ? this.#distances.at(i) : null,
      chosen,
    };
  }

  #promptId(prompt: string): number {
    const key = hash64(prompt);
    const known = this.#promptIds.get(key);
    if (known !== undefined) return known;
    this.#promptIds.set(key, this.#promptIds.size);
    return this.#promptIds.size - 1;
  }

  #ranked(): Ranks {
    this.#ranks ??= ranksOf(this.#scores, this.#prompts);
    return this.#ranks;
  }

  #choose({ minimum = -Infinity, maximum = Infinity, topK = Infinity, unique = false }: PictureChoice): Uint8Array {
    const chosen = new Uint8Array(this.size);
    const taken = new Map<number, number>();
    const groups = new Set<number>();
    // the best first, so that of near-duplicates the best stays, and of each prompt the best few
    for (const i of this.#ranked().order) {
      const score = this.#scores.at(i);
      if (score < minimum || score > maximum) continue;
      const group = unique && i < this.#firsts.length ? this.#firsts.at(i) : i;
      if (groups.has(group)) continue;
      const prompt = this.#prompts.at(i);
      const before = taken.get(prompt) ?? 0;
      if (before >= topK) continue;
      chosen[i] = 1;
      if (topK !== Infinity) taken.set(prompt, before + 1);
      if (unique) groups.add(group);
    }
    return chosen;
  }
}

/** Places among scored pictures; 0 for those without a score. */
interface Ranks {
  /** Those with a score, the best first. */
  readonly order: Uint32Array;
  readonly rank: Uint32Array;
  readonly rankOfAll: Uint32Array;
}

function ranksOf(scores: NumberList, prompts: NumberList): Ranks {
  const scored: Uint32Array = new Uint32Array(scores.length);
  let count = 0;
  for (let i = 0; i < scores.length; i++) if (!Number.isNaN(scores.at(i))) scored[count++] = i;
  // equal scores in the order they were found
  const order = scored.subarray(0, count).sort((a, b) => scores.at(b) - scores.at(a) || a - b);
  const rank = new Uint32Array(scores.length);
  const rankOfAll = new Uint32Array(scores.length);
  const best = new Map<number, number>();
  for (const [place, i] of order.entries()) {
    const prompt = prompts.at(i);
    const before = best.get(prompt) ?? 0;
    best.set(prompt, before + 1);
    rank[i] = before + 1;
    rankOfAll[i] = place + 1;
  }
  return { order, rank, rankOfAll };
}

function halvesOf(look: string): readonly [number, number] | undefined {
  if (!/^[0-9a-f]{16}$/.test(look)) return undefined;
  return [Number.parseInt(look.slice(0, 8), 16), Number.parseInt(look.slice(8), 16)];
}
