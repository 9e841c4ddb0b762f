/** @file The way back through a step: from how a number changes with what a step gives to how it changes with what the step takes. */

import { UsageError } from "../errors.js";
import type { LinearForm, StepCoefficients } from "./contract.js";

/** How a number changes with each entry of a sample and of the registers kept beside it; a register that is left out changes nothing. */
export interface StepCotangents {
  readonly sample: Float32Array;
  readonly history: readonly Float32Array[];
}

/** The same of what a step takes. `sample` is what comes past the denoiser; what comes through it follows from `output`. */
export interface TakenCotangents extends StepCotangents {
  /** Of the denoiser's output, after guidance. */
  readonly output: Float32Array;
}

/**
 * The vector-Jacobian product of `applyStep`: with the step's linear forms it is a sum over what each of them reads. A clean prediction at its bound
 * passes nothing on. Sums are carried in double precision.
 * @param clean the clean prediction that the step gave; needed where the step bounds it
 */
export function pullBackStep(
  coefficients: StepCoefficients,
  clean: Float32Array | undefined,
  given: StepCotangents,
): TakenCotangents {
  const { clip, next, history: registers, clean: fromClean } = coefficients;
  const zeros = (): Float64Array => new Float64Array(given.sample.length);
  const sums = { clean: zeros(), sample: zeros(), output: zeros() };
  const history: Float64Array[] = [];
  const collect = (form: LinearForm, cotangent: Float32Array | undefined): void => {
    if (cotangent === undefined) return;
    for (const name of ["clean", "sample", "output"] as const) addScaled(sums[name], form[name], cotangent);
    form.history?.forEach((weight, i) => addScaled((history[i] ??= zeros()), weight, cotangent));
  };
  collect(next, given.sample);
  registers.forEach((form, i) => collect(form, given.history[i]));
  if (clip !== undefined) passWithin(sums.clean, clean, Math.fround(clip));
  addScaled(sums.sample, fromClean.sample, sums.clean);
  addScaled(sums.output, fromClean.output, sums.clean);
  return {
    sample: Float32Array.from(sums.sample),
    output: Float32Array.from(sums.output),
    history: Array.from(history, (values) => Float32Array.from(values ?? zeros())),
  };
}

function addScaled(sum: Float64Array, weight: number | undefined, values: Float32Array | Float64Array): void {
  if (weight === undefined || weight === 0) return;
  for (let i = 0; i < sum.length; i++) sum[i]! += weight * values[i]!;
}

function passWithin(cotangent: Float64Array, clean: Float32Array | undefined, bound: number): void {
  if (clean === undefined) throw new UsageError("sampler step: expected the clean prediction of a step that bounds it, got none"); // prettier-ignore
  for (let i = 0; i < cotangent.length; i++) if (Math.abs(clean[i]!) >= bound) cotangent[i] = 0;
}
