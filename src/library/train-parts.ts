/** @file What a fine-tuning run is made of: model, rewards, prompts and data, opened from their names and paths. */

import { trainingPrompts } from "../demo/dataset.js";
import { UsageError } from "../errors.js";
import type { ModelRecord } from "../pipeline/manifest.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import type { Reward } from "../rewards/contract.js";
import type { Device } from "../runtime/device.js";
import { readImageSet } from "../training/data/image-set.js";
import { readPreferencePairs } from "../training/data/preference-pairs.js";
import { readTrainingPrompts, type TrainingPrompt } from "../training/data/prompts.js";
import type { TrainingData } from "../training/finetune/losses.js";
import type { GuideReward } from "../training/finetune/reward-objective.js";
import type { FinetuneSettings } from "../training/finetune/settings.js";
import { openTunedModel, type TunedModel } from "../training/finetune/tuned-model.js";
import { modelLocation } from "../weights/hub/location.js";
import { expectModel, modelRecord } from "./models.js";
import { resolveModel } from "./named-models.js";
import { expectDifferentiable, openNamedReward, REWARD_NAMES } from "./named-rewards.js";
import type { TrainRunManifest } from "./train-run.js";

/** Prompts that validations of the demo model draw: others than those it is trained on, of the same kind. */
const DEMO_VALIDATION = { count: 200, seed: 77 };

/** The models of a run. */
export interface TrainParts {
  readonly tuned: TunedModel;
  readonly guides: readonly GuideReward[];
  readonly heldOut: readonly Reward[];
}

/** Which models. */
export interface PartSources {
  /** A folder; null for the model that ships inside. */
  readonly model: string | null;
  readonly size?: { readonly width?: number | undefined; readonly height?: number | undefined } | undefined;
  /** Rewards that are open already, found by their names. */
  readonly opened: readonly Reward[];
}

/** The folder of a model that is not the one that ships inside; null for that one. */
export function ownModel(model: string | undefined): string | null {
  const path = model === undefined ? EMBEDDED_MODELS.generator : modelLocation(model);
  return path === EMBEDDED_MODELS.generator ? null : path;
}

/**
 * Opens what is trained and what judges it.
 * @throws UsageError for two rewards of one name, a guide without a gradient, a name of the demo world's rewards for another model, LoRA targets
 *   that the model does not have; ModelError for a model that is missing or of another kind
 */
export async function openParts(
  device: Device,
  settings: FinetuneSettings,
  { model, size, opened }: PartSources,
): Promise<TrainParts> {
  const directory = await resolveModel(model ?? EMBEDDED_MODELS.generator);
  const pixels = size?.width === undefined && size?.height === undefined ? undefined : await filledSize(directory, settings, size); // prettier-ignore
  const tuned = await openTunedModel(directory, settings, pixels);
  const open = async (name: string, where: string): Promise<Reward> => {
    const known = opened.find((reward) => reward.name === name);
    if (known !== undefined) return known;
    if (model !== null && REWARD_NAMES.includes(name))
      throw new UsageError(
        `${where}: expected the file or folder of a reward for ${model}, got ${name}, which judges pictures of the demo world`,
      );
    return openNamedReward(name, device);
  };
  const guides: GuideReward[] = [];
  const heldOut: Reward[] = [];
  const origins = new Map<string, string>();
  const note = (reward: Reward, origin: string): void => {
    const before = origins.get(reward.name);
    if (before !== undefined)
      throw new UsageError(
        `rewards and heldOut: expected rewards of different names, got two named ${reward.name} (${before}; ${origin})`,
      );
    origins.set(reward.name, origin);
  };
  for (const [name, weight] of Object.entries(settings.rewards)) {
    const reward = expectDifferentiable(await open(name, "rewards"), "rewards");
    note(reward, `guide ${name}`);
    guides.push({ reward, weight });
  }
  for (const name of settings.heldOut) {
    const reward = await open(name, "heldOut");
    note(reward, `held out ${name}`);
    heldOut.push(reward);
  }
  return { tuned, guides, heldOut };
}

