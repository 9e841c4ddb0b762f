/** @file From settings to losses: which loss a method has, and the pictures it learns from. */

import { existsSync } from "node:fs";
import { z } from "zod";
import { ModelError, UsageError } from "../../errors.js";
import { parseJson } from "../../util/read-file.js";
import { openWeights } from "../../weights/open.js";
import { saveSafetensors } from "../../weights/safetensors.js";
import type { ImageSet, PreferencePairs } from "../data/contract.js";
import { createDraftLoss } from "./draft.js";
import { type LossContext, stack, type TrainingLoss } from "./loss.js";
import { createNoiseLoss, createPreferenceLoss, type LatentPair, pairByScore, selectPictures } from "./noise-loss.js";
import {
  type DrawnSet,
  drawReferenceSet,
  encodeImageSet,
  type ReferenceLatent,
  type ReferenceOptions,
} from "./reference-set.js";
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

/** What losses are made with beside their context. */
interface LossOptions extends ReferenceOptions {
  /** Where the set of pictures is kept, so that a resumed run does not draw it again. */
  readonly file: string | undefined;
  /** Take the pictures from `file` where it is there. */
  readonly resume: boolean;
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
  options: LossOptions,
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
                  await referenceSet(
                    context,
                    images,
                    { prompts: wanted.drawn, imagesPerPrompt: 1, guidance: wanted.guidance },
                    false,
                    options,
                  ),
                  { select: "plain", keep: 1, temperature: 1 },
                ),
                wanted,
              ),
              every: wanted.every,
              rate: wanted.rate,
            };
      try {
        const main =
          settings.method === "refl"
            ? await createReflLoss(context, settings)
            : await createDraftLoss(context, settings);
        return { main, pretrain };
      } catch (error) {
        await pretrain?.loss.dispose();
        throw error;
      }
    }
    case "sft": {
      const scored = settings.select !== "plain";
      const set = await referenceSet(context, images, settings.drawn, scored, options);
      return {
        main: await createNoiseLoss(context, "sft", selectPictures(set, settings), settings),
        pretrain: undefined,
      };
    }
    case "dpo": {
      const given =
        pairs === undefined
          ? pairByScore(await referenceSet(context, undefined, settings.drawn, true, options), settings.margin)
          : await encodePairs(context, pairs, options);
      return { main: await createPreferenceLoss(context, given, settings), pretrain: undefined };
    }
    default:
      return settings satisfies never;
  }
}

/** The caller's pictures or the base model's own, from the run's folder where it goes on. */
async function referenceSet(
  context: LossContext,
  images: ImageSet | undefined,
  drawn: Omit<DrawnSet, "seed">,
  scored: boolean,
  options: LossOptions,
): Promise<ReferenceLatent[]> {
  for (const warning of images?.warnings ?? []) context.warn(warning);
  return keptSet(context, options, () =>
    images === undefined
      ? drawReferenceSet(context, { ...drawn, seed: options.seed }, scored, options)
      : encodeImageSet(context, images, options.seed, scored, options),
  );
}

async function encodePairs(context: LossContext, pairs: PreferencePairs, options: LossOptions): Promise<LatentPair[]> {
  if (pairs.length === 0) throw new UsageError("pairs: expected at least one pair to learn from, got none");
  for (const warning of pairs.warnings) context.warn(warning);
  const asSet: ImageSet = {
    length: 2 * pairs.length,
    warnings: [],
    facts: () => ({ prompt: "", score: null }),
    async at(index) {
      const { prompt, better, worse } = await pairs.at(index >> 1);
      return { prompt, image: index % 2 === 0 ? better : worse, score: null };
    },
  };
  const set = await keptSet(context, options, () => encodeImageSet(context, asSet, options.seed, false, options));
  return Array.from({ length: set.length >> 1 }, (_, i) => ({ better: set[2 * i]!, worse: set[2 * i + 1]! }));
}

/** What `make` gives, kept in the run's folder; from there where the run goes on. */
async function keptSet(
  { drawer }: LossContext,
  { file, resume }: LossOptions,
  make: () => Promise<ReferenceLatent[]>,
): Promise<ReferenceLatent[]> {
  if (file !== undefined && resume && existsSync(file)) return readSet(file, drawer.latentShape);
  const set = await make();
  if (file !== undefined) await writeSet(file, set, drawer.latentShape);
  return set;
}

async function writeSet(file: string, set: readonly ReferenceLatent[], shape: readonly number[]): Promise<void> {
  const latents = stack(
    set.map((one) => one.latents),
    shape,
  );
  const facts = set.map(({ prompt, score }) => ({ prompt, score }));
  await saveSafetensors(file, new Map([["latents", latents]]), { laurel_reference: JSON.stringify(facts) });
}

const factsSchema = z.array(z.object({ prompt: z.string(), score: z.number().nullable() })).min(1);

/** @throws ModelError for a file that is damaged or of pictures of another shape */
async function readSet(file: string, shape: readonly number[]): Promise<ReferenceLatent[]> {
  const source = await openWeights(file);
  const facts = factsSchema.safeParse(parseJson(source.metadata.get("laurel_reference") ?? "null", file));
  const entry = source.entries.get("latents");
  const wanted = `float32 [${[facts.data?.length, ...shape].join()}]`;
  const got = entry === undefined ? "none" : `${entry.dtype} [${entry.shape.join()}]`;
  if (!facts.success || got !== wanted)
    throw new ModelError(
      `${file}: expected the pictures that this run learns from (latents ${wanted} with their prompts), got ${facts.success ? got : "no prompts"}: remove it, and they are drawn again`,
    );
  const { data } = await source.read("latents");
  const size = data.length / facts.data.length;
  return facts.data.map((fact, i) => ({ ...fact, latents: (data as Float32Array).slice(i * size, (i + 1) * size) }));
}
