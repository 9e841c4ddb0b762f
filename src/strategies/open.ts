/** @file Strategies by name. */

import { bestOfN } from "./best-of-n.js";
import type { Strategy } from "./contract.js";
import type { StrategyName } from "./names.js";
import { halving } from "./search/halving.js";
import { neighbours } from "./search/neighbours.js";
import { particles } from "./search/particles.js";

const STRATEGIES: Readonly<Record<StrategyName, () => Strategy>> = {
  "best-of-n": () => bestOfN,
  halving: () => halving(),
  particles: () => particles(),
  neighbours: () => neighbours(),
};

/** The strategy of a name, at its default settings. */
export function strategyOf(name: StrategyName): Strategy {
  return STRATEGIES[name]();
}
