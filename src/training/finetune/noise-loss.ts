/** @file Noise prediction on pictures: sft in its three forms, ReFL's pre-training, and Diffusion-DPO on pairs. */

import { UsageError } from "../../errors.js";
import { createAlphaBars } from "../../samplers/noise-schedule.js";
import type { TorchGenerator } from "../../tensor/random.js";
import { float32 } from "../../tensor/tensor.js";
import { noisyTarget } from "../recipes/denoiser.js";
import { compileLoss, type LossContext, promptFeeds, type TrainingLoss } from "./loss.js";
import { noiseObjective, preferenceObjective } from "./noise-objective.js";
import type { ReferenceLatent } from "./reference-set.js";
import type { SettingsOf } from "./settings.js";

/** A picture with the weight of its loss. */
export interface WeightedLatent extends ReferenceLatent {
  readonly weight: number;
}

/** How noise is predicted where the denoiser learns it. */
export interface NoiseSettings {
  /** Guidance scale of the prediction that learns; 1 leaves guidance out. */
  readonly guidance: number;
  /** Share of pictures that are learnt without their prompt, so that guidance keeps what it moves away from. */
  readonly promptDropout: number;
}

/** Noise prediction on pictures drawn from `set`, each loss with its weight. */
export async function createNoiseLoss(
  context: LossContext,
  name: string,
  set: readonly WeightedLatent[],
  { guidance, promptDropout }: NoiseSettings,
): Promise<TrainingLoss> {
  const { batchSize } = context;
  const program = await compileLoss(context, name, noiseObjective(context.model, batchSize, guidance));
  return {
    parameters: program.parameters,
    async gradient(generator, where) {
      const rows = Array.from(generator.randint(0, set.length, batchSize), (i) => set[i]!);
      const noised = noise(context, generator, rows, batchSize);
      const dropped = generator.uniform(batchSize);
      const prompts = rows.map(({ prompt }, i) => (dropped[i]! < promptDropout ? "" : prompt));
      const weight = float32(
        [batchSize],
        Float32Array.from(rows, (row) => row.weight),
      );
      return program.run({ ...noised.feeds, weight, ...(await promptFeeds(context, prompts, guidance)) }, where);
    },
    dispose: () => program.dispose(),
  };
}

/**
 * The pictures sft learns from, with weights: all alike, the best of each prompt alone, or all weighted by exp(score / temperature) with a mean of 1.
 * @throws UsageError when nothing is left
 */
export function selectPictures(
  set: readonly ReferenceLatent[],
  { select, keep, temperature }: Pick<SettingsOf<"sft">, "select" | "keep" | "temperature">,
): WeightedLatent[] {
  if (set.length === 0) throw new UsageError("images: expected at least one picture to learn from, got none");
  const scoreOf = ({ score }: ReferenceLatent): number => score ?? 0;
  switch (select) {
    case "plain":
      return set.map((one) => ({ ...one, weight: 1 }));
    case "filtered": {
      const groups = new Map<string, ReferenceLatent[]>();
      for (const one of set) groups.set(one.prompt, [...(groups.get(one.prompt) ?? []), one]);
      return [...groups.values()].flatMap((group) =>
        group
          .toSorted((a, b) => scoreOf(b) - scoreOf(a))
          .slice(0, Math.max(1, Math.round(keep * group.length)))
          .map((one) => ({ ...one, weight: 1 })),
      );
    }
    case "weighted": {
      const highest = set.reduce((most, one) => Math.max(most, scoreOf(one)), -Infinity);
      const weights = set.map((one) => Math.exp((scoreOf(one) - highest) / temperature));
      const mean = weights.reduce((sum, weight) => sum + weight, 0) / set.length;
      return set.map((one, i) => ({ ...one, weight: weights[i]! / mean }));
    }
    default:
      return select satisfies never;
  }
}

/** Two pictures of a prompt, the better first. */
export interface LatentPair {
  readonly better: ReferenceLatent;
  readonly worse: ReferenceLatent;
}

/** Diffusion-DPO on pairs drawn from `pairs`. */
export async function createPreferenceLoss(
  context: LossContext,
  pairs: readonly LatentPair[],
  { beta, guidance }: Pick<SettingsOf<"dpo">, "beta" | "guidance">,
): Promise<TrainingLoss> {
  const { batchSize, drawer, model } = context;
  const program = await compileLoss(context, "dpo", preferenceObjective(model, batchSize, beta, guidance));
  return {
    parameters: program.parameters,
    async gradient(generator, where) {
      const drawn = Array.from(generator.randint(0, pairs.length, batchSize), (i) => pairs[i]!);
      const rows = [...drawn.map(({ better }) => better), ...drawn.map(({ worse }) => worse)];
      // both pictures of a pair get the same noise at the same timestep
      const { feeds, sample, target, timesteps } = noise(context, generator, rows, batchSize);
      const prompts = rows.map(({ prompt }) => prompt);
      const prediction = await drawer.predict({ sample, timesteps, prompts, guidance }, "base");
      const reference = float32([rows.length], rowErrors(prediction, target, rows.length));
      return program.run({ ...feeds, reference, ...(await promptFeeds(context, prompts, guidance)) }, where);
    },
    dispose: () => program.dispose(),
  };
}

/**
 * Pairs of pictures of the same prompt whose scores differ by `margin` at least.
 * @throws UsageError when there are none
 */
export function pairByScore(set: readonly ReferenceLatent[], margin: number): LatentPair[] {
  const pairs = set.flatMap((better) =>
    set.flatMap((worse): LatentPair[] => {
      const wider =
        better.prompt === worse.prompt && (better.score ?? 0) - (worse.score ?? 0) >= Math.max(margin, 1e-9);
      return wider ? [{ better, worse }] : [];
    }),
  );
  if (pairs.length === 0)
    throw new UsageError(
      `margin: expected pictures of a prompt whose scores differ by ${margin}, got none among ${set.length}`,
    );
  return pairs;
}

/** Noised rows and what is to be predicted of them; row i and row i + `independent` share noise and timestep. */
function noise(
  { model, drawer }: LossContext,
  generator: TorchGenerator,
  rows: readonly ReferenceLatent[],
  independent: number,
) {
  const alphaBars = createAlphaBars(model.scheduler);
  const size = drawer.latentSize;
  const drawn = generator.randint(0, alphaBars.length, independent);
  const eps = generator.randn(independent * size);
  const timesteps = Float64Array.from(rows, (_, i) => drawn[i % independent]!);
  const clean = new Float32Array(rows.length * size);
  const noises = new Float32Array(rows.length * size);
  rows.forEach(({ latents }, i) => {
    clean.set(latents, i * size);
    noises.set(eps.subarray((i % independent) * size, ((i % independent) + 1) * size), i * size);
  });
  const { sample, target } = noisyTarget(clean, noises, timesteps, alphaBars, model.scheduler.prediction_type);
  const shape = [rows.length, ...drawer.latentShape];
  const feeds = {
    sample: float32(shape, sample),
    target: float32(shape, target),
    timestep: float32([rows.length], Float32Array.from(timesteps)),
  };
  return { feeds, sample, target, timesteps };
}

/** Mean squared error of each row. */
export function rowErrors(prediction: Float32Array, target: Float32Array, rows: number): Float32Array {
  const size = prediction.length / rows;
  return Float32Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let i = row * size; i < (row + 1) * size; i++) sum += (prediction[i]! - target[i]!) ** 2;
    return sum / size;
  });
}
