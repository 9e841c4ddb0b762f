/** @file Student's t: intervals of a mean from few values. */

import { mean } from "./statistics.js";

/** A mean with its two-sided 95 % interval. */
export interface MeanInterval {
  readonly estimate: number;
  /** null for fewer than two values. */
  readonly low: number | null;
  readonly high: number | null;
}

/**
 * The mean of `values` and its 95 % interval by Student's t with n - 1 degrees of freedom: for differences over paired seeds, which are few and
 * about normal. The estimate is NaN for an empty list.
 */
export function meanInterval(values: readonly number[]): MeanInterval {
  const estimate = mean(values);
  if (values.length < 2) return { estimate, low: null, high: null };
  const variance = values.reduce((sum, value) => sum + (value - estimate) ** 2, 0) / (values.length - 1);
  const half = studentQuantile(values.length - 1) * Math.sqrt(variance / values.length);
  return { estimate, low: estimate - half, high: estimate + half };
}

/** The 0.975 quantile of Student's t, found by bisection on its distribution function. @param freedom degrees of freedom, at least 1 */
export function studentQuantile(freedom: number): number {
  let low = 0;
  let high = 13; // 12.706 for one degree of freedom is the largest
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (centralShare(middle, freedom) < 0.95) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** P(|T| < t), by the finite series for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4). */
function centralShare(t: number, freedom: number): number {
  const angle = Math.atan(t / Math.sqrt(freedom));
  const square = Math.cos(angle) ** 2;
  const odd = freedom % 2 === 1;
  let term = odd ? Math.cos(angle) : 1;
  let sum = freedom === 1 ? 0 : term;
  for (let k = odd ? 3 : 2; k < freedom; k += 2) {
    term *= (square * (k - 1)) / k;
    sum += term;
  }
  return odd ? (2 / Math.PI) * (angle + Math.sin(angle) * sum) : Math.sin(angle) * sum;
}
