/** @file Pairs of generated images for the reward: drawn by the trained denoiser, ranked by the oracle. */

import { z } from "zod";
import { canonicalPrompt, freePrompt, sampleRandom, type RankedPair } from "./demo-samples.js";
import { requireDescription } from "../demo/grammar.js";
import { judge } from "../demo/oracle.js";
import type { Picture } from "../demo/render.js";
import { sampleTrainingScene } from "../demo/dataset.js";
import type { StableDiffusion } from "../diffusion/stable-diffusion.js";
import { ModelError } from "../errors.js";
import { tensor } from "../tensor/tensor.js";
import { openWeights } from "../weights/open.js";
import { saveSafetensors } from "../weights/safetensors.js";

const rowSchema = z.array(z.tuple([z.string(), z.int(), z.int()]));

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

/** Writes pairs with the pictures they share, so that a resumed run sees the same ones. */
export async function savePairs(path: string, pairs: readonly RankedPair[]): Promise<void> {
  const numbers = new Map<Picture, number>();
  const numberOf = (picture: Picture): number => {
    const number = numbers.get(picture) ?? numbers.size;
    numbers.set(picture, number);
    return number;
  };
  const rows = pairs.map(({ prompt, better, worse }) => [prompt, numberOf(better), numberOf(worse)]);
  const [first] = numbers.keys();
  const { width, height } = first ?? { width: 0, height: 0 };
  const size = 3 * width * height;
  const data = new Uint8Array(numbers.size * size);
  for (const [picture, number] of numbers) data.set(picture.data, number * size);
  const pictures = tensor("uint8", [numbers.size, height, width, 3], data);
  await saveSafetensors(path, new Map([["pictures", pictures]]), { pairs: JSON.stringify(rows) });
}

/** Reads what `savePairs` wrote. @throws ModelError */
export async function loadPairs(path: string): Promise<RankedPair[]> {
  const source = await openWeights(path);
  const rows = rowSchema.safeParse(JSON.parse(source.metadata.get("pairs") ?? "null"));
  if (!rows.success) throw new ModelError(`${path}: expected pairs of pictures, got ${source.description}`);
  const { shape, data } = await source.read("pictures");
  const [count = 0, height = 0, width = 0] = shape;
  const size = 3 * width * height;
  const bytes = data as Uint8Array;
  const pictures = Array.from({ length: count }, (_, i) => ({
    width,
    height,
    data: bytes.slice(i * size, (i + 1) * size),
  }));
  return rows.data.map(([prompt, better, worse]) => ({
    prompt,
    better: pictures[better] as Picture,
    worse: pictures[worse] as Picture,
  }));
}

/** Draws training prompts and pairs every two images of a prompt that differ in merit, until the prompts or the `seconds` are used up. @throws CancelledError */
export async function generatedPairs(
  diffusion: StableDiffusion,
  settings: GeneratedSettings,
  seed: number,
  options: {
    signal?: AbortSignal | undefined;
    seconds?: number | undefined;
    onProgress?: (prompts: number) => void;
  } = {},
): Promise<RankedPair[]> {
  const pairs: RankedPair[] = [];
  const started = performance.now();
  for (let index = 0; index < settings.prompts; index++) {
    if (performance.now() - started > 1000 * (options.seconds ?? Number.POSITIVE_INFINITY)) break;
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
