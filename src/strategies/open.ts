/** @file Strategies by their settings. */

import { UsageError } from "../errors.js";
import { bestOfN } from "./best-of-n.js";
import type { Strategy } from "./contract.js";
import { img2imgLoop } from "./img2img-loop.js";
import type { Refiner } from "./refine/contract.js";
import { refineWith } from "./refine/refine.js";
import { halving } from "./search/halving.js";
import { neighbours } from "./search/neighbours.js";
import { noiseGradient } from "./search/noise-gradient.js";
import { particles } from "./search/particles.js";
import type { StrategySettings } from "./settings.js";

/**
 * The strategy that settings stand for.
 * @param refiner what proposes prompts for `refine`, which needs one
 * @throws UsageError for settings out of range, or `refine` without a refiner
 */
export function strategyOf(settings: StrategySettings, refiner?: Refiner): Strategy {
  switch (settings.name) {
    case "best-of-n":
      return bestOfN;
    case "halving":
      return halving();
    case "particles":
      return particles(settings);
    case "neighbours":
      return neighbours(settings);
    case "noise-gradient":
      return noiseGradient(settings);
    case "img2img-loop":
      return img2imgLoop(settings);
    case "refine":
      if (refiner === undefined) throw new UsageError("strategy refine: expected a refiner, got none");
      return refineWith(refiner);
    default:
      return settings satisfies never;
  }
}
