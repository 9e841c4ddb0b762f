/** @file Names of the strategies that draw for one prompt. */

/** All of them; the first is the default. */
export const STRATEGY_NAMES = ["best-of-n", "halving", "particles", "neighbours"] as const;

/** Name of a strategy that needs no more than a backend and a reward. */
export type StrategyName = (typeof STRATEGY_NAMES)[number];
