/** @file How much arithmetic a score is. */

import { matrixOperations } from "../graph/operations.js";
import type { DifferentiableReward, Reward, RewardNetwork } from "./contract.js";
import { networkOf } from "./network-of.js";
import { scoreGraph } from "./pixel-gradient.js";

/** What was counted: building a graph takes a while. */
const COUNTED = new WeakMap<RewardNetwork, number>();

/** Floating-point operations of scoring one picture against one prompt; 0 for a reward that does not show its network. */
export function scoringOperations(reward: Reward | DifferentiableReward): number {
  const network = networkOf(reward);
  if (network === undefined) return 0;
  const operations = COUNTED.get(network) ?? matrixOperations(scoreGraph(reward.name, network, "inference"), { N: 1 });
  COUNTED.set(network, operations);
  return operations;
}
