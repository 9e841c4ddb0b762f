/** @file Reads diffusers' `scheduler_config.json`: the fields that decide a sampler's mathematics, each checked by name. */

import { ModelError } from "../errors.js";
import { parseJson } from "../util/read-file.js";

/** A hundred times what any model was trained with: tables of this length are made. */
const MAX_TIMESTEPS = 100_000;

/** What the denoiser predicts. */
export type PredictionType = "epsilon" | "v_prediction" | "sample";
/** How the sampled timesteps are spread over the training timesteps (arXiv 2305.08891, table 2). */
export type TimestepSpacing = "leading" | "trailing" | "linspace";
/** How the noise variance grows over the training timesteps. */
export type BetaSchedule = "linear" | "scaled_linear" | "squaredcos_cap_v2";

/**
 * The fields that the file states, by their names in the file. A field that is absent takes the default of the sampler that is used, not of the
 * scheduler class the file was written by: this is what diffusers' `Scheduler.from_config` does.
 */
export interface SchedulerConfig {
  /** The class diffusers would instantiate, for example `PNDMScheduler`. */
  readonly className: string | undefined;
  readonly num_train_timesteps: number;
  readonly beta_start: number | undefined;
  readonly beta_end: number | undefined;
  readonly beta_schedule: BetaSchedule | undefined;
  readonly rescale_betas_zero_snr: boolean;
  readonly prediction_type: PredictionType;
  readonly steps_offset: number;
  readonly timestep_spacing: TimestepSpacing | undefined;
  readonly clip_sample: boolean | undefined;
  readonly clip_sample_range: number;
  readonly set_alpha_to_one: boolean | undefined;
  readonly variance_type: "fixed_small" | "fixed_small_log" | "fixed_large" | undefined;
  readonly use_karras_sigmas: boolean;
  readonly final_sigmas_type: "zero" | "sigma_min";
  /** Of DPMSolverMultistepScheduler: the deterministic solver or the stochastic one. */
  readonly algorithm_type: "dpmsolver++" | "sde-dpmsolver++";
  readonly solver_order: 1 | 2 | 3;
  /** Each class knows its own kinds and reads another's as its default. */
  readonly solver_type: "midpoint" | "heun" | "bh1" | "bh2" | "logrho" | undefined;
  readonly lower_order_final: boolean;
  readonly euler_at_final: boolean;
  readonly lambda_min_clipped: number;
  /** PNDM: start with the multistep method at once, without Runge-Kutta steps. */
  readonly skip_prk_steps: boolean;
  /** UniPC: steps whose result is not corrected. */
  readonly disable_corrector: readonly number[];
  /** LCM: steps of the schedule that the model was distilled with. */
  readonly original_inference_steps: number;
  /** LCM: factor on the timestep in the boundary conditions. */
  readonly timestep_scaling: number;
}

/** Fields of diffusers' schedulers that change nothing here, whatever they say. */
const IRRELEVANT = new Set([
  "dynamic_thresholding_ratio",
  "sample_max_value",
  "flow_shift",
  "time_shift_type",
  "base_image_seq_len",
  "max_image_seq_len",
  "base_shift",
  "max_shift",
  "noise_sampler_seed", // every candidate has its own seed
]);

/** Fields that are supported only at the value given here. */
const FIXED: Readonly<Record<string, readonly unknown[]>> = {
  trained_betas: [null],
  thresholding: [false],
  interpolation_type: ["linear"],
  timestep_type: ["discrete"],
  predict_x0: [true, null],
  solver_p: [null],
  shift_terminal: [null],
  use_exponential_sigmas: [false, null],
  use_beta_sigmas: [false, null],
  use_lu_lambdas: [false, null],
  use_flow_sigmas: [false, null],
  use_dynamic_shifting: [false, null],
  sigma_min: [null],
  sigma_max: [null],
};

/** Reads the fields of one object and remembers which were asked for. */
class Fields {
  readonly #object: Readonly<Record<string, unknown>>;
  readonly #where: string;
  readonly #asked = new Set<string>();

  constructor(object: Readonly<Record<string, unknown>>, where: string) {
    this.#object = object;
    this.#where = where;
  }

