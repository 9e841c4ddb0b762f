/** @file Pairs of generated images for the reward: drawn by the trained denoiser, ranked by the oracle. */

import { canonicalPrompt, freePrompt, sampleRandom, type RankedPair } from "./demo-samples.js";
import { requireDescription } from "../demo/grammar.js";
import { judge } from "../demo/oracle.js";
import type { Picture } from "../demo/render.js";
import { sampleTrainingScene } from "../demo/dataset.js";
import type { StableDiffusion } from "../diffusion/stable-diffusion.js";

/** How many images to draw. */
export interface GeneratedSettings {
  readonly prompts: number;
  readonly imagesPerPrompt: number;
}

/** Facts that hold, minus a little for an image that cannot be read: the order in which a person would rank. */
function merit(description: ReturnType<typeof requireDescription>, picture: Picture): number {
  const { verdict, facts } = judge(description, picture);
  if (verdict === "holds") return 1;
  const held = facts.filter((fact) => fact.holds === true).length / Math.max(1, facts.length);
  return verdict === "unreadable" ? -0.5 + 0.4 * held : 0.9 * held - 0.1;
}

/** Draws training prompts and pairs every two images of a prompt that differ in merit. Prompts and seeds depend on `seed` alone. */
export async function generatedPairs(
  diffusion: StableDiffusion,
  settings: GeneratedSettings,
  seed: number,
  options: { signal?: AbortSignal | undefined; onProgress?: (prompts: number) => void } = {},
): Promise<RankedPair[]> {
  const pairs: RankedPair[] = [];
  for (let index = 0; index < settings.prompts && options.signal?.aborted !== true; index++) {
    const random = sampleRandom(seed, index);
    const canonical = canonicalPrompt(random, sampleTrainingScene(random));
    const description = requireDescription(canonical);
    const pictures: Picture[] = [];
    const request = { prompt: canonical, seed: index * settings.imagesPerPrompt, count: settings.imagesPerPrompt };
    for await (const group of diffusion.generate(request, { signal: options.signal })) {
      pictures.push(...group.images.map(({ image }) => image));
    }
    const ranked = pictures.map((picture) => ({ picture, merit: merit(description, picture) }));
    for (const better of ranked) {
      for (const worse of ranked) {
        if (better.merit > worse.merit + 1e-9) {
          pairs.push({ prompt: freePrompt(random, description), better: better.picture, worse: worse.picture });
        }
      }
    }
    options.onProgress?.(index + 1);
  }
  return pairs;
}
