/** @file The samplers of ComfyUI and of sd-server: by their own names, and by Laurel's where they have the same method and spread of noise levels. */

import { isSamplerName, partsOfName, SAMPLER_NAMES, type SamplerMethod } from "../samplers/names.js";

/** A program's names for Laurel's methods, those it does not have left out, and for the schedule that is not Karras's. */
export interface SamplerDialect {
  readonly methods: Partial<Record<SamplerMethod, string>>;
  readonly plain: string;
}

/** Reference: comfy/samplers.py of ComfyUI 0.3.64 */
export const COMFYUI_DIALECT: SamplerDialect = {
  methods: {
    ddpm: "ddpm",
    ddim: "ddim",
    euler: "euler",
    "euler-a": "euler_ancestral",
    heun: "heun",
    "dpmpp-2m": "dpmpp_2m",
    "dpmpp-2m-sde": "dpmpp_2m_sde",
    "dpmpp-sde": "dpmpp_sde",
    unipc: "uni_pc",
    lcm: "lcm",
  },
  plain: "normal",
};

/** Reference: src/stable-diffusion.cpp of stable-diffusion.cpp, commit 97d29908 */
export const SDCPP_DIALECT: SamplerDialect = {
  methods: {
    euler: "euler",
    "euler-a": "euler_a",
    heun: "heun",
    "dpmpp-2m": "dpm++2m",
    "dpmpp-2m-sde": "dpm++2m_sde",
    lcm: "lcm",
  },
  plain: "discrete",
};

/** What a server can be told of samplers: its own names of them and of their noise schedules; none where it takes none. */
export interface ServerSamplers {
  readonly dialect: SamplerDialect;
  readonly samplers: readonly string[];
  readonly schedulers: readonly string[];
}

/** All names that can be asked for: the server's own, and those of Laurel's that it has. */
export function samplerNames(known: ServerSamplers): string[] {
  const ours = SAMPLER_NAMES.filter((name) => translated(name, known) !== undefined);
  return [...new Set([...known.samplers, ...ours])];
}

/**
 * How the server is asked for `sampler`. A name of Laurel's that it does not have itself says its schedule as well.
 * @param schedule for samplers that say none
 */
export function samplerValues(
  sampler: string | undefined,
  schedule: string | undefined,
  known: ServerSamplers,
): { readonly sampler: string | undefined; readonly scheduler: string | undefined } {
  const own = sampler !== undefined && known.samplers.includes(sampler);
  const ours = sampler === undefined || own ? undefined : translated(sampler, known);
  return ours ?? { sampler, scheduler: schedule };
}

function translated(
  name: string,
  { dialect, samplers, schedulers }: ServerSamplers,
): { readonly sampler: string; readonly scheduler: string | undefined } | undefined {
  if (!isSamplerName(name)) return undefined;
  const { method, karras } = partsOfName(name);
  const sampler = dialect.methods[method];
  if (sampler === undefined || !samplers.includes(sampler)) return undefined;
  if (karras) return schedulers.includes("karras") ? { sampler, scheduler: "karras" } : undefined;
  return { sampler, scheduler: schedulers.includes(dialect.plain) ? dialect.plain : undefined };
}
