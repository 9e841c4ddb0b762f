/** @file What a run may spend: how many candidates that is, and whether its strategy can do with it. */

import { type ImageRequest, MAX_SEED } from "../backends/contract.js";
import { UsageError } from "../errors.js";
import type { Limits } from "../strategies/budget.js";
import { expectMeans } from "../strategies/check.js";
import { strategyNeeds } from "../strategies/names.js";
import { strategyOf } from "../strategies/open.js";
import type { StrategySettings } from "../strategies/settings.js";
import { DEFAULT_COUNT } from "./generate.js";
import type { Models } from "./models.js";
import { checkStrategyFiles } from "./open-strategy.js";

/** How a run is drawn that says nothing of it. */
export const DEFAULT_STRATEGY: StrategySettings = { name: "best-of-n" };

/** How a run spends what. */
export interface Spending {
  /** Candidates, at most. */
  readonly count?: number | undefined;
  readonly strategy?: StrategySettings | undefined;
  readonly budget?: Limits | undefined;
}

/** How many candidates a request comes to, at most: as it says, or as its strategy takes where its budget says something else. */
export function candidatesFor({
  count,
  budget = {},
  strategy = DEFAULT_STRATEGY,
  seed = 0,
}: Spending & { readonly seed?: number | undefined }): number {
  const limited = budget.evaluations !== undefined || budget.seconds !== undefined;
  if (count !== undefined || !limited) return count ?? DEFAULT_COUNT;
  return Math.min(strategyNeeds(strategy.name).most, MAX_SEED - seed + 1);
}

/**
 * How many candidates a complete request comes to: as many as its evaluations draw, where that is known before anything is drawn.
 * @throws UsageError where that is none, or evaluations are limited that nobody counts
 */
export async function candidatesWithin(
  models: Models,
  request: ImageRequest,
  { strategy = DEFAULT_STRATEGY, budget: { evaluations, ...budget } = {} }: Spending,
): Promise<number> {
  expectMeans(strategy.name, models, { evaluations, ...budget });
  const { stepwise } = models.backend;
  if (evaluations === undefined || stepwise === undefined) return request.count;
  const { sampler, guided } = (await stepwise.begin({ ...request, count: 1 })).trajectory;
  const each = sampler.timesteps.length * (guided ? 2 : 1);
  if (evaluations < each)
    throw new UsageError(`budget: expected at least the ${each} evaluations of a picture, got ${evaluations}`);
  return Math.min(request.count, Math.floor(evaluations / each));
}

/** @throws UsageError where the strategy cannot work with these models, or its budget is too small */
export async function checkSpending(
  models: Models,
  request: ImageRequest,
  { strategy = DEFAULT_STRATEGY, budget }: Spending,
): Promise<void> {
  expectMeans(strategy.name, models, budget);
  await checkStrategyFiles(strategy, models.backend);
  if (strategy.name === "refine") return;
  await strategyOf(strategy).check?.({ ...models, request, budget: { ...budget, candidates: request.count } });
}