  #get(name: string): unknown {
    this.#asked.add(name);
    return this.#object[name] ?? undefined;
  }

  #fail(name: string, expected: string, actual: unknown): never {
    throw new ModelError(`${this.#where}: ${name}: expected ${expected}, got ${JSON.stringify(actual).slice(0, 80)}`);
  }

  number<F>(name: string, fallback: F, check: { integer?: boolean; min?: number; max?: number } = {}): number | F {
    const value = this.#get(name);
    if (value === undefined) return fallback;
    const { integer = false, min = -Infinity, max = Infinity } = check;
    if (typeof value !== "number" || !(value >= min && value <= max) || (integer && !Number.isInteger(value))) {
      const range = min === -Infinity ? "" : max === Infinity ? ` >= ${min}` : ` in [${min}, ${max}]`;
      return this.#fail(name, `${integer ? "a whole number" : "a number"}${range}`, value);
    }
    return value;
  }

  flag<F>(name: string, fallback: F): boolean | F {
    const value = this.#get(name);
    if (value === undefined) return fallback;
    return typeof value === "boolean" ? value : this.#fail(name, "true or false", value);
  }

  /** A list of whole numbers from 0; empty when absent. */
  indices(name: string): readonly number[] {
    const value = this.#get(name) ?? [];
    const valid = (one: unknown): one is number => Number.isInteger(one) && (one as number) >= 0;
    return Array.isArray(value) && value.every(valid) ? value : this.#fail(name, "a list of whole numbers", value);
  }

  choice<const V, F>(name: string, values: readonly V[], fallback: F): V | F {
    const value = this.#get(name);
    if (value === undefined) return fallback;
    const found = values.find((candidate) => candidate === value);
    return found ?? this.#fail(name, values.map((one) => JSON.stringify(one)).join(" or "), value);
  }

  /** Refuses settings that would change the mathematics and are not implemented. A switched-off unknown field (null, false) is harmless. */
  finish(): void {
    for (const [name, value] of Object.entries(this.#object)) {
      if (this.#asked.has(name) || name.startsWith("_") || IRRELEVANT.has(name)) continue;
      const allowed = Object.hasOwn(FIXED, name) ? FIXED[name] : undefined;
      if (allowed !== undefined) {
        if (!allowed.includes(value)) this.#fail(name, allowed.map((one) => JSON.stringify(one)).join(" or "), value);
      } else if (value !== null && value !== false) {
        throw new ModelError(
          `${this.#where}: ${name}: expected a field of a scheduler of discrete diffusion, got an unknown one (${JSON.stringify(value).slice(0, 80)})`,
        );
      }
    }
  }
}

/**
 * Parses the content of a `scheduler_config.json`.
 * @param json the parsed file
 * @param where the file's name, for errors
 * @throws ModelError naming the field whose value is wrong or not supported
 */
export function parseSchedulerConfig(json: unknown, where: string): SchedulerConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new ModelError(`${where}: expected an object, got ${Array.isArray(json) ? "an array" : String(json)}`);
  }
  const object = json as Record<string, unknown>;
  const className = typeof object["_class_name"] === "string" ? object["_class_name"] : undefined;
  if (className?.startsWith("FlowMatch") === true || className?.startsWith("EDM") === true) {
    throw new ModelError(
      `${where}: _class_name: expected a scheduler of discrete diffusion (betas), got ${className}: its noise schedule is not supported`,
    );
  }
  const fields = new Fields(object, where);
  // "deis" is DEISMultistepScheduler's; DPMSolverMultistepScheduler reads it as its own default
  const algorithmType = fields.choice("algorithm_type", ["dpmsolver++", "sde-dpmsolver++", "deis"], undefined);
  const config: SchedulerConfig = {
    className,
    num_train_timesteps: fields.number("num_train_timesteps", 1000, { integer: true, min: 1, max: MAX_TIMESTEPS }),
    beta_start: fields.number("beta_start", undefined, { min: 0, max: 1 }),
    beta_end: fields.number("beta_end", undefined, { min: 0, max: 1 }),
    beta_schedule: fields.choice("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"], undefined),
    rescale_betas_zero_snr: fields.flag("rescale_betas_zero_snr", false),
    prediction_type: fields.choice("prediction_type", ["epsilon", "v_prediction", "sample"], "epsilon" as const),
    steps_offset: fields.number("steps_offset", 0, { integer: true, min: 0, max: MAX_TIMESTEPS }),
    timestep_spacing: fields.choice("timestep_spacing", ["leading", "trailing", "linspace"], undefined),
    clip_sample: fields.flag("clip_sample", undefined),
    clip_sample_range: fields.number("clip_sample_range", 1, { min: 0 }),
    set_alpha_to_one: fields.flag("set_alpha_to_one", undefined),
    variance_type: fields.choice("variance_type", ["fixed_small", "fixed_small_log", "fixed_large"], undefined),
    use_karras_sigmas: fields.flag("use_karras_sigmas", false),
    final_sigmas_type: fields.choice("final_sigmas_type", ["zero", "sigma_min"], "zero" as const),
    algorithm_type: algorithmType === "sde-dpmsolver++" ? algorithmType : "dpmsolver++",
    solver_order: fields.choice("solver_order", [1, 2, 3], 2 as const),
    solver_type: fields.choice("solver_type", ["midpoint", "heun", "bh1", "bh2", "logrho"], undefined),
    lower_order_final: fields.flag("lower_order_final", true),
    euler_at_final: fields.flag("euler_at_final", false),
    lambda_min_clipped: fields.number("lambda_min_clipped", -Infinity),
    skip_prk_steps: fields.flag("skip_prk_steps", false),
    disable_corrector: fields.indices("disable_corrector"),
    original_inference_steps: fields.number("original_inference_steps", 50, { integer: true, min: 1 }),
    timestep_scaling: fields.number("timestep_scaling", 10, { min: 0, max: 1e6 }),
  };
  fields.finish();
  const { beta_start: start = 0.0001, beta_end: end = 0.02 } = config;
  if (!(start > 0 && start <= end && end < 1)) {
    throw new ModelError(
      `${where}: beta_start, beta_end: expected 0 < beta_start <= beta_end < 1, got ${start} and ${end}`,
    );
  }
  return config;
}

/**
 * Parses the text of a `scheduler_config.json`. Python writes `-Infinity` into it (`lambda_min_clipped`), which is not JSON.
 * @throws ModelError when it is not JSON even so, or as {@link parseSchedulerConfig}
 */
export function parseSchedulerText(text: string, where: string): SchedulerConfig {
  const standard = text.replace(/"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g, (token) => {
    if (token.startsWith('"')) return token;
    return token === "NaN" ? "null" : token.replace("Infinity", "1e999");
  });
  return parseSchedulerConfig(parseJson(standard, where), where);
}
