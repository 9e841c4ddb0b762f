/** @file The Refiner contract: what proposes prompts, given how the prompts so far have done. */

import type { PromptSyntax } from "../../prompts/attention-syntax.js";

/** A difference of mean scores over paired seeds, with its 95 % interval. */
export interface Gain {
  readonly estimate: number;
  /** null for fewer than two seeds. */
  readonly low: number | null;
  readonly high: number | null;
  /** Seeds that both prompts were drawn with. */
  readonly seeds: number;
}

/** A prompt and how its candidates scored. All scores are against the original prompt, whatever was drawn. */
export interface PromptRecord {
  readonly prompt: string;
  /** The prompt it was made from; null for the original. */
  readonly parent: string | null;
  /** What was changed, in words for people; null for the original. */
  readonly edit: string | null;
  /** Candidates drawn from it that have a score. */
  readonly candidates: number;
  /** Mean score; null without a score. */
  readonly mean: number | null;
  readonly best: number | null;
  /** 95 % interval of the mean; null for fewer than two scores. */
  readonly low: number | null;
  readonly high: number | null;
  /** What the edit gained over the parent, on the seeds that both were drawn with; null where there is none. */
  readonly gain: Gain | null;
  /** Why the prompt cannot win although it was drawn (cut by the text encoder, ...); null when it can. */
  readonly excluded: string | null;
}

/** A prompt to try. */
export interface Proposal {
  readonly prompt: string;
  /** A prompt of the history, or the original. */
  readonly parent: string;
  /** What was changed, in words for people; it comes into tables, files and reports. */
  readonly edit: string;
}

/** What is known when prompts are asked for. */
export interface RefineState {
  /** What the user asked for. */
  readonly original: string;
  /** How prompts are read: emphasis needs `a1111`. */
  readonly promptSyntax: PromptSyntax;
  /** Every prompt drawn so far, the original first, in the order they were proposed in. Empty in the first round. */
  readonly history: readonly PromptRecord[];
  /** Counts the calls of one refinement, from 0. */
  readonly round: number;
  /** For choices by chance: the same seed, the same choices. */
  readonly seed: number;
}

/** What a refiner answers. */
export interface Proposals {
  /** At most as many as were asked for; fewer, or none, when there is nothing more to try. */
  readonly proposals: readonly Proposal[];
  /** What the user should know. */
  readonly warnings: readonly string[];
}

/**
 * Proposes prompts. It keeps nothing between calls that its answer depends on: a refinement that was killed goes on with a new refiner, and what
 * earlier rounds proposed is taken from what was recorded. Prompts that are blank, proposed twice or known already are left out by the caller.
 */
export interface Refiner {
  readonly name: string;
  /**
   * @param count most proposals that can be drawn
   * @throws CancelledError when `signal` aborts, UsageError, BackendError
   */
  propose(state: RefineState, count: number, signal: AbortSignal | undefined): Promise<Proposals>;
}
