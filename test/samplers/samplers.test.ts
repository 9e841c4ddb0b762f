/** @file Samplers against diffusers: schedules, timesteps and whole trajectories. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { applyStep, type Sampler } from "#laurel/samplers/contract";
import { createAlphaBars } from "#laurel/samplers/noise-schedule";
import { createSampler, SAMPLER_NAMES, samplerOfConfig, type SamplerName } from "#laurel/samplers/sampler";
import { parseSchedulerConfig, parseSchedulerText, type SchedulerConfig } from "#laurel/samplers/scheduler-config";

interface Case {
  sampler: SamplerName;
  config: Record<string, unknown>;
  steps: number;
  eta: number;
  start: number;
  published: string | null;
  timesteps: number[];
  initialScale: number;
  noising: [number, number][];
  initial: string;
  entered: string;
  samples: string[];
  noises: (string | null)[];
}
interface Fixture {
  alphaBars: { config: Record<string, unknown>; values: Record<string, string> };
  seed: number;
  cases: Case[];
}

const FIXTURE = JSON.parse(
  readFileSync(new URL("../fixtures/samplers/trajectories.json", import.meta.url), "utf8"),
) as Fixture;

function floats(text: string): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(text, "base64"));
  return new Float32Array(bytes.buffer);
}

/** max |a - b| / max |b| */
function relative(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let scale = 0;
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(actual[i]! - expected[i]!));
    scale = Math.max(scale, Math.abs(expected[i]!));
  }
  if (difference === 0) return 0;
  return Number.isNaN(difference) ? Infinity : difference / scale;
}

/** The reference script's stand-in for the denoiser. */
function model(x: Float32Array, t: number): Float32Array {
  const c = (t - 500) / 1000;
  return x.map((value) => (value * 0.8 + c) / (1 + value * value * 0.5));
}

describe("noise schedules", () => {
  test.each(Object.keys(FIXTURE.alphaBars.values))("%s: the cumulative products are torch's", (key) => {
    const [schedule, zeroSnr] = key.split("/");
    const config = parseSchedulerConfig(
      { ...FIXTURE.alphaBars.config, beta_schedule: schedule, rescale_betas_zero_snr: zeroSnr !== undefined },
      "test",
    );
    const actual = createAlphaBars(config);
    const expected = floats(FIXTURE.alphaBars.values[key]!);
    // exact, for a unit in the last place (6e-8) is 7e-5 of the first 1 - alphaBar; the rescaled ones pass a thousand roundings
    expect(relative(actual, expected)).toBeLessThanOrEqual(zeroSnr === undefined ? 0 : 1e-6);
  });
});

/** What the trajectory starts from: the noise itself, or, when entered midway, the script's picture noised to that level. */
function entered(one: Case, sampler: Sampler): Float32Array {
  const noise = floats(one.initial);
  if (one.start === 0) return noise.map((value) => value * sampler.initialScale);
  const { sample, noise: weight } = sampler.noising[0]!;
  return noise.map((value, i) => sample * (-1 + (2 * i) / (noise.length - 1)) + weight * value);
}

describe("trajectories", () => {
  test.each(
    FIXTURE.cases.map(
      (one) =>
        [
          `${one.sampler} ${one.steps} ${one.published ?? JSON.stringify(one.config)} eta ${one.eta} start ${one.start}`,
          one,
        ] as const,
    ),
  )("%s", (_, one) => {
    const config = parseSchedulerConfig(one.config, "test");
    const sampler = createSampler(one.sampler, config, one.steps, { eta: one.eta, start: one.start });
    expect(samplerOfConfig(config)).toBe(one.sampler);
    expect(relative(sampler.timesteps, one.timesteps)).toBeLessThanOrEqual(1e-6);
    expect(sampler.timesteps.length).toBe(one.timesteps.length);
    expect(Math.abs(sampler.initialScale / one.initialScale - 1)).toBeLessThanOrEqual(1e-6);
    expect(sampler.steps.map((step) => step.drawsNoise)).toEqual(one.noises.map((noise) => noise !== null));
    expect(sampler.noising).toHaveLength(one.noising.length);
    const noising = sampler.noising.flatMap(({ sample, noise }) => [sample, noise]);
    expect(relative(noising, one.noising.flat())).toBeLessThanOrEqual(1e-6);

    let sample = entered(one, sampler);
    expect(relative(sample, floats(one.entered))).toBeLessThanOrEqual(1e-6);
    let history: readonly Float32Array[] = [];
    let worst = 0;
    for (let i = 0; i < sampler.timesteps.length; i++) {
      const scale = sampler.inputScales[i]!;
      const output = model(
        sample.map((value) => value * scale),
        sampler.timesteps[i]!,
      );
      const noise = one.noises[i] === null ? undefined : floats(one.noises[i]!);
      const result = applyStep(sampler.steps[i]!, { sample, output, history, noise });
      ({ sample, history } = result);
      worst = Math.max(worst, relative(sample, floats(one.samples[i]!)));
    }
    expect(worst).toBeLessThanOrEqual(1e-5);
  });
});

