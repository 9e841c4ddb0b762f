/** @file The samplers by name: a new one is its file, its name in names.ts and one line here. */

import { ModelError, UsageError } from "../errors.js";
import type { Sampler, SamplerFactory, SamplerOptions } from "./contract.js";
import { createDdim } from "./ddim.js";
import { createDdpm } from "./ddpm.js";
import { createDpmppMultistep } from "./dpmpp-multistep.js";
import { createDpmppSde } from "./dpmpp-sde.js";
import { createEuler, createEulerAncestral } from "./euler.js";
import { createHeun } from "./heun.js";
import { createLcm } from "./lcm.js";
import { isSamplerName, nameOf, partsOfName, SAMPLER_NAMES, type SamplerMethod, type SamplerName } from "./names.js";
import { createPndm } from "./pndm.js";
import type { PredictionType, SchedulerConfig } from "./scheduler-config.js";
import { createUnipc } from "./unipc.js";

export { isSamplerName, SAMPLER_NAMES, type SamplerName };

interface Entry {
  readonly create: SamplerFactory;
  /** diffusers' class. */
  readonly className: string;
  /** The class's `algorithm_type` that makes this sampler. */
  readonly algorithm?: "dpmsolver++" | "sde-dpmsolver++";
  /** Denoiser evaluations in a step; 1 unless given. The last step may have fewer. */
  readonly evaluations?: 2;
  /** Betas of the class where the file says nothing; DDPMScheduler's unless given. */
  readonly betas?: Required<Pick<SchedulerConfig, "beta_start" | "beta_end" | "beta_schedule">>;
  /** Predictions that the reference has; all unless given. */
  readonly predictions?: readonly PredictionType[];
}

const STABLE_DIFFUSION = { beta_start: 0.00085, beta_end: 0.012 };
const NOISE_OR_VELOCITY = ["epsilon", "v_prediction"] as const;

const SAMPLERS: { readonly [M in SamplerMethod]: Entry } = {
  ddpm: { create: createDdpm, className: "DDPMScheduler" },
  ddim: { create: createDdim, className: "DDIMScheduler" },
  pndm: { create: createPndm, className: "PNDMScheduler", predictions: NOISE_OR_VELOCITY },
  euler: { create: createEuler, className: "EulerDiscreteScheduler" },
  "euler-a": {
    create: createEulerAncestral,
    className: "EulerAncestralDiscreteScheduler",
    predictions: NOISE_OR_VELOCITY,
  },
  heun: {
    create: createHeun,
    className: "HeunDiscreteScheduler",
    evaluations: 2,
    betas: { ...STABLE_DIFFUSION, beta_schedule: "linear" },
  },
  "dpmpp-2m": { create: createDpmppMultistep, className: "DPMSolverMultistepScheduler", algorithm: "dpmsolver++" },
  "dpmpp-2m-sde": {
    create: createDpmppMultistep,
    className: "DPMSolverMultistepScheduler",
    algorithm: "sde-dpmsolver++",
  },
  "dpmpp-sde": {
    create: createDpmppSde,
    className: "DPMSolverSDEScheduler",
    evaluations: 2,
    betas: { ...STABLE_DIFFUSION, beta_schedule: "linear" },
    predictions: NOISE_OR_VELOCITY,
  },
  unipc: { create: createUnipc, className: "UniPCMultistepScheduler" },
  lcm: {
    create: createLcm,
    className: "LCMScheduler",
    betas: { ...STABLE_DIFFUSION, beta_schedule: "scaled_linear" },
  },
};

/** The sampler a scheduler file was written for; undefined when it names a class that is none of them. */
export function samplerOfConfig(config: SchedulerConfig): SamplerName | undefined {
  const methods = Object.entries(SAMPLERS) as [SamplerMethod, Entry][];
  const found = methods.find(
    ([, { className, algorithm = config.algorithm_type }]) =>
      className === config.className && algorithm === config.algorithm_type,
  );
  return found === undefined ? undefined : nameOf(found[0], config.use_karras_sigmas);
}

/**
 * The schedule and per-step coefficients of `name` for `steps` steps. The name decides the method and the spread of noise levels, whatever the
 * file was written for; everything else is the file's.
 * @throws UsageError for an unknown name or a step count or option out of range, or a prediction type that the method does not know;
 * ModelError for a noise schedule that no picture can come of
 */
export function createSampler(
  name: SamplerName,
  config: SchedulerConfig,
  steps: number,
  { eta = 0, start = 0 }: SamplerOptions = {},
): Sampler {
  if (!isSamplerName(name))
    throw new UsageError(`sampler: expected one of ${SAMPLER_NAMES.join(", ")}, got ${String(name)}`);
  if (eta !== 0 && name !== "ddim") {
    throw new UsageError(`eta: expected 0 for sampler ${name} (only ddim has it), got ${eta}`);
  }
  const { method, karras } = partsOfName(name);
  const { create, algorithm, betas, predictions, evaluations = 1 } = SAMPLERS[method];
  if (predictions?.includes(config.prediction_type) === false) {
    throw new UsageError(
      `sampler ${name}: expected a model that predicts ${predictions.join(" or ")}, got ${config.prediction_type}`,
    );
  }
  const complete: SchedulerConfig = {
    ...config,
    beta_start: config.beta_start ?? betas?.beta_start,
    beta_end: config.beta_end ?? betas?.beta_end,
    beta_schedule: config.beta_schedule ?? betas?.beta_schedule,
    algorithm_type: algorithm ?? config.algorithm_type,
    use_karras_sigmas: karras,
  };
  const first = start * evaluations;
  const whole = create(complete, steps, { eta, first });
  if (!Number.isInteger(start) || start < 0 || start >= steps) {
    throw new UsageError(`start: expected a whole number in [0, ${steps - 1}], got ${start}`);
  }
  if (!isFiniteThroughout(whole)) {
    throw new ModelError(
      `sampler ${name}: expected steps of finite numbers, got others: the noise schedule of the model's scheduler_config.json is out of range`,
    );
  }
  return {
    timesteps: whole.timesteps.slice(first),
    initialScale: whole.initialScale,
    inputScales: whole.inputScales.slice(first),
    steps: whole.steps.slice(first),
    noising: whole.noising.slice(first),
  };
}

/** True when plain data holds no NaN and no infinity. */
function isFiniteThroughout(data: unknown): boolean {
  if (typeof data === "number") return Number.isFinite(data);
  return typeof data !== "object" || data === null || Object.values(data).every(isFiniteThroughout);
}
