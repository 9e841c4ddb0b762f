/** @file dx/dsigma of the probability-flow equation in the variance-exploding view. */

import type { LinearForm } from "./contract.js";
import { CLEAN, combine, OUTPUT, SAMPLE } from "./linear-form.js";
import type { SchedulerConfig } from "./scheduler-config.js";

/**
 * d = (x - x0) / sigma (arXiv 2206.00364, eq. 3). For epsilon prediction that is the output itself: written so, nothing cancels.
 * @param clipped true when x0 is clamped, so that the output no longer says the same
 */
export function derivative(config: SchedulerConfig, sigma: number, clipped = false): LinearForm {
  if (config.prediction_type === "epsilon" && !clipped) return OUTPUT;
  return combine([1 / sigma, SAMPLE], [-1 / sigma, CLEAN]);
}
