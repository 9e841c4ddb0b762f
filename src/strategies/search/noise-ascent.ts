/** @file One step of an ascent on latents: the gradient clipped, with momentum, and the noise kept as long as noise is. */

import type { LatentState } from "../../diffusion/latents.js";
import type { Trajectory } from "../../diffusion/trajectory.js";

/** How a step is made. */
export interface AscentSettings {
  /** Length of a step along a gradient that is clipped, as a share of the length of what is moved. */
  readonly learningRate: number;
  /** Largest norm of the gradient. */
  readonly clip: number;
  /** Nesterov momentum. */
  readonly momentum: number;
  /** Weight of {@link chiSlope}. */
  readonly regulariser: number;
  /** The trajectory whose noise is moved; undefined where latents on the way are, which are no noise alone. */
  readonly noise: Pick<Trajectory, "sampler" | "init"> | undefined;
}

/** Latents after a step, and the velocity for the next. */
export interface Moved {
  readonly state: LatentState;
  readonly velocity: Float64Array;
}

/**
 * A step uphill: stochastic gradient ascent with Nesterov momentum as PyTorch has it, `v = momentum v + g`, `x += rate (g + momentum v)`, on the noise of unit
 * variance or on the latents as they are. The rate is such that a clipped gradient alone moves by `learningRate` times the norm of x.
 * @param gradient of the score by the state's latents, finite
 * @param velocity of the step before; undefined begins anew
 */
export function moveUphill(
  state: LatentState,
  gradient: Float32Array,
  velocity: Float64Array | undefined,
  { learningRate, clip, momentum, regulariser, noise }: AscentSettings,
): Moved {
  // latents = offset + weight x
  const { offset, weight } = noise === undefined ? { offset: undefined, weight: 1 } : noiseIn(state, noise);
  const x = Float64Array.from(state.latents, (value, i) => (value - (offset?.[i] ?? 0)) / weight);
  const pull = noise === undefined ? 0 : regulariser * chiSlope(x);
  const uphill = Float64Array.from(gradient, (value, i) => weight * value + pull * x[i]!);
  const shrink = Math.min(1, clip / norm(uphill));
  const next = uphill.map((value, i) => shrink * value + momentum * (velocity?.[i] ?? 0));
  const rate = (learningRate * norm(x)) / clip;
  const latents = state.latents.map((value, i) => value + weight * rate * (shrink * uphill[i]! + momentum * next[i]!));
  return { state: { ...state, latents }, velocity: next };
}

/**
 * The gradient of the log density of the norm of `x` under the chi distribution, `(d - 1) log |x| - |x|^2 / 2`, divided by x: 0 where the norm is as likely
 * as can be (ReNO, arXiv 2406.04312, section 3.3; Samuel et al. 2023, arXiv 2306.08687).
 */
export function chiSlope(x: Float64Array): number {
  return (x.length - 1) / norm(x) ** 2 - 1;
}

/** What the latents of a start are beside its noise, and what the noise is multiplied with. */
function noiseIn({ init }: LatentState, { sampler, init: encoded }: NonNullable<AscentSettings["noise"]>) {
  const picture = encoded?.fromNoise === true ? undefined : init?.picture;
  if (picture === undefined) return { offset: undefined, weight: sampler.initialScale };
  const { sample, noise } = sampler.noising[0]!;
  return { offset: picture.map((value) => sample * value), weight: noise };
}

function norm(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}
