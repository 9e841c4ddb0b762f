/** @file The way back through steps, against differences of the steps themselves. */

import { describe, expect, test } from "vitest";
import { applyStep, type Sampler } from "#laurel/samplers/contract";
import { pullBackStep, type StepCotangents } from "#laurel/samplers/pull-back";
import { createSampler, SAMPLER_NAMES } from "#laurel/samplers/sampler";
import { parseSchedulerConfig } from "#laurel/samplers/scheduler-config";
import { smallRandom } from "#laurel/util/statistics";

const SIZE = 12;

/** A stand-in for the denoiser, affine in each entry: differences of any size are then exact, and its slope is the same everywhere. */
const slopeAt = (t: number): number => 0.7 - t / 2500;
const denoise = (x: Float32Array, t: number): Float32Array => x.map((value) => slopeAt(t) * value + t / 3000);

/** Uniform in [-1, 1). */
function draws(seed: number): (count?: number) => Float32Array {
  const uniform = smallRandom(seed);
  return (count = SIZE) => Float32Array.from({ length: count }, () => 2 * uniform() - 1);
}

interface Made {
  readonly sample: Float32Array;
  /** Of each step. */
  readonly cleans: readonly Float32Array[];
}

/** The whole trajectory from a sample, with the same noise each time. */
function forward(sampler: Sampler, start: Float32Array): Made {
  const draw = draws(5);
  let sample = start;
  let history: readonly Float32Array[] = [];
  const cleans: Float32Array[] = [];
  for (const [i, step] of sampler.steps.entries()) {
    const scale = sampler.inputScales[i]!;
    const output = denoise(
      sample.map((value) => scale * value),
      sampler.timesteps[i]!,
    );
    const result = applyStep(step, { sample, output, history, noise: draw() });
    ({ sample, history } = result);
    cleans.push(result.clean);
  }
  return { sample, cleans };
}

/** How `sum(weights * end)` changes with the start, by the way back. */
function backward(sampler: Sampler, { cleans }: Made, weights: Float32Array): Float32Array {
  let cotangents: StepCotangents = { sample: weights, history: [] };
  for (let i = sampler.steps.length - 1; i >= 0; i--) {
    const taken = pullBackStep(sampler.steps[i]!, cleans[i], cotangents);
    const through = sampler.inputScales[i]! * slopeAt(sampler.timesteps[i]!);
    const sample = taken.sample.map((value, j) => value + through * taken.output[j]!);
    cotangents = { sample, history: taken.history };
  }
  return cotangents.sample;
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

const predictions = (name: string): readonly string[] =>
  /pndm|euler-a|dpmpp-sde/.test(name) ? ["epsilon", "v_prediction"] : ["epsilon", "v_prediction", "sample"];
const CASES = SAMPLER_NAMES.flatMap((name) => predictions(name).map((prediction) => [name, prediction] as const));

describe("the way back through a whole trajectory", () => {
  test.each(CASES)("of %s with predictions of %s is how its end changes with its start", (name, prediction_type) => {
    const config = parseSchedulerConfig(
      { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", prediction_type, clip_sample: false },
      "x",
    );
    const options = name === "ddim" ? { eta: 0.6 } : {};
    const sampler = createSampler(name, config, 6, options);
    const draw = draws(1);
    const [unit, direction, weights] = [draw(), draw(), draw()];
    const start = unit.map((value) => sampler.initialScale * value);
    const moved = (by: number): Made => forward(sampler, start.map((value, i) => value + by * direction[i]!)); // prettier-ignore
    const [up, down] = [moved(sampler.initialScale), moved(-sampler.initialScale)];
    const difference = (dot(weights, up.sample) - dot(weights, down.sample)) / (2 * sampler.initialScale);
    const slope = dot(direction, backward(sampler, forward(sampler, start), weights));
    expect(Math.abs(slope - difference)).toBeLessThanOrEqual(2e-5 * Math.max(Math.abs(difference), 1e-2));
  });

  test("of pndm with its Runge-Kutta start, and of a trajectory that is entered midway", () => {
    const file = { beta_schedule: "scaled_linear", skip_prk_steps: false } as const;
    for (const [name, start] of [
      ["pndm", 0],
      ["pndm", 2],
      ["unipc", 2],
      ["heun", 1],
    ] as const) {
      // prettier-ignore
      const sampler = createSampler(name, parseSchedulerConfig(file, "x"), 6, { start });
      const draw = draws(2);
      const [sample, direction, weights] = [draw(), draw(), draw()];
      const ends = [1, -1].map((sign) => forward(sampler, sample.map((value, i) => value + sign * direction[i]!)).sample); // prettier-ignore
      const difference = (dot(weights, ends[0]!) - dot(weights, ends[1]!)) / 2;
      const slope = dot(direction, backward(sampler, forward(sampler, sample), weights));
      expect(Math.abs(slope - difference)).toBeLessThanOrEqual(2e-5 * Math.abs(difference));
    }
  });
});

describe("a bound on the clean prediction", () => {
  test.each(["ddim", "ddpm", "lcm", "heun"] as const)("of %s lets nothing through where it holds", (name) => {
    const config = parseSchedulerConfig(
      { beta_schedule: "scaled_linear", clip_sample: true, clip_sample_range: 0.4 },
      "x",
    );
    const sampler = createSampler(name, config, 5);
    const start = draws(3)().map((value) => 0.5 * sampler.initialScale * value);
    const made = forward(sampler, start);
    const bounded = made.cleans.map((clean) => clean.filter((value) => Math.abs(value) >= Math.fround(0.4)).length);
    expect(Math.max(...bounded)).toBeGreaterThan(0);
    expect(Math.min(...bounded)).toBeLessThan(SIZE);
    // entries do not mix: each one's own slope
    const slopes = backward(sampler, made, new Float32Array(SIZE).fill(1));
    const by = 1e-3 * sampler.initialScale;
    const [up, down] = [by, -by].map((change) => forward(sampler, start.map((value) => value + change)).sample); // prettier-ignore
    slopes.forEach((slope, i) => {
      const difference = (up![i]! - down![i]!) / (2 * by);
      expect(Math.abs(slope - difference)).toBeLessThanOrEqual(2e-3 * Math.max(1, Math.abs(difference)));
    });
  });

  test("needs to know the prediction", () => {
    const step = { clean: { sample: 1, output: 0 }, clip: 1, next: { clean: 1 }, history: [], drawsNoise: false };
    expect(() => pullBackStep(step, undefined, { sample: new Float32Array(1), history: [] })).toThrow("expected the clean prediction of a step that bounds it, got none"); // prettier-ignore
  });
});

test("registers pass on what comes from every form that reads them, and one that nothing came for passes nothing", () => {
  const step = {
    clean: { sample: 2, output: 3 },
    clip: undefined,
    next: { clean: 5, sample: 7, history: [11, 13] },
    history: [{ clean: 1 }, { history: [17] }],
    drawsNoise: false,
  };
  const one = (value: number): Float32Array => Float32Array.of(value);
  const taken = pullBackStep(step, undefined, { sample: one(1), history: [one(10), one(100)] });
  // clean: 5 + 10; sample: 7 + 2 * 15; output: 3 * 15; registers: 11 + 17 * 100, 13
  expect(taken).toEqual({ sample: one(37), output: one(45), history: [one(1711), one(13)] });
  const bare = pullBackStep(step, undefined, { sample: one(1), history: [] });
  expect(bare).toEqual({ sample: one(17), output: one(15), history: [one(11), one(13)] });
});
