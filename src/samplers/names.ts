/** @file The samplers' names, apart from their mathematics: the command line lists them without loading it. */

/** Names of the samplers, as the command line takes them, and as AUTOMATIC1111 spells them. */
const PLAIN = {
  ddpm: "DDPM",
  ddim: "DDIM",
  pndm: "PLMS",
  euler: "Euler",
  "euler-a": "Euler a",
  heun: "Heun",
  "dpmpp-2m": "DPM++ 2M",
  "dpmpp-2m-sde": "DPM++ 2M SDE",
  "dpmpp-sde": "DPM++ SDE",
  unipc: "UniPC",
  lcm: "LCM",
} as const;

/** A sampler's mathematics, whatever the spread of its noise levels. */
export type SamplerMethod = keyof typeof PLAIN;

/** Methods that also exist with Karras's spread of noise levels (arXiv 2206.00364, eq. 5), as `<method>-karras`. */
const WITH_KARRAS = ["euler", "heun", "dpmpp-2m", "dpmpp-2m-sde", "dpmpp-sde", "unipc"] as const;

/** A sampler by the name that requests and the command line use. */
export type SamplerName = SamplerMethod | `${(typeof WITH_KARRAS)[number]}-karras`;

/** All names. */
export const SAMPLER_NAMES: readonly SamplerName[] = [
  ...(Object.keys(PLAIN) as SamplerMethod[]),
  ...WITH_KARRAS.map((method) => `${method}-karras` as const),
];

/** What a denoiser may predict: the noise, the velocity of Salimans and Ho (arXiv 2202.00512), or the picture itself. */
export const PREDICTION_TYPES = ["epsilon", "v_prediction", "sample"] as const;

/** True when `name` is a sampler's. */
export function isSamplerName(name: string): name is SamplerName {
  return (SAMPLER_NAMES as readonly string[]).includes(name);
}

/** The method of a name, and whether it spreads its noise levels by Karras's rule. */
export function partsOfName(name: SamplerName): { readonly method: SamplerMethod; readonly karras: boolean } {
  const method = name.replace(/-karras$/, "") as SamplerMethod;
  return { method, karras: method !== name };
}

/** The name of a method with Karras's spread, if it exists with it, else without. */
export function nameOf(method: SamplerMethod, karras: boolean): SamplerName {
  const spread = `${method}-karras`;
  return karras && isSamplerName(spread) ? spread : method;
}

/** How AUTOMATIC1111 writes a sampler: its name and, where it is not the sampler's own, its schedule. */
export function automatic1111Name(name: SamplerName): {
  readonly sampler: string;
  readonly schedule: string | undefined;
} {
  const { method, karras } = partsOfName(name);
  return { sampler: PLAIN[method], schedule: karras ? "Karras" : undefined };
}
