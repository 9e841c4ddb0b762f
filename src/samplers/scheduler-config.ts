/** @file Reads diffusers' `scheduler_config.json`: the fields that decide a sampler's mathematics, each checked by name. */

import { ModelError } from "../errors.js";

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
  readonly beta_start: number;
  readonly beta_end: number;
  readonly beta_schedule: BetaSchedule;
  readonly rescale_betas_zero_snr: boolean;
  readonly prediction_type: PredictionType;
  readonly steps_offset: number;
  readonly timestep_spacing: TimestepSpacing | undefined;
  readonly clip_sample: boolean | undefined;
  readonly clip_sample_range: number;
  readonly set_alpha_to_one: boolean;
  readonly variance_type: "fixed_small" | "fixed_small_log" | "fixed_large" | undefined;
  readonly use_karras_sigmas: boolean;
  readonly final_sigmas_type: "zero" | "sigma_min";
  readonly solver_order: 1 | 2;
  readonly solver_type: "midpoint" | "heun";
  readonly lower_order_final: boolean;
  readonly euler_at_final: boolean;
  readonly lambda_min_clipped: number;
}

/** Fields of diffusers' schedulers that change nothing here, whatever they say. */
const IRRELEVANT = new Set([
  "skip_prk_steps",
  "dynamic_thresholding_ratio",
  "sample_max_value",
  "flow_shift",
  "time_shift_type",
  "base_image_seq_len",
  "max_image_seq_len",
  "base_shift",
  "max_shift",
  "original_inference_steps",
  "timestep_scaling",
]);

/** Fields that are supported only at the value given here. */
const FIXED: Readonly<Record<string, readonly unknown[]>> = {
  trained_betas: [null],
  thresholding: [false],
  interpolation_type: ["linear"],
  timestep_type: ["discrete"],
  algorithm_type: ["dpmsolver++"],
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
    throw new ModelError(`${this.#where}: ${name}: expected ${expected}, got ${JSON.stringify(actual)}`);
  }

  number(name: string, fallback: number, check: { integer?: boolean; min?: number; max?: number } = {}): number {
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
      const allowed = FIXED[name];
      if (allowed !== undefined) {
        if (!allowed.includes(value)) this.#fail(name, allowed.map((one) => JSON.stringify(one)).join(" or "), value);
      } else if (value !== null && value !== false) {
        throw new ModelError(
          `${this.#where}: ${name}: expected a field of a DDPM, DDIM, PNDM, Euler or DPM-Solver++ scheduler, got an unknown one (${JSON.stringify(value)})`,
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
  const config: SchedulerConfig = {
    className,
    num_train_timesteps: fields.number("num_train_timesteps", 1000, { integer: true, min: 1 }),
    beta_start: fields.number("beta_start", 0.0001, { min: 0, max: 1 }),
    beta_end: fields.number("beta_end", 0.02, { min: 0, max: 1 }),
    beta_schedule: fields.choice("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"], "linear" as const),
    rescale_betas_zero_snr: fields.flag("rescale_betas_zero_snr", false),
    prediction_type: fields.choice("prediction_type", ["epsilon", "v_prediction", "sample"], "epsilon" as const),
    steps_offset: fields.number("steps_offset", 0, { integer: true, min: 0 }),
    timestep_spacing: fields.choice("timestep_spacing", ["leading", "trailing", "linspace"], undefined),
    clip_sample: fields.flag("clip_sample", undefined),
    clip_sample_range: fields.number("clip_sample_range", 1, { min: 0 }),
    set_alpha_to_one: fields.flag("set_alpha_to_one", true),
    variance_type: fields.choice("variance_type", ["fixed_small", "fixed_small_log", "fixed_large"], undefined),
    use_karras_sigmas: fields.flag("use_karras_sigmas", false),
    final_sigmas_type: fields.choice("final_sigmas_type", ["zero", "sigma_min"], "zero" as const),
    solver_order: fields.choice("solver_order", [1, 2], 2 as const),
    solver_type: fields.choice("solver_type", ["midpoint", "heun"], "midpoint" as const),
    lower_order_final: fields.flag("lower_order_final", true),
    euler_at_final: fields.flag("euler_at_final", false),
    lambda_min_clipped: fields.number("lambda_min_clipped", -Infinity),
  };
  fields.finish();
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
  let json: unknown;
  try {
    json = JSON.parse(standard);
  } catch (cause) {
    throw new ModelError(`${where}: expected JSON, got ${(cause as Error).message}`, { cause });
  }
  return parseSchedulerConfig(json, where);
}
