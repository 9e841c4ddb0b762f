/** @file The network of a reward that shows one. */

import type { DifferentiableReward, Reward, RewardNetwork } from "./contract.js";

/** A reward's network, for graphs that go on from pictures; undefined where it shows none. @throws UsageError where it is computed in int8 */
export function networkOf(reward: Reward | DifferentiableReward): RewardNetwork | undefined {
  return "network" in reward ? reward.network : undefined;
}
