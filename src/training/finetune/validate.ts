/** @file Validations: the same prompts and seeds drawn with the model as it is, scored, and compared with the base. */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { encodePng } from "../../image/png.js";
import type { RgbImage } from "../../image/types.js";
import type { Reward } from "../../rewards/contract.js";
import { createAlphaBars } from "../../samplers/noise-schedule.js";
import { createSampler } from "../../samplers/sampler.js";
import { TorchGenerator } from "../../tensor/random.js";
import { writeFileAtomic } from "../../util/files.js";
import { noisyTarget } from "../recipes/denoiser.js";
import { isImageEmbedder } from "../../rewards/image-embedder.js";
import { pictureDiversity } from "./diversity.js";
import type { Drawer } from "./drawer.js";
import { rowErrors } from "./noise-loss.js";
import type { GridPlace, ValidationRecord } from "./records.js";
import { scoreEach } from "./reference-set.js";
import type { ValidationSettings } from "./settings.js";
import type { TunedModel } from "./tuned-model.js";

/** Pictures of a validation that are kept for people to look at. */
const GRID = 16;
/** Pictures drawn at once. */
const DRAWN_AT_ONCE = 32;
/** Pictures at whose latents the distance to the base is measured. */
const COMPARED = 32;

/** What a validation draws and asks. */
export interface ValidationContext {
  readonly model: TunedModel;
  readonly drawer: Drawer;
  readonly guides: readonly Reward[];
  readonly heldOut: readonly Reward[];
  /** Distinct prompts; the first so many as the settings say are drawn. */
  readonly prompts: readonly string[];
  readonly settings: Pick<ValidationSettings, "prompts" | "imagesPerPrompt" | "seed">;
  /** How diverse the pictures of each prompt are. @default the Vendi score in bits */
  readonly diversity?:
    | ((prompts: readonly string[], pictures: readonly (readonly RgbImage[])[]) => Promise<number[]> | number[])
    | undefined;
}

/** Every picture of a validation, in order. */
export function validationPlaces({ prompts, settings }: ValidationContext): GridPlace[] {
  const { imagesPerPrompt, seed } = settings;
  return prompts
    .slice(0, settings.prompts)
    .flatMap((prompt, i) =>
      Array.from({ length: imagesPerPrompt }, (_, j) => ({ prompt, seed: seed + i * imagesPerPrompt + j })),
    )
    .map((place, index) => ({ index, ...place }));
}

/** The places whose pictures are kept: the first of each prompt, then the second of each, up to 16. */
export function gridPlaces(places: readonly GridPlace[], imagesPerPrompt: number): GridPlace[] {
  return places
    .toSorted((a, b) => (a.index % imagesPerPrompt) - (b.index % imagesPerPrompt) || a.index - b.index)
    .slice(0, GRID)
    .toSorted((a, b) => a.index - b.index);
}

/**
 * Draws and scores all places at the model's own settings with the parameters as they are bound.
 * @param directory gets the pictures of the grid, in `validation/<step>/`
 * @throws CancelledError when the signal aborts
 */
export async function validate(
  context: ValidationContext,
  step: number,
  directory: string | undefined,
  signal: AbortSignal | undefined,
): Promise<ValidationRecord> {
  const { drawer, guides, heldOut, settings } = context;
  const places = validationPlaces(context);
  const { pictures, latents } = await drawPlaces(context, places, signal);
  const prompts = places.map(({ prompt }) => prompt);
  const scores: Record<string, number[]> = {};
  for (const reward of [...guides, ...heldOut])
    scores[reward.name] = await scoreEach(reward, prompts, pictures, signal);
  const groups = Array.from({ length: Math.ceil(places.length / settings.imagesPerPrompt) }, (_, i) =>
    pictures.slice(i * settings.imagesPerPrompt, (i + 1) * settings.imagesPerPrompt),
  );
  const distinct = groups.map((_, i) => prompts[i * settings.imagesPerPrompt]!);
  const embedder = heldOut.find(isImageEmbedder) ?? guides.find(isImageEmbedder);
  const measure = context.diversity ?? ((_, of) => pictureDiversity(of, embedder));
  if (directory !== undefined) await keepGrid(directory, step, gridPlaces(places, settings.imagesPerPrompt), pictures);
  return {
    step,
    scores,
    guide: guides.map(({ name }) => name),
    heldOut: heldOut.map(({ name }) => name),
    diversity: settings.imagesPerPrompt > 1 ? await measure(distinct, groups) : null,
    divergence: step === 0 ? 0 : await divergence(context, drawer, prompts, latents),
    alarm: null,
  };
}

async function drawPlaces(
  { model, drawer }: ValidationContext,
  places: readonly GridPlace[],
  signal: AbortSignal | undefined,
): Promise<{ pictures: RgbImage[]; latents: Float32Array[] }> {
  const { sampler: name, steps, guidance, eta } = model.defaults;
  const sampler = createSampler(name, model.scheduler, steps, { eta });
  const pictures: RgbImage[] = [];
  const latents: Float32Array[] = [];
  for (let at = 0; at < places.length; at += DRAWN_AT_ONCE) {
    const part = places.slice(at, at + DRAWN_AT_ONCE);
    const [prompts, seeds] = [part.map(({ prompt }) => prompt), part.map(({ seed }) => seed)];
    const states = await drawer.draw({ prompts, seeds, sampler, guidance, signal });
    const own = states.map((state) => state.latents);
    latents.push(...own);
    pictures.push(...(await drawer.decode(own, signal)));
  }
  return { pictures, latents };
}

/**
 * How far the model went from the base: the mean square of the difference of their noise predictions on noised pictures, at noise and timesteps that are the same every
 * time. For equal variances the divergence (KL) of one denoising step's distribution from the base's is proportional to it.
 */
async function divergence(
  { model, settings }: ValidationContext,
  drawer: Drawer,
  prompts: readonly string[],
  latents: readonly Float32Array[],
): Promise<number> {
  const stride = Math.max(1, Math.floor(latents.length / COMPARED));
  const chosen = latents.flatMap((_, i) => (i % stride === 0 ? [i] : [])).slice(0, COMPARED);
  const alphaBars = createAlphaBars(model.scheduler);
  const generator = new TorchGenerator(settings.seed);
  const timesteps = generator.randint(0, alphaBars.length, chosen.length);
  const clean = new Float32Array(chosen.length * drawer.latentSize);
  chosen.forEach((place, i) => clean.set(latents[place]!, i * drawer.latentSize));
  const { sample } = noisyTarget(clean, generator.randn(clean.length), timesteps, alphaBars, "sample");
  const rows = { sample, timesteps, prompts: chosen.map((place) => prompts[place]!) };
  const [tuned, base] = [await drawer.predict(rows, "tuned"), await drawer.predict(rows, "base")];
  const errors = rowErrors(tuned, base, chosen.length);
  return errors.reduce((sum, value) => sum + value, 0) / errors.length;
}

async function keepGrid(
  directory: string,
  step: number,
  grid: readonly GridPlace[],
  pictures: readonly RgbImage[],
): Promise<void> {
  const folder = join(directory, "validation", String(step));
  await mkdir(folder, { recursive: true });
  for (const { index } of grid) await writeFileAtomic(join(folder, `${index}.png`), await encodePng(pictures[index]!));
  if (step === 0) await writeFileAtomic(join(directory, "validation", "prompts.json"), JSON.stringify(grid, null, 1));
}
