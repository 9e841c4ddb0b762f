/** @file What a sampler is: timesteps and, for each step, the coefficients of a linear update. It holds no state. */

import { UsageError } from "../errors.js";
import type { PredictionType, SchedulerConfig } from "./scheduler-config.js";

/**
 * One step as two linear forms. With x the current sample, y the denoiser's output (after guidance) and z fresh standard normal noise:
 *
 *     x0   = clean.sample * x + clean.output * y, then clamped to [-clip, clip]
 *     next = next.clean * x0 + next.sample * x + next.output * y + next.previousClean * x0' + next.noise * z
 *
 * where x0' is the x0 of the step before. A graph (for a differentiated step) can be built from the same numbers.
 */
export interface StepCoefficients {
  readonly clean: { readonly sample: number; readonly output: number };
  /** Bound on |x0|; undefined leaves it alone. */
  readonly clip: number | undefined;
  readonly next: {
    readonly clean: number;
    readonly sample: number;
    readonly output: number;
    readonly previousClean: number;
    readonly noise: number;
  };
  /** True when the reference draws noise in this step, even if its weight vanishes: the random stream has to advance alike. */
  readonly drawsNoise: boolean;
}

/** The schedule of one trajectory. Pure data: the same for every candidate. */
export interface Sampler {
  /** Values the denoiser is conditioned on, in order; fractional ones occur. One denoiser evaluation each (two with guidance). */
  readonly timesteps: readonly number[];
  /** The initial standard normal latents are multiplied by this. */
  readonly initialScale: number;
  /** The denoiser is given `inputScales[i] * x`. */
  readonly inputScales: readonly number[];
  readonly steps: readonly StepCoefficients[];
}

/** Settings of a sampler beyond the scheduler's file. */
export interface SamplerOptions {
  /** DDIM's share of fresh noise, 0 (deterministic) to 1 (as DDPM). @default 0 */
  readonly eta?: number;
}

/** Makes a sampler for `steps` steps. @throws UsageError when steps or options are out of range */
export type SamplerFactory = (config: SchedulerConfig, steps: number, options: SamplerOptions) => Sampler;

/** What a step needs of one candidate. All arrays have the same length. */
export interface StepInput {
  readonly sample: Float32Array;
  readonly output: Float32Array;
  /** x0 of the step before; undefined at the first. */
  readonly previousClean: Float32Array | undefined;
  /** Standard normal values; needed where `drawsNoise` is true. */
  readonly noise: Float32Array | undefined;
}

/** Carries out one step on one candidate; inputs are left as they are. */
export function applyStep(
  coefficients: StepCoefficients,
  input: StepInput,
): { readonly sample: Float32Array; readonly clean: Float32Array } {
  const { sample, output, previousClean, noise } = input;
  const { clean: toClean, clip = Infinity, next } = coefficients;
  if (next.previousClean !== 0 && previousClean === undefined) {
    throw new UsageError("sampler step: expected the clean prediction of the step before, got none");
  }
  if (coefficients.drawsNoise && noise === undefined) throw new UsageError("sampler step: expected noise, got none");
  const nextSample = new Float32Array(sample.length);
  const clean = new Float32Array(sample.length);
  for (let i = 0; i < sample.length; i++) {
    const x = sample[i]!;
    const y = output[i]!;
    const x0 = Math.min(Math.max(toClean.sample * x + toClean.output * y, -clip), clip);
    let value = next.clean * x0 + next.sample * x + next.output * y;
    if (next.previousClean !== 0) value += next.previousClean * previousClean![i]!;
    if (next.noise !== 0) value += next.noise * noise![i]!;
    clean[i] = x0;
    nextSample[i] = value;
  }
  return { sample: nextSample, clean };
}

/**
 * x0 from x_t = sqrt(alphaBar) x0 + sqrt(1 - alphaBar) eps, for each kind of prediction:
 * epsilon (arXiv 2006.11239, eq. 15), v = sqrt(alphaBar) eps - sqrt(1 - alphaBar) x0 (arXiv 2202.00512, appendix D), or x0 itself.
 * @param alpha sqrt(alphaBar)
 * @param sigma sqrt(1 - alphaBar)
 */
export function cleanFromPrediction(
  prediction: PredictionType,
  alpha: number,
  sigma: number,
): StepCoefficients["clean"] {
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

/** eps from the same relation, as weights of x_t and of the prediction. */
export function noiseFromPrediction(
  prediction: PredictionType,
  alpha: number,
  sigma: number,
): StepCoefficients["clean"] {
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
