/** @file PNDM: pseudo linear multistep, with or without a pseudo Runge-Kutta start (Liu et al., arXiv 2202.09778, algorithm 2). */

import { UsageError } from "../errors.js";
import type { LinearForm, Sampler, SamplerFactory, StepCoefficients } from "./contract.js";
import { combine, OUTPUT, register, SAMPLE } from "./linear-form.js";
import { createAlphaBars } from "./noise-schedule.js";
import { alphaBarAt, cleanFromPrediction, noiseFromPrediction, noisingOf } from "./prediction.js";
import { checkSteps, spacedTimesteps } from "./timesteps.js";

/** One evaluation: the jump it makes, from which sample along which combined output, and what it keeps. */
interface Move {
  /** Where the denoiser is evaluated. */
  readonly t: number;
  readonly from: number;
  /** Below 0: the end. */
  readonly to: number;
  readonly sample: LinearForm;
  readonly output: LinearForm;
  readonly history: readonly LinearForm[];
}

/**
 * A trajectory that is entered midway has no Runge-Kutta start: it begins with the multistep method of low order. The second evaluation of that
 * start repeats the first jump, as in the reference, which therefore lags one timestep behind when it is entered after its own doubled timestep.
 */
export const createPndm: SamplerFactory = (config, steps, { first }): Sampler => {
  checkSteps(steps, config.num_train_timesteps);
  const rungeKutta = !config.skip_prk_steps && first === 0;
  if (rungeKutta && steps < 4) {
    throw new UsageError(
      `steps: expected at least 4 (skip_prk_steps is false: the first 3 are Runge-Kutta), got ${steps}`,
    );
  }
  const alphaBars = createAlphaBars(config);
  const prediction = config.prediction_type;
  const spaced = spacedTimesteps(config, config.timestep_spacing ?? "leading", steps);
  const jump = Math.floor(config.num_train_timesteps / steps);
  const final = (config.set_alpha_to_one ?? false) ? 1 : alphaBars[0]!;
  const moves = rungeKutta
    ? [...rungeKuttaMoves(spaced, jump), ...spaced.slice(3).map((t) => multistepMove(t, jump, 3))]
    : startedMoves(spaced, jump, first);

  const coefficients = moves.map(({ t, from, to, sample, output, history }): StepCoefficients => {
    const alphaBar = alphaBarAt(alphaBars, t, prediction);
    return {
      clean: cleanFromPrediction(prediction, Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)),
      clip: undefined,
      next: transfer(alphaBarAt(alphaBars, from, prediction), to < 0 ? final : alphaBars[to]!, sample, output),
      history,
      drawsNoise: false,
    };
  });
  const timesteps = moves.map(({ t }) => t);
  return {
    timesteps,
    initialScale: 1,
    inputScales: timesteps.map(() => 1),
    steps: coefficients,
    noising: noisingOf(alphaBars, timesteps),
  };

  /** The jump of eq. 11 from one signal level to another, along the noise that `output` predicts. */
  function transfer(alphaBar: number, alphaBarTo: number, sample: LinearForm, output: LinearForm): LinearForm {
    if (alphaBar === 0) {
      throw new UsageError("sampler pndm: expected signal at the first timestep, got none (rescale_betas_zero_snr)");
    }
    const sigma = Math.sqrt(1 - alphaBar);
    const noise = noiseFromPrediction(prediction, Math.sqrt(alphaBar), sigma);
    const divisor = alphaBar * Math.sqrt(1 - alphaBarTo) + Math.sqrt(alphaBar * (1 - alphaBar) * alphaBarTo);
    const weight = -(alphaBarTo - alphaBar) / divisor;
    return combine([Math.sqrt(alphaBarTo / alphaBar) + weight * noise.sample, sample], [weight * noise.output, output]);
  }
};

/** Adams-Bashforth weights of the latest outputs, the latest first, by how many there are (eq. 12 and its lower orders). */
const MULTISTEP = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]] as const;

/** One step of the linear multistep method. Registers: the outputs of the steps before, the latest first, at most 3 of `kept`. */
function multistepMove(t: number, jump: number, kept: number): Move {
  const outputs = [OUTPUT, register(0), register(1), register(2)].slice(0, Math.min(kept, 3) + 1);
  const weights = MULTISTEP[outputs.length - 1]!;
  const output = combine(...outputs.map((form, k): [number, LinearForm] => [weights[k]!, form]));
  return { t, from: t, to: t - jump, sample: SAMPLE, output, history: outputs.slice(0, 3) };
}

/** The multistep method with a start of its own: the first jump is made twice, the second time along the mean of the outputs at both its ends. */
function startedMoves(spaced: readonly number[], jump: number, first: number): Move[] {
  const doubled = [...spaced.slice(0, 2), ...spaced.slice(1)];
  return doubled.map((t, i) => {
    if (i <= first) return { t, from: t, to: t - jump, sample: SAMPLE, output: OUTPUT, history: [OUTPUT, SAMPLE] };
    if (i > first + 1) return multistepMove(t, jump, i - first - 1);
    const mean = combine([0.5, OUTPUT], [0.5, register(0)]);
    return { t, from: t + jump, to: t, sample: register(1), output: mean, history: [register(0)] };
  });
}

/**
 * Three steps of pseudo Runge-Kutta, four evaluations each. Registers: the weighted sum of this step's outputs, the sample it started from, then
 * the first output of each step, the latest first, which the multistep method goes on with.
 */
function rungeKuttaMoves(spaced: readonly number[], jump: number): Move[] {
  const half = Math.floor(jump / 2);
  return [0, 1, 2].flatMap((step): Move[] => {
    const from = spaced[step]!;
    const end = spaced[step + 1]!;
    const outputs = Array.from({ length: step }, (_, k) => register(k));
    const kept = Array.from({ length: step + 1 }, (_, k) => register(k + 2));
    const [sum, start] = [register(0), register(1)];
    const grown = combine([1, sum], [1 / 3, OUTPUT]);
    const middle = { t: end + half, from, sample: start, output: OUTPUT, history: [grown, start, ...kept] };
    return [
      {
        t: from,
        from,
        to: from - half,
        sample: SAMPLE,
        output: OUTPUT,
        history: [combine([1 / 6, OUTPUT]), SAMPLE, OUTPUT, ...outputs],
      },
      { ...middle, to: end + half },
      { ...middle, to: end },
      { t: end, from, to: end, sample: start, output: combine([1, sum], [1 / 6, OUTPUT]), history: kept },
    ];
  });
}
