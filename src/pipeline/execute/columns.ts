/** @file The candidates of a whole run as numbers: 24 bytes each, so that a hundred thousand can be put in order. */

import { candidateImagePath } from "../candidate-record.js";
import type { PipelinePlan } from "../document/plan.js";
import { readPipelineCandidates } from "./recover.js";

/** A candidate as far as results show it. */
export interface Shown {
  readonly index: number;
  readonly seed: number;
  readonly score: number | null;
  /** Relative to the run's folder. */
  readonly image: string;
}

/** Numbers of a candidate: index, seed, score (NaN for none). */
const FIELDS = 3;

/** Candidates by item, best first. */
export class CandidateColumns {
  #numbers = new Float64Array(FIELDS * 1024);
  /** Positions in `#numbers`, by item and then best first. */
  #order: Uint32Array = new Uint32Array();
  #count = 0;
  readonly #perItem: number;

  private constructor(perItem: number) {
    this.#perItem = perItem;
  }

  /** Reads all candidates of a run. */
  static async read(directory: string, plan: PipelinePlan): Promise<CandidateColumns> {
    const columns = new CandidateColumns(plan.candidatesPerItem);
    for await (const { index, seed, score } of readPipelineCandidates(directory, plan)) {
      columns.#add(index, seed, score ?? Number.NaN);
    }
    columns.#sort();
    return columns;
  }

  #add(...numbers: readonly [number, number, number]): void {
    if (this.#numbers.length === this.#count * FIELDS) {
      const larger = new Float64Array(2 * this.#numbers.length);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    this.#numbers.set(numbers, this.#count++ * FIELDS);
  }

  #sort(): void {
    const score = (position: number): number => {
      const value = this.#field(position, 2);
      return Number.isNaN(value) ? -Infinity : value;
    };
    this.#order = Uint32Array.from({ length: this.#count }, (_, i) => i).sort((a, b) => {
      const byItem = this.#itemAt(a) - this.#itemAt(b);
      if (byItem !== 0) return byItem;
      const [first, second] = [score(a), score(b)];
      return first === second ? this.#field(a, 0) - this.#field(b, 0) : second - first;
    });
  }

  /** The candidates of an item, best first; those without a score come last. */
  ofItem(item: number): Shown[] {
    const found: Shown[] = [];
    for (let i = this.#firstOf(item); i < this.#count && this.#itemAt(this.#order[i]!) === item; i++) {
      const position = this.#order[i]!;
      const index = this.#field(position, 0);
      const seed = this.#field(position, 1);
      const score = this.#field(position, 2);
      const image = candidateImagePath({ index, seed });
      found.push({ index, seed, score: Number.isNaN(score) ? null : score, image });
    }
    return found;
  }

  /** Where an item begins in the order. */
  #firstOf(item: number): number {
    let [low, high] = [0, this.#count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#itemAt(this.#order[middle]!) < item) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #field(position: number, field: number): number {
    return this.#numbers[position * FIELDS + field]!;
  }

  #itemAt(position: number): number {
    return Math.floor(this.#field(position, 0) / this.#perItem);
  }
}
