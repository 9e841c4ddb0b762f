/** @file A WebUI's samplers: by its own names, and by Laurel's where it has the same method and spread of noise levels. */

import { automatic1111Name, isSamplerName, partsOfName, SAMPLER_NAMES, type SamplerName } from "../samplers/names.js";

/** What a server says it has. */
export interface WebuiSamplers {
  readonly samplers: readonly { readonly name: string; readonly aliases?: readonly string[] | undefined }[];
  /** Labels of its schedules; none where they are part of the samplers' names, as before version 1.9. */
  readonly schedules: readonly string[];
}

/** How a server is asked for a sampler. */
export interface SamplerFields {
  readonly sampler_name?: string | undefined;
  readonly scheduler?: string | undefined;
}

/** All names that can be asked for: the server's own and their aliases, and those of Laurel's that it has. */
export function samplerNames(known: WebuiSamplers): string[] {
  const own = known.samplers.flatMap(({ name, aliases = [] }) => [name, ...aliases]);
  const ours = SAMPLER_NAMES.filter((name) => translated(name, known) !== undefined);
  return [...new Set([...own, ...ours])];
}

/**
 * The fields that ask for `sampler`. A name of Laurel's says its schedule as well: `dpmpp-2m` is not the Karras one, which newer servers take where
 * nothing is said.
 * @param schedule for samplers that say none
 */
export function samplerFields(
  sampler: string | undefined,
  schedule: string | undefined,
  known: WebuiSamplers,
): SamplerFields {
  const fields = sampler !== undefined && isSamplerName(sampler) ? translated(sampler, known) : undefined;
  return { sampler_name: fields?.sampler_name ?? sampler, scheduler: fields?.scheduler ?? schedule };
}

function translated(name: SamplerName, { samplers, schedules }: WebuiSamplers): SamplerFields | undefined {
  const { sampler, schedule } = automatic1111Name(name);
  const has = (wanted: string): boolean => samplers.some((one) => one.name === wanted);
  if (schedules.length === 0) {
    const joined = schedule === undefined ? sampler : `${sampler} ${schedule}`;
    return has(joined) ? { sampler_name: joined } : undefined;
  }
  if (!has(sampler)) return undefined;
  if (schedule !== undefined)
    return schedules.includes(schedule) ? { sampler_name: sampler, scheduler: schedule } : undefined;
  // a method that also exists with Karras's spread, asked for without it
  const { method } = partsOfName(name);
  const both = SAMPLER_NAMES.some((other) => other !== name && partsOfName(other).method === method);
  return { sampler_name: sampler, scheduler: both && schedules.includes("Uniform") ? "Uniform" : undefined };
}
