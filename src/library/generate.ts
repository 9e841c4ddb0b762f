/** @file Candidates for a prompt, drawn, scored and ranked in memory. */

import { randomInt } from "node:crypto";
import type { GenerationProgress, ImageRequest } from "../backends/contract.js";
import { MAX_CANDIDATES, MAX_SEED } from "../backends/contract.js";
import { type OpenRequest, resolveRequest } from "../backends/resolve.js";
import { UsageError } from "../errors.js";
import { isSearchEvent } from "../pipeline/search-trace.js";
import { embedderOf, embedPictures } from "../rewards/image-embedder.js";
import { bestOfN } from "../strategies/best-of-n.js";
import { diverseBest } from "../strategies/diverse.js";
import type { Budget, Candidate, ScoreDetails, SearchEvent, StopReason, Strategy } from "../strategies/contract.js";
import { rank } from "../strategies/rank.js";
import { unlessAborted } from "../util/abort.js";
import type { Models } from "./models.js";

/** Candidates where the request does not say how many. */
export const DEFAULT_COUNT = 16;

/** What to draw. Only the prompt is needed; what is left out is chosen by the backend. */
export interface GenerateRequest extends Partial<Omit<OpenRequest, "prompt" | "count" | "seed">> {
  /** What the pictures should show; not blank. */
  readonly prompt: string;
  /** Candidates to draw, 1 to 10,000. @default 16 */
  readonly count?: number | undefined;
  /** Seed of the first candidate; the others follow. 0 to 2^32 - 1. @default a random one */
  readonly seed?: number | undefined;
}

/** How {@link generate} works. */
export interface GenerateOptions {
  /** @default bestOfN */
  readonly strategy?: Strategy | undefined;
  /** What may be spent beside the candidates: whatever runs out first ends the work, at the end of a group. @default no limit */
  readonly budget?: Omit<Budget, "candidates"> | undefined;
  /** Gives so many of the best, and holds no other pictures on the way. @default all */
  readonly keep?: number | undefined;
  /** Gives `keep` good candidates that differ, rather than the best; all pictures are held until then. @default false */
  readonly diverse?: boolean | undefined;
  /** Ends the work with CancelledError. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each step of the group in the making. */
  readonly onProgress?: ((progress: GenerationProgress) => void) | undefined;
  /** Called with every candidate as soon as it has its score. */
  readonly onCandidate?: ((candidate: Candidate, score: number | null) => void) | undefined;
}

/** A candidate with its place. */
export interface ScoredCandidate extends Candidate, ScoreDetails {
  /** Higher is better; null when the reward gave no finite number. */
  readonly score: number | null;
  /** 1 is best. */
  readonly rank: number;
}

/** What {@link generate} gives. */
export interface Generation {
  /** Best first; those that were to be kept. */
  readonly candidates: readonly ScoredCandidate[];
  /** The candidate of rank 1; undefined when the budget allowed none. */
  readonly best: ScoredCandidate | undefined;
  /** The request as carried out, with every choice made. */
  readonly request: ImageRequest;
  readonly reason: StopReason;
  /** What a search inside trajectories did, in its order; empty for other strategies. */
  readonly search: readonly SearchEvent[];
  /** Evaluations of the denoiser; guidance counts twice. */
  readonly evaluations: number;
  /** Settings that were not honoured, prompts that were cut, ... */
  readonly warnings: readonly string[];
}

/**
 * Draws candidates, scores and ranks them. All pictures, or the best `keep`, are held in memory (3 bytes a pixel); for more than fits there, or to have
 * them on disk, use {@link startRun}.
 * @throws UsageError for a request outside what the backend can draw, or a `keep` that is no whole number from 1, CancelledError when `signal` aborts, BackendError when the device died
 */
export async function generate(
  models: Models,
  request: GenerateRequest,
  options: GenerateOptions = {},
): Promise<Generation> {
  const { strategy = bestOfN, signal, onProgress, onCandidate, keep = Infinity, diverse = false } = options;
  if (keep !== Infinity && !(Number.isInteger(keep) && keep >= 1))
    throw new UsageError(`keep: expected a whole number from 1, got ${keep}`);
  const resolved = completeRequest(models, request);
  const warnings = new Set(resolved.warnings);
  const found = new Map<number, Omit<ScoredCandidate, "rank">>();
  const search: SearchEvent[] = [];
  const events = strategy.run({
    ...models,
    request: resolved.request,
    budget: { ...options.budget, candidates: resolved.request.count },
    signal,
    onProgress,
  });
  try {
    for (;;) {
      // a native call that cannot be stopped must not hold up a cancellation
      const { value: event, done } = await unlessAborted(events.next(), signal);
      if (done === true) throw new UsageError(`strategy ${strategy.name}: expected a last event "done", got none`);
      if (event.type === "warning") warnings.add(event.message);
      if (isSearchEvent(event)) search.push(event);
      if (event.type === "scored") {
        found.set(event.candidate.index, { ...event.candidate, ...event.details, score: event.score });
        onCandidate?.(event.candidate, event.score);
        if (!diverse) dropWorst(found, keep);
      }
      if (event.type !== "done") continue;
      const ranked = event.ranking.flatMap(({ index }, i) => {
        const one = found.get(index);
        return one === undefined ? [] : { ...one, rank: i + 1 };
      });
      const candidates = diverse ? await differing(models, ranked, keep, signal) : ranked;
      return {
        candidates,
        best: candidates[0],
        request: resolved.request,
        reason: event.reason,
        search,
        evaluations: event.evaluations,
        warnings: [...warnings],
      };
    }
  } finally {
    // what was under way when a callback threw is not carried on
    events.return(undefined).catch(() => undefined);
  }
}

/** Lets the worst go, of more than are kept. */
function dropWorst(found: Map<number, Omit<ScoredCandidate, "rank">>, keep: number): void {
  if (found.size <= keep) return;
  for (const { index } of rank(found.values()).slice(keep)) found.delete(index);
}

function differing(
  { reward }: Models,
  candidates: readonly ScoredCandidate[],
  keep: number,
  signal: AbortSignal | undefined,
): Promise<ScoredCandidate[]> {
  const pictures = (good: readonly ScoredCandidate[]) => good.map(({ image }) => image);
  const options = signal === undefined ? {} : { signal };
  return diverseBest(candidates, keep, (good) => embedPictures(pictures(good), embedderOf(reward), options));
}

/** The request with every choice made, for the backend to draw. @throws UsageError */
export function completeRequest(
  { backend }: Pick<Models, "backend">,
  { count = DEFAULT_COUNT, ...open }: GenerateRequest,
): { readonly request: ImageRequest; readonly warnings: readonly string[] } {
  // a count that cannot be is refused with the rest of the request
  const possible = Number.isInteger(count) && count >= 1 && count <= MAX_CANDIDATES;
  const seed = open.seed ?? (possible ? randomInt(0, MAX_SEED - count + 2) : 0);
  return resolveRequest(backend, { ...open, count, seed });
}
