/** @file The Strategy contract: a way to spend a budget of candidates, told as a stream of events. */

import type {
  GenerationProgress,
  ImageBackend,
  ImageRequest,
  ImageSettings,
  Provenance,
} from "../backends/contract.js";
import type { RgbImage } from "../image/types.js";
import type { Reward } from "../rewards/contract.js";
import type { WorkMeter } from "./search/work-meter.js";

/** How the prompt of a candidate came about in a search for prompts. */
export interface Refinement {
  /** The prompt it was made from; null for the original. */
  readonly from: string | null;
  /** What was changed, in words; null for the original. */
  readonly edit: string | null;
  /** `search` candidates choose between prompts; `confirm` candidates, on fresh seeds, compare the chosen one with the original. */
  readonly phase: "search" | "confirm";
  /** What of the prompt was not read, as a warning; null when all of it was. */
  readonly flag: string | null;
}

/** Where a candidate comes from. */
export interface Lineage {
  readonly strategy: string;
  /** Index of the candidate it was made from, or null when it was drawn from its seed alone. */
  readonly parent: number | null;
  /** Counts the passes of a strategy that works in several; 0 for the first. */
  readonly round: number;
  /** Only where a strategy writes prompts. */
  readonly refinement?: Refinement | undefined;
}

/** One image with its prompt, seed, settings and lineage. */
export interface Candidate extends Provenance {
  readonly index: number;
  readonly seed: number;
  readonly prompt: string;
  readonly negativePrompt: string | undefined;
  readonly settings: ImageSettings;
  readonly image: RgbImage;
  readonly evaluations: number;
  readonly lineage: Lineage;
}

/** What ranking needs to know of a candidate. `score` is null when the reward gave no finite number. */
export interface Scored {
  readonly index: number;
  readonly seed: number;
  readonly score: number | null;
}

/** A candidate of an interrupted run. Strategies that write prompts, or draw on from pictures, need to know more of it than its score. */
export interface Finished extends Scored {
  readonly prompt?: string | undefined;
  readonly lineage?: Lineage | undefined;
  /** Reads its picture. */
  readonly picture?: (() => Promise<RgbImage>) | undefined;
}

/** What rewards beside the one that ranks say of a candidate, by their names. */
export interface ScoreDetails {
  /** Of an ensemble, each member's own score; null where it gave no finite number. */
  readonly scores?: Readonly<Record<string, number | null>> | undefined;
  /** Scores by rewards that choose nothing. */
  readonly heldOut?: Readonly<Record<string, number | null>> | undefined;
}

/** What may be spent. Whatever runs out first ends the strategy, at the end of a group. */
export interface Budget {
  readonly candidates: number;
  /** Evaluations of the denoiser. */
  readonly evaluations?: number | undefined;
  readonly seconds?: number | undefined;
  /** Floating-point operations of denoiser, decoder and reward, looks on the way included; for strategies that count them. */
  readonly operations?: number | undefined;
  /** Enough: this many candidates with at least this score. */
  readonly until?: { readonly score: number; readonly images: number } | undefined;
}

/** Why a strategy stopped; `reached` is `until`. */
export type StopReason = "complete" | "evaluations" | "seconds" | "reached";

/** What a strategy tells while it works, in this order for one candidate: candidate, scored, then perhaps pruned or refined. */
export type StrategyEvent =
  | { readonly type: "candidate"; readonly candidate: Candidate }
  | {
      readonly type: "scored";
      readonly candidate: Candidate;
      readonly score: number | null;
      /** Undefined where one reward alone judges. */
      readonly details?: ScoreDetails | undefined;
    }
  | { readonly type: "pruned"; readonly index: number; readonly reason: string }
  | { readonly type: "refined"; readonly prompt: string; readonly round: number }
  | { readonly type: "warning"; readonly message: string }
  | {
      readonly type: "done";
      readonly reason: StopReason;
      /** Best first. */
      readonly ranking: readonly Scored[];
      /** Evaluations of the denoiser this run of the strategy spent. */
      readonly evaluations: number;
    };

/** What a strategy works with. */
export interface StrategyContext {
  readonly backend: ImageBackend;
  /** undefined draws without scoring, where a strategy can do without. */
  readonly reward: Reward | undefined;
  /** Complete and checked; `count` is the number of candidates. */
  readonly request: ImageRequest;
  /** What candidates are scored against. @default what the request's prompt says */
  readonly scoredPrompt?: string | undefined;
  readonly budget: Budget;
  /** Candidates an interrupted run already has: they are ranked, and not made again. */
  readonly finished?: readonly Finished[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each step of the group in the making. */
  readonly onProgress?: ((progress: GenerationProgress) => void) | undefined;
  /** Counts what a search inside trajectories spends. @default one of its own */
  readonly meter?: WorkMeter | undefined;
  /** Milliseconds, monotonic; injected by tests. @default performance.now */
  readonly now?: (() => number) | undefined;
}

/** A way to spend a budget. */
export interface Strategy {
  readonly name: string;
  /** @throws CancelledError when the signal aborts; whatever the backend or the reward throws. */
  run(context: StrategyContext): AsyncGenerator<StrategyEvent, void>;
}
