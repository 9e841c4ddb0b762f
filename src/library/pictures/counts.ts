/** @file Counts of a scoring of pictures, and the first of what went wrong: however much does, a few hundred lines of it are held. */

import type { PassedOver } from "../../image/walk-pictures.js";
import type { PictureScore } from "./picture-score.js";

/** What happened to pictures, by number. */
export interface ScoringSummary {
  readonly pictures: number;
  /** With a score. */
  readonly scored: number;
  /** Known from before, and not scored again. */
  readonly unchanged: number;
  /** Cannot be read. */
  readonly broken: number;
  readonly withoutPrompt: number;
  /** The reward gave no finite number. */
  readonly withoutScore: number;
  /** Their metadata got the score. */
  readonly written: number;
  readonly notWritten: number;
  /** Folders that cannot be read, links that lead nowhere and names that are no text. */
  readonly passedOver: number;
  /** The first problems, in words: pictures that cannot be read, what was passed over, what could not be written. */
  readonly problems: readonly string[];
  /** The first warnings, each once. */
  readonly warnings: readonly string[];
  /** Problems and warnings beyond those that are listed. */
  readonly notListed: number;
}

/** Problems and warnings that are listed. */
const LISTED = 100;

/** Counts up. */
export class PictureCounts {
  readonly #count = {
    pictures: 0,
    scored: 0,
    unchanged: 0,
    broken: 0,
    withoutPrompt: 0,
    withoutScore: 0,
    written: 0,
    notWritten: 0,
    passedOver: 0,
    notListed: 0,
  };
  readonly #problems: string[] = [];
  readonly #warnings = new Set<string>();

  add({ score, problem, error }: PictureScore, unchanged: boolean): void {
    this.#count.pictures++;
    if (unchanged) this.#count.unchanged++;
    if (score !== null) this.#count.scored++;
    if (problem === "no prompt") this.#count.withoutPrompt++;
    else if (problem === "no score") this.#count.withoutScore++;
    else if (problem === "broken") this.#count.broken++;
    if (problem !== undefined && problem !== "no prompt") this.#list(error ?? problem);
  }

  readonly passOver = ({ path, reason, harmless }: PassedOver): void => {
    const message = `${path}: passed over: ${reason}`;
    if (harmless) return this.warn(message);
    this.#count.passedOver++;
    this.#list(message);
  };

  wrote(): void {
    this.#count.written++;
  }

  notWritten(message: string): void {
    this.#count.notWritten++;
    this.#list(message);
  }

  warn(message: string): void {
    if (this.#warnings.has(message)) return;
    if (this.#warnings.size < LISTED) this.#warnings.add(message);
    else this.#count.notListed++;
  }

  summary(): ScoringSummary {
    return { ...this.#count, problems: [...this.#problems], warnings: [...this.#warnings] };
  }

  #list(problem: string): void {
    if (this.#problems.length < LISTED) this.#problems.push(problem);
    else this.#count.notListed++;
  }
}
