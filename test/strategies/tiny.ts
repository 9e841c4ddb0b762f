/** @file What the tests of strategies share: a tiny Stable Diffusion that can be followed, a reward with gradients, and the events of a strategy. */

import { afterAll, beforeAll } from "vitest";
import type { ImageBackend } from "#laurel/backends/contract";
import { createLocalBackend } from "#laurel/backends/local";
import { openStableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { mul, reduceMean, sub } from "#laurel/graph/builder";
import { CLIP_PREPROCESSING } from "#laurel/image/preprocess";
import type { Reward, RewardNetwork } from "#laurel/rewards/contract";
import { type Device, openDevice } from "#laurel/runtime/device";
import type { Candidate, Strategy, StrategyContext, StrategyEvent } from "#laurel/strategies/contract";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { FOLDER } from "../diffusion/tiny-model.js";

/** Opens the model before the tests of a file, and ends its device after them. */
export function useTinyBackend(take: (backend: ImageBackend) => void): void {
  let device: Device;
  beforeAll(async () => {
    device = openDevice({ threads: 1 });
    take(createLocalBackend(await openStableDiffusion(FOLDER, device)));
  });
  afterAll(() => device.close());
}

/** What the brightness reward computes, of pixels. */
const NETWORK: RewardNetwork = {
  imageSize: 32,
  preprocessing: { ...CLIP_PREPROCESSING, mean: [0, 0, 0], std: [1, 1, 1] },
  tokenizer: undefined,
  weights: new Map(),
  build: (_, pixels) => mul(sub(reduceMean(pixels, [1, 2, 3], { keepDims: false }), 0.5), 4),
  textFeeds: () => ({ feeds: {}, warnings: [] }),
};

/** The brightness reward with its gradient. @param transform of each score, which the gradient does not know of */
export function differentiableBrightness(transform?: (score: number) => number): Reward {
  return Object.assign(createBrightnessReward(transform), { network: NETWORK });
}

/** All that a strategy tells. */
export async function collect(strategy: Strategy, given: StrategyContext): Promise<StrategyEvent[]> {
  const events: StrategyEvent[] = [];
  for await (const event of strategy.run(given)) events.push(event);
  return events;
}

export const candidates = (events: readonly StrategyEvent[]): Candidate[] =>
  events.flatMap((event) => (event.type === "candidate" ? [event.candidate] : []));

export const scores = (events: readonly StrategyEvent[]): (number | null)[] =>
  events.flatMap((event) => (event.type === "scored" ? [event.score] : []));

export const warnings = (events: readonly StrategyEvent[]): string[] =>
  events.flatMap((event) => (event.type === "warning" ? [event.message] : []));
