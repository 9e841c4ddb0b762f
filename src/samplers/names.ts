/** @file The samplers' names, apart from their mathematics: the command line lists them without loading it. */

/** Names of the samplers, as the command line takes them. */
export const SAMPLER_NAMES = ["ddpm", "ddim", "euler", "dpmpp-2m"] as const;
export type SamplerName = (typeof SAMPLER_NAMES)[number];
