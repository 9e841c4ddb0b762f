/** @file The states that travel through a trajectory: latents, what the sampler remembers, the last clean prediction, a random stream. */

import { applyStep, type Sampler } from "../samplers/contract.js";
import { TorchGenerator, type GeneratorState } from "../tensor/random.js";
import type { InitLatents } from "./init-state.js";

/** One candidate on its way. Immutable: a step gives a new one, so a kept state can be gone back to. */
export interface LatentState {
  readonly seed: number;
  /** Entries of the sampler done, 0 to `sampler.timesteps.length`: denoiser evaluations without counting guidance. */
  readonly stepIndex: number;
  /** [channels, height / factor, width / factor], flattened. */
  readonly latents: Float32Array;
  /** The clean latents predicted by the last step, same shape; undefined before the first. */
  readonly clean: Float32Array | undefined;
  /** The sampler's registers after the last step, each of the same shape; none before the first. */
  readonly history: readonly Float32Array[];
  /** What it drew of the picture it started from; undefined when it started from a prompt alone. */
  readonly init: InitLatents | undefined;
  /** Where its random stream stands. */
  readonly random: GeneratorState;
  /** Evaluations of the denoiser spent on it so far; a guided step counts 2. */
  readonly evaluations: number;
}

/**
 * The start of the candidate with this seed: noise drawn as `torch.randn((1, C, h, w), generator=torch.Generator("cpu").manual_seed(seed))`,
 * times the sampler's initial scale.
 */
export function beginState(seed: number, size: number, sampler: Sampler): LatentState {
  const generator = new TorchGenerator(seed);
  const latents = generator.randn(size);
  if (sampler.initialScale !== 1) for (let i = 0; i < size; i++) latents[i]! *= sampler.initialScale;
  return {
    seed,
    stepIndex: 0,
    latents,
    clean: undefined,
    history: [],
    init: undefined,
    random: generator.state(),
    evaluations: 0,
  };
}

/** The state after a step whose denoiser output (guidance applied) is `output`. */
export function nextState(
  state: LatentState,
  sampler: Sampler,
  output: Float32Array,
  evaluations: number,
): LatentState {
  const coefficients = sampler.steps[state.stepIndex]!;
  let random = state.random;
  let noise: Float32Array | undefined;
  if (coefficients.drawsNoise) {
    const generator = TorchGenerator.restore(random);
    noise = generator.randn(state.latents.length);
    random = generator.state();
  }
  const step = { sample: state.latents, output, history: state.history, noise };
  const { sample, clean, history } = applyStep(coefficients, step);
  return {
    seed: state.seed,
    stepIndex: state.stepIndex + 1,
    latents: sample,
    clean,
    history,
    init: state.init,
    random,
    evaluations: state.evaluations + evaluations,
  };
}

/** The same state with a random stream started anew from `seed`: under a stochastic sampler the two part from here on. */
export function forkState(state: LatentState, seed: number): LatentState {
  return { ...state, random: new TorchGenerator(seed).state() };
}
