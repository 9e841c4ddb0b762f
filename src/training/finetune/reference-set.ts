/** @file Pictures as latents, to learn from: the base model's own, or those of a folder. */

import type { Reward } from "../../rewards/contract.js";
import { createSampler } from "../../samplers/sampler.js";
import { TorchGenerator } from "../../tensor/random.js";
import { throwIfAborted } from "../../util/abort.js";
import type { ImageSet } from "../data/contract.js";
import { drawPrompts, drawSeeds, type LossContext } from "./loss.js";

/** A picture as the denoiser sees it. */
export interface ReferenceLatent {
  readonly prompt: string;
  /** Scaled clean latents. */
  readonly latents: Float32Array;
  /** Weighted sum of the guiding rewards; null where nothing scored it. */
  readonly score: number | null;
}

/** Pictures drawn at once. */
const DRAWN_AT_ONCE = 32;

/** Pictures of the base model to be drawn. */
export interface DrawnSet {
  readonly prompts: number;
  readonly imagesPerPrompt: number;
  /** Scale of classifier-free guidance. */
  readonly guidance: number;
  readonly seed: number;
}

/** How a set is made. */
export interface ReferenceOptions {
  readonly signal: AbortSignal | undefined;
  readonly onProgress?: ((done: number, of: number) => void) | undefined;
}

/**
 * Pictures of the base model at its own settings but for guidance, `imagesPerPrompt` of each prompt.
 * @param scored whether the guiding rewards score them
 * @throws CancelledError when the signal aborts
 */
export async function drawReferenceSet(
  context: LossContext,
  { prompts: count, imagesPerPrompt, guidance, seed }: DrawnSet,
  scored: boolean,
  { signal, onProgress }: ReferenceOptions,
): Promise<ReferenceLatent[]> {
  const { drawer, model, guides } = context;
  const { sampler: name, steps, eta } = model.defaults;
  const sampler = createSampler(name, model.scheduler, steps, { eta });
  const generator = new TorchGenerator(seed);
  const prompts = drawPrompts(context, generator, count).flatMap((prompt) =>
    Array<string>(imagesPerPrompt).fill(prompt),
  );
  const seeds = drawSeeds(generator, prompts.length);
  const set: ReferenceLatent[] = [];
  for (let at = 0; at < prompts.length; at += DRAWN_AT_ONCE) {
    const part = prompts.slice(at, at + DRAWN_AT_ONCE);
    const drawing = { prompts: part, seeds: seeds.slice(at, at + part.length), sampler, guidance, signal };
    const states = await drawer.draw({ ...drawing, version: "base" });
    const latents = states.map((state) => state.latents);
    const scores = scored ? await guideScores(guides, part, await drawer.decode(latents, signal), signal) : undefined;
    latents.forEach((one, i) => set.push({ prompt: part[i]!, latents: one, score: scores?.[i] ?? null }));
    onProgress?.(set.length, prompts.length);
  }
  return set;
}

/** The pictures of a set as latents; what has no score is scored where `scored`. @throws CancelledError when the signal aborts */
export async function encodeImageSet(
  context: LossContext,
  set: ImageSet,
  seed: number,
  scored: boolean,
  { signal, onProgress }: ReferenceOptions,
): Promise<ReferenceLatent[]> {
  const seeds = drawSeeds(new TorchGenerator(seed), set.length);
  const encoded: ReferenceLatent[] = [];
  for (let i = 0; i < set.length; i++) {
    throwIfAborted(signal);
    const { prompt, image, score } = await set.at(i);
    const [latents] = await context.drawer.encode([image], [seeds[i]!]);
    const own = scored ? (score ?? (await guideScores(context.guides, [prompt], [image], signal))[0]!) : null;
    encoded.push({ prompt, latents: latents!, score: own });
    onProgress?.(encoded.length, set.length);
  }
  return encoded;
}

/** The weighted sum of the rewards for each picture; pictures of one prompt are scored together. */
export async function guideScores(
  guides: readonly { readonly reward: Reward; readonly weight: number }[],
  prompts: readonly string[],
  images: Parameters<Reward["score"]>[1],
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const totals = prompts.map(() => 0);
  for (const { reward, weight } of guides) {
    const scores = await scoreEach(reward, prompts, images, signal);
    scores.forEach((score, i) => (totals[i]! += weight * score));
  }
  return totals;
}

/**
 * A reward's score of each picture for its own prompt. An abort waits for the scores of a prompt: cut short, a run may cost its device process, and what is
 * trained lives there.
 * @throws CancelledError when the signal aborts
 */
export async function scoreEach(
  reward: Reward,
  prompts: readonly string[],
  images: Parameters<Reward["score"]>[1],
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const scores = new Array<number>(prompts.length);
  for (const prompt of new Set(prompts)) {
    const places = prompts.flatMap((one, i) => (one === prompt ? [i] : []));
    const own = places.map((i) => images[i]!);
    throwIfAborted(signal);
    const result = await reward.score(prompt, own);
    places.forEach((place, i) => (scores[place] = result.scores[i]!));
  }
  return scores;
}