/** A size of which one side may be the model's own. */
async function filledSize(
  directory: string,
  settings: FinetuneSettings,
  { width, height }: NonNullable<PartSources["size"]>,
): Promise<{ width: number; height: number }> {
  if (width !== undefined && height !== undefined) return { width, height };
  const { defaults } = await openTunedModel(directory, settings);
  return { width: width ?? defaults.width, height: height ?? defaults.height };
}

/** What the manifest says of the models. */
export async function recordsOf({ tuned, guides, heldOut }: TrainParts): Promise<TrainRunManifest["models"]> {
  const { name, directory } = tuned.folder;
  return {
    generator: await modelRecord({ name, model: { name, path: directory } }),
    rewards: await Promise.all(guides.map(({ reward }) => modelRecord(reward))),
    heldOut: await Promise.all(heldOut.map(modelRecord)),
  };
}

/** @throws ModelError when a model is not the one that the run began with */
export function expectRecords(
  where: string,
  expected: TrainRunManifest["models"],
  actual: TrainRunManifest["models"],
): void {
  const each = (what: string, before: readonly ModelRecord[], now: readonly ModelRecord[]): void =>
    before.forEach((record, i) => expectModel(where, what, record, now[i]!));
  each("model", [expected.generator], [actual.generator]);
  each("reward", expected.rewards, actual.rewards);
  each("held-out reward", expected.heldOut, actual.heldOut);
}

/** The prompts that are asked for. */
export interface PromptSources {
  readonly prompts?: string | readonly (string | TrainingPrompt)[] | undefined;
  readonly validationPrompts?: string | readonly string[] | undefined;
}

/** The prompts of a run. */
export interface TrainPrompts {
  readonly prompts: readonly TrainingPrompt[];
  /** Undefined leaves them to be the first of the training prompts. */
  readonly validationPrompts: readonly string[] | undefined;
}

/**
 * Reads prompts from files; for the model that ships inside (`model` null) there are prompts of its world where none are given.
 * @throws UsageError for a file that cannot be read, or another model without prompts; DocumentError with the places of bad rows
 */
export async function readPromptSources(
  { prompts, validationPrompts }: PromptSources,
  model: string | null,
): Promise<TrainPrompts> {
  if (prompts === undefined && model !== null)
    throw new UsageError(`prompts: expected a file of prompts to train ${model} on, got none`);
  const own = prompts === undefined;
  const given =
    typeof prompts === "string"
      ? await readTrainingPrompts(prompts)
      : (prompts ?? trainingPrompts()).map((one) => (typeof one === "string" ? { prompt: one, weight: 1 } : one));
  if (validationPrompts !== undefined) {
    const texts =
      typeof validationPrompts === "string"
        ? (await readTrainingPrompts(validationPrompts)).map(({ prompt }) => prompt)
        : validationPrompts;
    return { prompts: given, validationPrompts: [...new Set(texts)] };
  }
  if (!own) return { prompts: given, validationPrompts: undefined };
  const trained = new Set(given.map(({ prompt }) => prompt));
  const others = new Set(trainingPrompts(DEMO_VALIDATION.count, DEMO_VALIDATION.seed));
  return { prompts: given, validationPrompts: [...others].filter((prompt) => !trained.has(prompt)) };
}

/** Opens the data that the settings name. @throws UsageError as the readers do */
export async function openTrainingData(settings: FinetuneSettings): Promise<TrainingData> {
  switch (settings.method) {
    case "refl":
    case "draft": {
      const images = settings.pretrain?.images ?? null;
      return images === null ? {} : { images: await readImageSet(images) };
    }
    case "sft":
      return settings.images === null ? {} : { images: await readImageSet(settings.images) };
    case "dpo":
      return settings.pairs === null ? {} : { pairs: await readPreferencePairs(settings.pairs) };
    default:
      return settings satisfies never;
  }
}