/** Denoiser evaluations in 4 steps. */
function evaluations(name: SamplerName, { skip_prk_steps }: SchedulerConfig): number {
  if (name === "pndm") return skip_prk_steps ? 5 : 13;
  return /^(heun|dpmpp-sde)/.test(name) ? 7 : 4;
}

describe("scheduler_config.json", () => {
  const base = { _class_name: "PNDMScheduler", beta_start: 0.00085, skip_prk_steps: true, trained_betas: null };

  test("fields that are absent stay absent, so that the sampler's own default applies", () => {
    const config = parseSchedulerConfig(base, "scheduler_config.json");
    expect(config.timestep_spacing).toBeUndefined();
    expect(config.clip_sample).toBeUndefined();
    expect(config.beta_end).toBeUndefined();
    expect(samplerOfConfig(config)).toBe("pndm");
    expect(samplerOfConfig(parseSchedulerConfig({ _class_name: "EulerDiscreteScheduler" }, "x"))).toBe("euler");
  });

  test("Python's -Infinity is read, and left alone inside strings", () => {
    const config = parseSchedulerText('{"lambda_min_clipped": -Infinity, "_note": "-Infinity \\" NaN"}', "x");
    expect(config.lambda_min_clipped).toBe(-Infinity);
  });

  test.each([
    [
      { beta_schedule: "sigmoid" },
      'x: beta_schedule: expected "linear" or "scaled_linear" or "squaredcos_cap_v2", got "sigmoid"',
    ],
    [{ thresholding: true }, "x: thresholding: expected false, got true"],
    [{ trained_betas: [0.1] }, "x: trained_betas: expected null, got [0.1]"],
    [
      { algorithm_type: "dpmsolver" },
      'x: algorithm_type: expected "dpmsolver++" or "sde-dpmsolver++" or "deis", got "dpmsolver"',
    ],
    [{ disable_corrector: [-1] }, "x: disable_corrector: expected a list of whole numbers, got [-1]"],
    [{ num_train_timesteps: 0 }, "x: num_train_timesteps: expected a whole number in [1, 100000], got 0"],
    [{ beta_start: "a" }, 'x: beta_start: expected a number in [0, 1], got "a"'],
    [{ warp: 2 }, "x: warp: expected a field of"],
    [{ _class_name: "FlowMatchEulerDiscreteScheduler" }, "x: _class_name: expected a scheduler of discrete diffusion"],
  ])("%j is refused by name", (json, message) => {
    expect(() => parseSchedulerConfig(json, "x")).toThrow(message);
  });

  test.each(FIXTURE.cases.filter(({ published }) => published !== null).map((one) => [one.published, one] as const))(
    "every sampler that knows the prediction of %s can be made from its file",
    (_, { config: json }) => {
      const config = parseSchedulerText(JSON.stringify(json), "scheduler_config.json");
      for (const name of SAMPLER_NAMES)
        expect(createSampler(name, config, 4).timesteps).toHaveLength(evaluations(name, config));
    },
  );

  test.each([
    ["DPMSolverMultistepScheduler", { use_karras_sigmas: true }, "dpmpp-2m-karras"],
    ["DPMSolverMultistepScheduler", { algorithm_type: "sde-dpmsolver++" }, "dpmpp-2m-sde"],
    [
      "DPMSolverMultistepScheduler",
      { algorithm_type: "sde-dpmsolver++", use_karras_sigmas: true },
      "dpmpp-2m-sde-karras",
    ],
    ["DPMSolverMultistepScheduler", { algorithm_type: "deis" }, "dpmpp-2m"],
    ["DPMSolverSDEScheduler", { use_karras_sigmas: true }, "dpmpp-sde-karras"],
    ["HeunDiscreteScheduler", { use_karras_sigmas: true }, "heun-karras"],
    ["UniPCMultistepScheduler", { algorithm_type: "sde-dpmsolver++" }, "unipc"],
    ["EulerAncestralDiscreteScheduler", { use_karras_sigmas: true }, "euler-a"],
    ["LMSDiscreteScheduler", {}, undefined],
  ])("%s %j is %s", (_class_name, fields, sampler) => {
    expect(samplerOfConfig(parseSchedulerConfig({ _class_name, ...fields }, "x"))).toBe(sampler);
  });

  test("an unknown field that is switched off is harmless", () => {
    expect(() => parseSchedulerConfig({ ...base, use_something_new: false, other: null }, "x")).not.toThrow();
  });
});

