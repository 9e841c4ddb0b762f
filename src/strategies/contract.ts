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

/** Where a candidate went on as a copy of another on its way. */
export interface Parting {
  /** Entries of the sampler that both have in common. */
  readonly step: number;
  /** The place that it went on from. */
  readonly from: number;
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
  /** Where a strategy copies pictures on their way: the seed of the noise that this one began with. */
  readonly origin?: number | undefined;
  /** Where a strategy copies pictures on their way: where this one parted, first to last. Before the last it was at the place `from`, and so on. */
  readonly path?: readonly Parting[] | undefined;
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
  /** Evaluations of the denoiser that it took. @default 0 */
  readonly evaluations?: number | undefined;
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

/** How a search inside trajectories goes on, told once, as soon as it is known. */
export interface SearchPlan {
  /** Entries of the sampler from noise to picture. */
  readonly steps: number;
  /** Pictures begun in all; fewer where time or a goal ends the search before. */
  readonly begun: number;
  /** After which entries pictures are dropped, and the share that goes on: 1 where copies take the place of what is dropped. None where all are drawn to the end. */
  readonly cuts: readonly { readonly step: number; readonly keep: number }[];
  /** What previews were found to be worth, by a search that measures it. */
  readonly previews?:
    | {
        /** Finished pictures that it was measured on, those of earlier searches included. */
        readonly observed: number;
        readonly fidelity: readonly {
          readonly step: number;
          /** Spearman's correlation of preview scores and final scores. */
          readonly rankCorrelation: number;
          /** What the picture with the best preview lacks to the best picture, in the reward's units. */
          readonly regret: number;
        }[];
      }
    | undefined;
}

/**
 * What a search inside trajectories did. `step` counts the entries of the sampler that are done; `index` is that of the candidate, or of the place among
 * particles. Each search tells all of it from the start, also one that takes up an interrupted run.
 */
export type SearchEvent =
  /** A preview and its score, null where it was no number. */
  | { readonly type: "look"; readonly index: number; readonly step: number; readonly score: number | null }
  /** Left on the way, after the look at the same step. */
  | { readonly type: "pruned"; readonly index: number; readonly step: number; readonly reason: string }
  /** The place `index`, which was pruned at the same step, goes on as a copy of `from`. */
  | { readonly type: "parted"; readonly index: number; readonly from: number; readonly step: number }
  | ({ readonly type: "plan" } & SearchPlan);

/** What a strategy tells while it works, in this order for one candidate: candidate, scored. What a search did on the way to it comes before. */
export type StrategyEvent =
  | { readonly type: "candidate"; readonly candidate: Candidate }
  | {
      readonly type: "scored";
      readonly candidate: Candidate;
      readonly score: number | null;
      /** Undefined where one reward alone judges. */
      readonly details?: ScoreDetails | undefined;
    }
  | SearchEvent
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
  /** Whether its budget suffices, before anything is drawn; where it takes more than the request to tell. @throws UsageError naming the least that does */
  check?(context: StrategyContext): Promise<void>;
  /** @throws CancelledError when the signal aborts; whatever the backend or the reward throws. */
  run(context: StrategyContext): AsyncGenerator<StrategyEvent, void>;
}
