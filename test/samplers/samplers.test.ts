/** @file Samplers against diffusers: schedules, timesteps and whole trajectories. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { applyStep } from "#laurel/samplers/contract";
import { createAlphaBars } from "#laurel/samplers/noise-schedule";
import { createSampler, SAMPLER_NAMES, samplerOfConfig, type SamplerName } from "#laurel/samplers/sampler";
import { parseSchedulerConfig, parseSchedulerText } from "#laurel/samplers/scheduler-config";

interface Case {
  sampler: SamplerName;
  config: Record<string, unknown>;
  steps: number;
  eta: number;
  timesteps: number[];
  initialScale: number;
  initial: string;
  samples: string[];
  noises: (string | null)[];
}
interface Fixture {
  alphaBars: { config: Record<string, unknown>; values: Record<string, string> };
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

describe("trajectories", () => {
  test.each(
    FIXTURE.cases.map(
      (one) => [`${one.sampler} ${one.steps} ${JSON.stringify(one.config)} eta ${one.eta}`, one] as const,
    ),
  )("%s", (_, one) => {
    const sampler = createSampler(one.sampler, parseSchedulerConfig(one.config, "test"), one.steps, { eta: one.eta });
    expect(relative(sampler.timesteps, one.timesteps)).toBeLessThanOrEqual(1e-6);
    expect(sampler.timesteps.length).toBe(one.timesteps.length);
    expect(Math.abs(sampler.initialScale / one.initialScale - 1)).toBeLessThanOrEqual(1e-6);
    expect(sampler.steps.map((step) => step.drawsNoise)).toEqual(one.noises.map((noise) => noise !== null));

    let sample: Float32Array = floats(one.initial).map((value) => value * sampler.initialScale);
    let previousClean: Float32Array | undefined;
    let worst = 0;
    for (let i = 0; i < sampler.timesteps.length; i++) {
      const scale = sampler.inputScales[i]!;
      const output = model(
        sample.map((value) => value * scale),
        sampler.timesteps[i]!,
      );
      const noise = one.noises[i] === null ? undefined : floats(one.noises[i]!);
      const result = applyStep(sampler.steps[i]!, { sample, output, previousClean, noise });
      sample = result.sample;
      previousClean = result.clean;
      worst = Math.max(worst, relative(sample, floats(one.samples[i]!)));
    }
    // the first sigma of a rescaled schedule is 4096: the reference's float32 loses 2.4e-4 of the sample there
    const cancels = one.sampler === "euler" && one.config["rescale_betas_zero_snr"] === true;
    expect(worst).toBeLessThanOrEqual(cancels ? 5e-5 : 1e-5);
  });
});

describe("scheduler_config.json", () => {
  const base = { _class_name: "PNDMScheduler", beta_start: 0.00085, skip_prk_steps: true, trained_betas: null };

  test("fields that are absent stay absent, so that the sampler's own default applies", () => {
    const config = parseSchedulerConfig(base, "scheduler_config.json");
    expect(config.timestep_spacing).toBeUndefined();
    expect(config.clip_sample).toBeUndefined();
    expect(samplerOfConfig(config)).toBeUndefined();
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
    [{ algorithm_type: "sde-dpmsolver++" }, 'x: algorithm_type: expected "dpmsolver++", got "sde-dpmsolver++"'],
    [{ num_train_timesteps: 0 }, "x: num_train_timesteps: expected a whole number >= 1, got 0"],
    [{ beta_start: "a" }, 'x: beta_start: expected a number in [0, 1], got "a"'],
    [{ warp: 2 }, "x: warp: expected a field of"],
    [{ _class_name: "FlowMatchEulerDiscreteScheduler" }, "x: _class_name: expected a scheduler of discrete diffusion"],
  ])("%j is refused by name", (json, message) => {
    expect(() => parseSchedulerConfig(json, "x")).toThrow(message);
  });

  test.each([
    [
      "Stable Diffusion 1.5",
      '{"_class_name":"PNDMScheduler","_diffusers_version":"0.6.0","beta_end":0.012,"beta_schedule":"scaled_linear","beta_start":0.00085,"num_train_timesteps":1000,"set_alpha_to_one":false,"skip_prk_steps":true,"steps_offset":1,"trained_betas":null,"clip_sample":false}',
      undefined,
    ],
    [
      "Stable Diffusion 2.1",
      '{"_class_name":"DDIMScheduler","_diffusers_version":"0.8.0","beta_end":0.012,"beta_schedule":"scaled_linear","beta_start":0.00085,"clip_sample":false,"num_train_timesteps":1000,"prediction_type":"v_prediction","set_alpha_to_one":false,"skip_prk_steps":true,"steps_offset":1,"trained_betas":null}',
      "ddim",
    ],
    [
      "SD-Turbo",
      '{"_class_name":"EulerDiscreteScheduler","_diffusers_version":"0.24.0.dev0","beta_end":0.012,"beta_schedule":"scaled_linear","beta_start":0.00085,"clip_sample":false,"interpolation_type":"linear","num_train_timesteps":1000,"prediction_type":"epsilon","set_alpha_to_one":false,"sigma_max":null,"sigma_min":null,"skip_prk_steps":true,"steps_offset":1,"timestep_spacing":"trailing","timestep_type":"discrete","trained_betas":null,"use_karras_sigmas":false}',
      "euler",
    ],
    [
      "diffusers 0.38's own DPM-Solver++",
      '{"_class_name":"DPMSolverMultistepScheduler","_diffusers_version":"0.38.0","algorithm_type":"dpmsolver++","beta_end":0.02,"beta_schedule":"linear","beta_start":0.0001,"dynamic_thresholding_ratio":0.995,"euler_at_final":false,"final_sigmas_type":"zero","flow_shift":1.0,"lambda_min_clipped":-Infinity,"lower_order_final":true,"num_train_timesteps":1000,"prediction_type":"epsilon","rescale_betas_zero_snr":false,"sample_max_value":1.0,"solver_order":2,"solver_type":"midpoint","steps_offset":0,"thresholding":false,"time_shift_type":"exponential","timestep_spacing":"linspace","trained_betas":null,"use_beta_sigmas":false,"use_dynamic_shifting":false,"use_exponential_sigmas":false,"use_flow_sigmas":false,"use_karras_sigmas":false,"use_lu_lambdas":false,"variance_type":null}',
      "dpmpp-2m",
    ],
  ])("the file of %s is read, and every sampler can be made from it", (_, text, sampler) => {
    const config = parseSchedulerText(text, "scheduler_config.json");
    expect(samplerOfConfig(config)).toBe(sampler);
    for (const name of SAMPLER_NAMES) expect(createSampler(name, config, 4).timesteps).toHaveLength(4);
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
        /^steps: expected a whole number in \[1, (1000|999)\], got/,
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

  test("an offset beyond the training timesteps is refused", () => {
    const offset = parseSchedulerConfig({ steps_offset: 1 }, "x");
    expect(() => createSampler("ddim", offset, 1000)).toThrow("timestep 1000: expected one in [0, 999]");
  });

  test("a step without the noise it needs is refused", () => {
    const sampler = createSampler("ddpm", config, 3);
    const x = new Float32Array(4);
    expect(() =>
      applyStep(sampler.steps[0]!, { sample: x, output: x, previousClean: undefined, noise: undefined }),
    ).toThrow("sampler step: expected noise, got none");
  });
});