describe("createSampler", () => {
  const config = parseSchedulerConfig({ beta_schedule: "scaled_linear" }, "x");

  test.each(SAMPLER_NAMES)("%s: a step count out of range is refused", (name) => {
    for (const steps of [0, 1.5, 2000, Number.NaN]) {
      expect(() => createSampler(name, config, steps)).toThrow(
        /^steps: expected a whole number in \[1, (1000|999|50)\], got/,
      );
    }
  });

  test("eta belongs to ddim alone", () => {
    expect(() => createSampler("euler", config, 5, { eta: 0.5 })).toThrow("eta: expected 0 for sampler euler");
    expect(() => createSampler("ddim", config, 5, { eta: 2 })).toThrow("eta: expected a number in [0, 1], got 2");
  });

  test("epsilon prediction cannot start without any signal", () => {
    const zero = parseSchedulerConfig({ rescale_betas_zero_snr: true, timestep_spacing: "trailing" }, "x");
    expect(() => createSampler("ddim", zero, 5)).toThrow("prediction_type epsilon: expected v_prediction or sample");
  });

  test("PNDM cannot start without any signal, whatever is predicted", () => {
    const fields = { rescale_betas_zero_snr: true, timestep_spacing: "trailing", prediction_type: "v_prediction" };
    expect(() => createSampler("pndm", parseSchedulerConfig(fields, "x"), 5)).toThrow(
      "sampler pndm: expected signal at the first timestep, got none",
    );
  });

  test("an offset beyond the training timesteps is refused", () => {
    const offset = parseSchedulerConfig({ steps_offset: 1 }, "x");
    expect(() => createSampler("ddim", offset, 1000)).toThrow("timestep 1000: expected one in [0, 999]");
  });

  test("start leaves out whole steps, and no more than there are", () => {
    const whole = createSampler("heun", config, 5);
    const rest = createSampler("heun", config, 5, { start: 2 });
    expect(rest.timesteps).toEqual(whole.timesteps.slice(4));
    expect(rest.initialScale).toBe(whole.initialScale);
    for (const start of [-1, 1.5, 5]) {
      expect(() => createSampler("heun", config, 5, { start })).toThrow(
        `start: expected a whole number in [0, 4], got ${start}`,
      );
    }
  });

  test("PNDM counts its Runge-Kutta start, and needs the steps for it", () => {
    expect(createSampler("pndm", config, 10).timesteps).toHaveLength(19);
    expect(createSampler("pndm", { ...config, skip_prk_steps: true }, 10).timesteps).toHaveLength(11);
    expect(createSampler("pndm", config, 10, { start: 3 }).timesteps).toHaveLength(8);
    expect(() => createSampler("pndm", config, 3)).toThrow("steps: expected at least 4");
  });

  test.each(["pndm", "euler-a", "dpmpp-sde"] as const)("%s does not know a model that predicts the sample", (name) => {
    const sample = parseSchedulerConfig({ prediction_type: "sample" }, "x");
    expect(() => createSampler(name, sample, 5)).toThrow(
      "expected a model that predicts epsilon or v_prediction, got sample",
    );
  });

  test("a schedule longer than the training's is refused", () => {
    const long = parseSchedulerConfig({ original_inference_steps: 2000 }, "x");
    expect(() => createSampler("lcm", long, 4)).toThrow("original_inference_steps: expected at most");
  });

  test.each([
    ["euler", { beta_start: 0.5, beta_end: 0.99 }, "sampler euler: expected steps of finite numbers, got others"],
    ["unipc", { beta_start: 0.5, beta_end: 0.99 }, "noise schedule: expected levels that fall over 5 steps, got NaN"],
    ["dpmpp-2m", { lambda_min_clipped: 1e6 }, "noise schedule: expected levels that fall over 5 steps, got 0.01"],
  ] as const)("%s: a schedule that no picture can come of is refused: %j", (name, fields, message) => {
    expect(() => createSampler(name, parseSchedulerConfig(fields, "x"), 5)).toThrow(message);
  });

  test("a step without the noise it needs is refused", () => {
    const sampler = createSampler("ddpm", config, 3);
    const x = new Float32Array(4);
    expect(() => applyStep(sampler.steps[0]!, { sample: x, output: x, history: [], noise: undefined })).toThrow(
      "sampler step: expected noise, got none",
    );
  });

  test("a step without the registers it needs is refused", () => {
    const second = createSampler("dpmpp-2m", config, 3).steps[1]!;
    const x = new Float32Array(4);
    expect(() => applyStep(second, { sample: x, output: x, history: [], noise: undefined })).toThrow(
      "sampler step: expected register 0 of the step before, got none",
    );
  });

  test("a step leaves its inputs alone, and keeps no part of the denoiser's output", () => {
    const step = createSampler("pndm", { ...config, skip_prk_steps: true }, 3).steps[0]!;
    const sample = Float32Array.of(1, 2);
    const output = Float32Array.of(3, 4, 5, 6).subarray(2);
    const { history } = applyStep(step, { sample, output, history: [], noise: undefined });
    expect(history).toEqual([output, sample]);
    expect(history[0]!.buffer.byteLength).toBe(8);
    expect([...sample, ...output]).toEqual([1, 2, 5, 6]);
  });
});
