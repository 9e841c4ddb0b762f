/** @file From what a denoiser predicts to the clean sample and the noise, in the variance-preserving and the variance-exploding view. */

import { UsageError } from "../errors.js";
import type { StepCoefficients } from "./contract.js";
import type { PredictionType } from "./scheduler-config.js";

/** Weights of the sample and of the denoiser's output. */
type Weights = StepCoefficients["clean"];

/**
 * x0 from x_t = alpha x0 + sigma eps, alpha^2 + sigma^2 = 1, for each kind of prediction:
 * epsilon (arXiv 2006.11239, eq. 15), v = alpha eps - sigma x0 (arXiv 2202.00512, appendix D), or x0 itself.
 * @param alpha sqrt(alphaBar)
 * @param sigma sqrt(1 - alphaBar)
 */
export function cleanFromPrediction(prediction: PredictionType, alpha: number, sigma: number): Weights {
  switch (prediction) {
    case "epsilon":
      return { sample: 1 / alpha, output: -sigma / alpha };
    case "v_prediction":
      return { sample: alpha, output: -sigma };
    case "sample":
      return { sample: 0, output: 1 };
    default:
      return prediction satisfies never;
  }
}

/** eps from the same relation. */
export function noiseFromPrediction(prediction: PredictionType, alpha: number, sigma: number): Weights {
  switch (prediction) {
    case "epsilon":
      return { sample: 0, output: 1 };
    case "v_prediction":
      return { sample: sigma, output: alpha };
    case "sample":
      return { sample: 1 / sigma, output: -alpha / sigma };
    default:
      return prediction satisfies never;
  }
}

/** x0 from the sample x = x0 + sigma eps of the variance-exploding view. */
export function cleanFromLevel(prediction: PredictionType, sigma: number): Weights {
  switch (prediction) {
    case "epsilon":
      return { sample: 1, output: -sigma };
    case "v_prediction": // c_skip x + c_out v (arXiv 2206.00364, section 5 with sigma_data = 1)
      return { sample: 1 / (sigma * sigma + 1), output: -sigma / Math.sqrt(sigma * sigma + 1) };
    case "sample":
      return { sample: 0, output: 1 };
    default:
      return prediction satisfies never;
  }
}

/** The signal left at a timestep. @throws UsageError when the scheduler's timesteps reach beyond the training timesteps or no signal is left to divide by */
export function alphaBarAt(alphaBars: Float32Array, timestep: number, prediction: PredictionType): number {
  const alphaBar = alphaBars[timestep];
  if (alphaBar === undefined) {
    throw new UsageError(
      `timestep ${timestep}: expected one in [0, ${alphaBars.length - 1}]: steps_offset moves the first beyond the training timesteps; use fewer steps`,
    );
  }
  if (alphaBar === 0 && prediction === "epsilon") {
    throw new UsageError(
      "prediction_type epsilon: expected v_prediction or sample with rescale_betas_zero_snr, whose first timestep holds no signal",
    );
  }
  return alphaBar;
}

/** What samplers of the variance-preserving view with whole timesteps noise a picture with. */
export function noisingOf(alphaBars: Float32Array, timesteps: readonly number[]): { sample: number; noise: number }[] {
  return timesteps.map((t) => ({ sample: Math.sqrt(alphaBars[t]!), noise: Math.sqrt(1 - alphaBars[t]!) }));
}
