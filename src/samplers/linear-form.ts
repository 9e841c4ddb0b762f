/** @file Arithmetic of linear forms, so that a sampler's file can be read as its paper's equations. */

import type { LinearForm } from "./contract.js";

/** The sum of `weight * form` over all terms. */
export function combine(...terms: readonly (readonly [weight: number, form: LinearForm])[]): LinearForm {
  const sum = { clean: 0, sample: 0, output: 0, noise: 0 };
  const history: number[] = [];
  for (const [weight, form] of terms) {
    if (weight === 0) continue;
    for (const name of ["clean", "sample", "output", "noise"] as const) sum[name] += weight * (form[name] ?? 0);
    form.history?.forEach((one, i) => (history[i] = (history[i] ?? 0) + weight * one));
  }
  return { ...sum, history };
}

/** `left - right`. */
export function difference(left: LinearForm, right: LinearForm): LinearForm {
  return combine([1, left], [-1, right]);
}

/** The register at `index`, as the step before kept it. */
export function register(index: number): LinearForm {
  return { history: Array.from({ length: index + 1 }, (_, i) => (i === index ? 1 : 0)) };
}

export const CLEAN: LinearForm = { clean: 1 };
export const SAMPLE: LinearForm = { sample: 1 };
export const OUTPUT: LinearForm = { output: 1 };
export const NOISE: LinearForm = { noise: 1 };
