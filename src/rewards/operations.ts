/** @file How much arithmetic a score is. */

import { matrixOperations } from "../graph/operations.js";
import type { DifferentiableReward, Reward } from "./contract.js";
import { networkOf } from "./network-of.js";
import { scoreGraph } from "./pixel-gradient.js";

/** Floating-point operations of scoring one picture against one prompt; 0 for a reward that does not show its network. */
export function scoringOperations(reward: Reward | DifferentiableReward): number {
  const network = networkOf(reward);
  return network === undefined ? 0 : matrixOperations(scoreGraph(reward.name, network, "inference"), { N: 1 });
}
