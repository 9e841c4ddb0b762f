/** @file From settings to losses: which loss a method has, and the pictures it learns from. */

import { openWeights } from "../../weights/open.js";
import { saveSafetensors } from "../../weights/safetensors.js";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { UsageError } from "../../errors.js";
import { float32, type Tensor } from "../../tensor/tensor.js";
import type { ImageSet, PreferencePairs } from "../data/contract.js";
import { createDraftLoss } from "./draft.js";
import type { LossContext, TrainingLoss } from "./loss.js";
import { createNoiseLoss, createPreferenceLoss, type LatentPair, pairByScore, selectPictures } from "./noise-loss.js";
import { drawReferenceSet, encodeImageSet, type ReferenceLatent, type ReferenceOptions } from "./reference-set.js";
import { createReflLoss } from "./refl.js";
import type { FinetuneSettings } from "./settings.js";

/** Data of the caller's, for the methods that take them. */
export interface TrainingData {
  /** sft: pictures with prompts; refl and draft: those of the pre-training loss. @default pictures of the base model */
  readonly images?: ImageSet | undefined;
  /** dpo. @default pictures of the base model, paired by score */
  readonly pairs?: PreferencePairs | undefined;
}

/** The losses of a run: each is followed by an optimizer step of its own. */
export interface RunLosses {
  readonly main: TrainingLoss;
  /** ReFL's pre-training loss, with its settings. */
  readonly pretrain: { readonly loss: TrainingLoss; readonly every: number; readonly rate: number } | undefined;
}

/** Where a set of pictures is kept, so that a resumed run does not draw it again. */
interface SetOptions extends ReferenceOptions {
  readonly directory: string | undefined;
  readonly seed: number;
}

/**
 * Makes the losses that `settings` ask for. What they learn from is drawn or encoded now.
 * @throws UsageError for settings that leave nothing to learn from, CancelledError when the signal aborts
 */
export async function createLosses(
  context: LossContext,
  settings: FinetuneSettings,
  { images, pairs }: TrainingData,
  options: SetOptions,
): Promise<RunLosses> {
  switch (settings.method) {
    case "refl":
    case "draft": {
      const { pretrain: wanted } = settings;
      const pretrain =
        wanted === null
          ? undefined
          : {
              loss: await createNoiseLoss(
                { ...context, batchSize: wanted.batchSize },
                "pretrain",
                selectPictures(
                  await referenceSet(context, images, { prompts: wanted.drawn, imagesPerPrompt: 1 }, false, options),
                  { select: "plain", keep: 1, temperature: 1 },
                ),
                wanted.promptDropout,
              ),
              every: wanted.every,
              rate: wanted.rate,
            };
      const main =
        settings.method === "refl" ? await createReflLoss(context, settings) : await createDraftLoss(context, settings);
      return { main, pretrain };
    }
    case "sft": {
      const scored = settings.select !== "plain";
      const set = await referenceSet(context, images, settings.drawn, scored, options);
      return {
        main: await createNoiseLoss(context, "sft", selectPictures(set, settings), settings.promptDropout),
        pretrain: undefined,
      };
    }
    case "dpo": {
      const given =
        pairs === undefined
          ? pairByScore(await referenceSet(context, undefined, settings.drawn, true, options), settings.margin)
          : await encodePairs(context, pairs, options);
      return { main: await createPreferenceLoss(context, given, settings.beta), pretrain: undefined };
    }
    default:
      return settings satisfies never;
  }
}

/** The caller's pictures or the base model's own, from the run's folder where they are there already. */
async function referenceSet(
  context: LossContext,
  images: ImageSet | undefined,
  drawn: { readonly prompts: number; readonly imagesPerPrompt: number },
  scored: boolean,
  options: SetOptions,
): Promise<ReferenceLatent[]> {
  const file = options.directory === undefined ? undefined : join(options.directory, "reference.safetensors");
  if (file !== undefined && existsSync(file)) return readSet(file);
  const set =
    images === undefined
      ? await drawReferenceSet(context, { ...drawn, seed: options.seed }, scored, options)
      : await encodeImageSet(context, images, options.seed, scored, options);
  if (file !== undefined) await writeSet(file, set, context.drawer.latentShape);
  return set;
}

async function encodePairs(context: LossContext, pairs: PreferencePairs, options: SetOptions): Promise<LatentPair[]> {
  if (pairs.length === 0) throw new UsageError("pairs: expected at least one pair to learn from, got none");
  for (const warning of pairs.warnings) context.warn(warning);
  const file = options.directory === undefined ? undefined : join(options.directory, "reference.safetensors");
  let set: ReferenceLatent[];
  if (file !== undefined && existsSync(file)) set = await readSet(file);
  else {
    const asSet: ImageSet = {
      length: 2 * pairs.length,
      warnings: [],
      facts: () => ({ prompt: "", score: null }),
      async at(index) {
        const { prompt, better, worse } = await pairs.at(index >> 1);
        return { prompt, image: index % 2 === 0 ? better : worse, score: null };
      },
    };
    set = await encodeImageSet(context, asSet, options.seed, false, options);
    if (file !== undefined) await writeSet(file, set, context.drawer.latentShape);
  }
  return Array.from({ length: set.length >> 1 }, (_, i) => ({ better: set[2 * i]!, worse: set[2 * i + 1]! }));
}

async function writeSet(file: string, set: readonly ReferenceLatent[], shape: readonly number[]): Promise<void> {
  const size = set[0]?.latents.length ?? 0;
  const data = new Float32Array(set.length * size);
  set.forEach(({ latents }, i) => data.set(latents, i * size));
  const tensors = new Map<string, Tensor>([["latents", float32([set.length, ...shape], data)]]);
  const facts = set.map(({ prompt, score }) => ({ prompt, score }));
  await saveSafetensors(file, tensors, { laurel_reference: JSON.stringify(facts) });
}

async function readSet(file: string): Promise<ReferenceLatent[]> {
  const source = await openWeights(file);
  const facts = JSON.parse(source.metadata.get("laurel_reference") ?? "[]") as Omit<ReferenceLatent, "latents">[];
  const { data } = await source.read("latents");
  const size = data.length / facts.length;
  return facts.map((fact, i) => ({ ...fact, latents: (data as Float32Array).slice(i * size, (i + 1) * size) }));
}
