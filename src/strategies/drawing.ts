/** @file What strategies share: groups drawn ahead, made into candidates, scored. */

import type { GeneratedGroup, ImageRequest } from "../backends/contract.js";
import { InternalError } from "../errors.js";
import type { RewardResult } from "../rewards/contract.js";
import type { Budget, Candidate, Lineage, Scored, ScoreDetails, StopReason, StrategyContext } from "./contract.js";
import { finiteOrNull } from "./rank.js";

/** The group's pictures as candidates; picture i of the request has the index `firstIndex + i`. */
export function candidatesOf(
  group: GeneratedGroup,
  request: ImageRequest,
  firstIndex: number,
  lineage: Lineage,
): Candidate[] {
  const { steps, guidance, sampler, width, height, strength, promptSyntax, clipSkip, embeddings } = request;
  const { loras, loraAnneal } = request;
  return group.images.map(({ seed, image, evaluations, ...provenance }) => ({
    index: firstIndex + seed - request.seed,
    seed,
    prompt: request.prompt,
    negativePrompt: request.negativePrompt,
    settings: {
      ...{ steps, guidance, sampler, width, height, strength, promptSyntax, clipSkip, embeddings },
      ...{ loras, loraAnneal },
    },
    image,
    evaluations,
    lineage,
    ...provenance,
  }));
}

/** Scores of a group; none without a reward. @throws InternalError when the reward gives another number of scores */
export async function scoreGroup(
  { reward, signal }: StrategyContext,
  prompt: string,
  candidates: readonly Candidate[],
): Promise<Readonly<RewardResult>> {
  if (reward === undefined) return { scores: [], warnings: [] };
  const images = candidates.map((candidate) => candidate.image);
  const result = await reward.score(prompt, images, signal === undefined ? {} : { signal });
  if (result.scores.length === images.length) return result;
  throw new InternalError(`reward ${reward.name}: expected ${images.length} scores, got ${result.scores.length}`);
}

/** What the members of an ensemble and held-out rewards say of the image at `position`; undefined where one reward alone judges. */
export function detailsOf({ members, heldOut }: RewardResult, position: number): ScoreDetails | undefined {
  if (members === undefined && heldOut === undefined) return undefined;
  const own = (scores: NonNullable<RewardResult["members"]>): Record<string, number | null> =>
    Object.fromEntries(Object.entries(scores).map(([name, values]) => [name, finiteOrNull(values[position])]));
  return {
    ...(members === undefined ? {} : { scores: own(members) }),
    ...(heldOut === undefined ? {} : { heldOut: own(heldOut) }),
  };
}

/** Asks for what comes next now; a failure is kept for whoever awaits it and does not count as unhandled meanwhile. */
export function ahead<T>(stream: AsyncGenerator<T, void>): Promise<IteratorResult<T, void>> {
  const next = stream.next();
  next.catch(() => undefined);
  return next;
}

/** Whether enough candidates are good enough. */
export function isReached({ until }: Budget, scored: Iterable<Pick<Scored, "score">>): boolean {
  if (until === undefined) return false;
  let passing = 0;
  for (const { score } of scored) if (score !== null && score >= until.score) passing++;
  return passing >= until.images;
}

/** What of a budget is spent by what was done; `complete` when nothing is. */
export function spentOf(
  budget: Budget,
  done: {
    readonly evaluations: number;
    readonly milliseconds: number;
    readonly scored: Iterable<Pick<Scored, "score">>;
  },
): StopReason {
  if (budget.evaluations !== undefined && done.evaluations >= budget.evaluations) return "evaluations";
  if (budget.seconds !== undefined && done.milliseconds >= budget.seconds * 1000) return "seconds";
  return isReached(budget, done.scored) ? "reached" : "complete";
}
