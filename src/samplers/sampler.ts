/** @file The samplers by name: a new one is its file, its name in names.ts and one line here. */

import { UsageError } from "../errors.js";
import type { Sampler, SamplerFactory, SamplerOptions } from "./contract.js";
import { createDdim } from "./ddim.js";
import { createDdpm } from "./ddpm.js";
import { createDpmpp2m } from "./dpmpp-2m.js";
import { createEuler } from "./euler.js";
import { SAMPLER_NAMES, type SamplerName } from "./names.js";
import type { SchedulerConfig } from "./scheduler-config.js";

export { SAMPLER_NAMES, type SamplerName };

const SAMPLERS: { readonly [N in SamplerName]: { readonly create: SamplerFactory; readonly className: string } } = {
  ddpm: { create: createDdpm, className: "DDPMScheduler" },
  ddim: { create: createDdim, className: "DDIMScheduler" },
  euler: { create: createEuler, className: "EulerDiscreteScheduler" },
  "dpmpp-2m": { create: createDpmpp2m, className: "DPMSolverMultistepScheduler" },
};

/** True when `name` is a sampler's. */
export function isSamplerName(name: string): name is SamplerName {
  return Object.hasOwn(SAMPLERS, name);
}

/** The sampler a scheduler file was written for; undefined when it names a class that is none of them (PNDM, for example). */
export function samplerOfConfig(config: SchedulerConfig): SamplerName | undefined {
  return SAMPLER_NAMES.find((name) => SAMPLERS[name].className === config.className);
}

/**
 * The schedule and per-step coefficients of `name` for `steps` steps.
 * @throws UsageError for an unknown name or a step count or option out of range
 */
export function createSampler(
  name: SamplerName,
  config: SchedulerConfig,
  steps: number,
  options: SamplerOptions = {},
): Sampler {
  if (!isSamplerName(name))
    throw new UsageError(`sampler: expected one of ${SAMPLER_NAMES.join(", ")}, got ${String(name)}`);
  if (options.eta !== undefined && options.eta !== 0 && name !== "ddim") {
    throw new UsageError(`eta: expected 0 for sampler ${name} (only ddim has it), got ${options.eta}`);
  }
  return SAMPLERS[name].create(config, steps, options);
}
