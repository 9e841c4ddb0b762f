/** @file Whether a strategy can work with a backend and a reward, told before any model is at work. */

import type { ImageBackend } from "../backends/contract.js";
import { UsageError } from "../errors.js";
import type { Reward } from "../rewards/contract.js";
import { networkOf } from "../rewards/network-of.js";
import type { Limits } from "./budget.js";
import { strategiesAnywhere, type StrategyName, strategyNeeds } from "./names.js";

/** What a strategy is to work with. */
export interface StrategyMeans {
  readonly backend: ImageBackend;
  /** undefined draws without scoring. */
  readonly reward: Reward | undefined;
}

/**
 * @throws UsageError where the backend cannot be followed, or starts from no picture, or the reward is none or has no gradient, as the strategy needs it; or
 * where evaluations are limited that nobody counts
 */
export function expectMeans(name: StrategyName, { backend, reward }: StrategyMeans, limits: Limits = {}): void {
  const needs = strategyNeeds(name);
  const fail = (expected: string): never => {
    throw new UsageError(`strategy: expected ${expected}, got ${name}`);
  };
  if (needs.stepwise && backend.stepwise === undefined)
    fail(
      `${either(anywhere(backend))} for the backend ${backend.name}, whose pictures cannot be followed step by step`,
    );
  if (needs.imageToImage && !backend.capabilities.imageToImage)
    fail(`${either(anywhere(backend))} for the backend ${backend.name}, which starts from no picture`);
  if (needs.reward && reward === undefined) fail("best-of-n where no reward scores");
  if (needs.gradients && networkOf(reward!) === undefined)
    fail(`a strategy without gradients for the reward ${reward!.name}, which has none`);
  // a server does not say how often its denoiser was evaluated
  if (limits.evaluations !== undefined && backend.capabilities.concurrency !== undefined) {
    throw new UsageError(
      `budget: expected candidates or a time for the backend ${backend.name}, whose evaluations nobody counts, got ${limits.evaluations} evaluations`,
    );
  }
}

/** The strategies that a backend can serve that is not followed. */
function anywhere({ capabilities }: ImageBackend): StrategyName[] {
  return strategiesAnywhere().filter((name) => !strategyNeeds(name).imageToImage || capabilities.imageToImage);
}

function either(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} or ${names.at(-1)!}`;
}
