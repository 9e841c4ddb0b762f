/** @file What a sampler is: timesteps and, for each denoiser evaluation, a linear update over a few named arrays. It holds no state. */

import { UsageError } from "../errors.js";
import type { SchedulerConfig } from "./scheduler-config.js";

/**
 * Weights of a linear form over what a step has at hand: the current sample, the denoiser's output (after guidance), the clean prediction made
 * from both, fresh standard normal noise, and the registers that the step before kept, in their order. An absent weight is 0.
 */
export interface LinearForm {
  readonly clean?: number;
  readonly sample?: number;
  readonly output?: number;
  readonly history?: readonly number[];
  readonly noise?: number;
}

/**
 * What follows one denoiser evaluation. With x the sample and y the output:
 *
 *     x0       = clean.sample * x + clean.output * y, then clamped to [-clip, clip]
 *     x_next   = next     (a linear form over x, y, x0, noise and the registers)
 *     register = history  (one linear form each, over the same; what is not listed is forgotten)
 *
 * A graph (for a differentiated step) can be built from the same numbers.
 */
export interface StepCoefficients {
  readonly clean: { readonly sample: number; readonly output: number };
  /** Bound on |x0|; undefined leaves it alone. */
  readonly clip: number | undefined;
  readonly next: LinearForm;
  readonly history: readonly LinearForm[];
  /** True when the reference draws noise in this step, even if its weight vanishes: the random stream has to advance alike. */
  readonly drawsNoise: boolean;
}

/** Weights that bring clean latents to the noise level of a timestep: `sample * clean + noise * eps` (diffusers' `add_noise`). */
export interface NoisingWeights {
  readonly sample: number;
  readonly noise: number;
}

/** The schedule of one trajectory. Pure data: the same for every candidate. Its arrays have one entry for each denoiser evaluation. */
export interface Sampler {
  /** Values the denoiser is conditioned on, in order; fractional ones occur. One evaluation each (two with guidance). */
  readonly timesteps: readonly number[];
  /** The initial standard normal latents are multiplied by this. */
  readonly initialScale: number;
  /** The denoiser is given `inputScales[i] * x`. */
  readonly inputScales: readonly number[];
  readonly steps: readonly StepCoefficients[];
  /** What a picture is noised with to enter the trajectory at each evaluation. */
  readonly noising: readonly NoisingWeights[];
}

/** Settings of a sampler beyond the scheduler's file. */
export interface SamplerOptions {
  /** DDIM's share of fresh noise, 0 (deterministic) to 1 (as DDPM). @default 0 */
  readonly eta?: number;
  /** Steps left out at the beginning, 0 to `steps - 1`: the trajectory of a picture that is only partly noised. @default 0 */
  readonly start?: number;
}

/**
 * Makes the whole trajectory of `steps` steps. `first` is the evaluation it will be entered at: no earlier one has left a history. What lies before
 * is cut off by the caller.
 * @throws UsageError when steps or options are out of range
 */
export type SamplerFactory = (
  config: SchedulerConfig,
  steps: number,
  options: { readonly eta: number; readonly first: number },
) => Sampler;

/** What a step needs of one candidate. All arrays have the same length. */
export interface StepInput {
  readonly sample: Float32Array;
  readonly output: Float32Array;
  /** The registers that the step before kept; none at the first. */
  readonly history: readonly Float32Array[];
  /** Standard normal values; needed where `drawsNoise` is true. */
  readonly noise: Float32Array | undefined;
}

/** What a step gives: the next sample, the predicted clean one, the registers for the step after. They may share arrays with the input. */
export interface StepResult {
  readonly sample: Float32Array;
  readonly clean: Float32Array;
  readonly history: readonly Float32Array[];
}

/** Carries out one step on one candidate; inputs are left as they are. Sums are carried in double precision. */
export function applyStep(coefficients: StepCoefficients, input: StepInput): StepResult {
  const { sample, output, history, noise } = input;
  const { clean: toClean, clip = Infinity } = coefficients;
  if (coefficients.drawsNoise && noise === undefined) throw new UsageError("sampler step: expected noise, got none");
  const exact = new Float64Array(sample.length);
  for (let i = 0; i < exact.length; i++) {
    exact[i] = Math.min(Math.max(toClean.sample * sample[i]! + toClean.output * output[i]!, -clip), clip);
  }
  const clean = Float32Array.from(exact);
  return {
    sample: evaluate(coefficients.next, { clean: exact, sample, output, history, noise }),
    clean,
    history: coefficients.history.map((form) => evaluate(form, { clean, sample, output, history, noise })),
  };
}

interface Sources extends StepInput {
  readonly clean: Float32Array | Float64Array;
}

/** The value of a form. One that only names a float32 array is that array, not a copy, but for the output: it may be a part of a batch's. */
function evaluate(form: LinearForm, sources: Sources): Float32Array {
  const terms: { readonly weight: number; readonly values: Float32Array | Float64Array }[] = [];
  const add = (weight: number | undefined, values: Float32Array | Float64Array | undefined, what: string): void => {
    if (weight === undefined || weight === 0) return;
    if (values === undefined) throw new UsageError(`sampler step: expected ${what}, got none`);
    terms.push({ weight, values });
  };
  add(form.clean, sources.clean, "a clean prediction");
  add(form.sample, sources.sample, "a sample");
  add(form.output, sources.output, "an output");
  form.history?.forEach((weight, i) => add(weight, sources.history[i], `register ${i} of the step before`));
  add(form.noise, sources.noise, "noise");
  const only = terms.length === 1 ? terms[0]! : undefined;
  if (only?.weight === 1 && only.values instanceof Float32Array && only.values !== sources.output) return only.values;
  const result = new Float32Array(sources.sample.length);
  for (let i = 0; i < result.length; i++) {
    let value = 0;
    for (const { weight, values } of terms) value += weight * values[i]!;
    result[i] = value;
  }
  return result;
}
