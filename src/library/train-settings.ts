/** @file Settings of a fine-tuning run from a document and what the caller changes of it, with absolute paths. */

import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "../errors.js";
import { includeFragments } from "../pipeline/document/fragments.js";
import { applySet } from "../pipeline/document/set.js";
import {
  defaultFinetunePath,
  type FinetuneMethod,
  finetuneSchema,
  type FinetuneSettings,
} from "../training/finetune/settings.js";
import { DocumentError, type Located, originAt, placeAt } from "../util/yaml/located.js";
import { readLocated } from "../util/yaml/parse.js";
import { validateLocated } from "../util/yaml/validate.js";
import { rewardLocation } from "../weights/hub/location.js";
import { REWARD_NAMES } from "./named-rewards.js";

/** YAML texts by the place they change: `steps`, `optimizer.schedule.learningRate`. */
export type SettingChanges = Readonly<Record<string, string>>;

/** What is done to a document. */
export interface SettingsOptions {
  readonly set?: SettingChanges | undefined;
  /** Names of rewards that are no paths. @default those of the rewards that ship inside */
  readonly names?: readonly string[] | undefined;
}

/**
 * Reads the settings of a method. Paths are relative to the file they stand in, those of `set` to the working folder.
 * @param file @default the settings that ship for the method
 * @throws UsageError for a file that cannot be read, or a change of what is not there; DocumentError with every fault and its line and column
 */
export async function readTrainSettings(
  method: FinetuneMethod,
  file: string = fileURLToPath(defaultFinetunePath(method)),
  options: SettingsOptions = {},
): Promise<FinetuneSettings> {
  return trainSettings(method, await includeFragments(await readLocated(file)), options);
}

/** The settings of a document that was read already. @throws as {@link readTrainSettings} */
export function trainSettings(
  method: FinetuneMethod,
  document: Located,
  { set = {}, names = REWARD_NAMES }: SettingsOptions = {},
): FinetuneSettings {
  if (document.kind !== "map") {
    throw new DocumentError([{ place: document.place, message: "expected a mapping, the settings of a training" }]);
  }
  const named = document.entries.get("method")?.value;
  if (named?.kind === "scalar" && named.value !== method) {
    const message = `method: expected ${method}, got ${JSON.stringify(named.value)}`;
    throw new DocumentError([{ place: named.place, message }]);
  }
  const changed = applySet(document, set, Object.keys(shapeOf(method)));
  return withPaths(validateLocated(finetuneSchema, changed), changed, names);
}

/** What the settings of a method have, by key. */
function shapeOf(method: FinetuneMethod): object {
  return finetuneSchema.options.find(({ shape }) => shape.method.value === method)!.shape;
}

/** With absolute paths. */
function withPaths(settings: FinetuneSettings, located: Located, names: readonly string[]): FinetuneSettings {
  const folder = ({ file, line }: ReturnType<typeof placeAt>): string =>
    line === 0 ? process.cwd() : dirname(resolve(file));
  const path = (text: string, ...keys: readonly PropertyKey[]): string =>
    resolve(folder(originAt(located, keys)), text);
  const optional = (text: string | null, ...keys: readonly PropertyKey[]): string | null =>
    text === null ? null : path(text, ...keys);
  const rewards = Object.fromEntries(
    Object.entries(settings.rewards).map(([name, weight]) => {
      const place = placeAt(located, ["rewards", name], true);
      return [names.includes(name) ? name : rewardLocation(name, folder(place)), weight];
    }),
  );
  const heldOut = settings.heldOut.map((name, i) =>
    names.includes(name) ? name : rewardLocation(name, folder(originAt(located, ["heldOut", i]))),
  );
  const common = { rewards, heldOut };
  switch (settings.method) {
    case "refl":
    case "draft": {
      const { pretrain } = settings;
      const images = optional(pretrain?.images ?? null, "pretrain", "images");
      return { ...settings, ...common, pretrain: pretrain === null ? null : { ...pretrain, images } };
    }
    case "dpo":
      return { ...settings, ...common, pairs: optional(settings.pairs, "pairs") };
    case "sft":
      return { ...settings, ...common, images: optional(settings.images, "images") };
    default:
      return settings satisfies never;
  }
}

/** @throws UsageError naming every setting that is another than that of the run */
export function expectSettings(where: string, expected: FinetuneSettings, actual: FinetuneSettings): void {
  const different = differences(expected, actual, []);
  if (different.length === 0) return;
  throw new UsageError(`${where}: expected the settings that the run began with, got ${different.join(", ")}`);
}

function differences(expected: unknown, actual: unknown, path: readonly string[]): string[] {
  if (isMapping(expected) && isMapping(actual)) {
    const keys = new Set([...Object.keys(expected), ...Object.keys(actual)]);
    return [...keys].flatMap((key) => differences(expected[key], actual[key], [...path, key]));
  }
  const [before, now] = [JSON.stringify(expected), JSON.stringify(actual)];
  return before === now ? [] : [`${path.join(".")} ${now} instead of ${before}`];
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What a training will take, at most. */
export interface TrainingEstimate {
  readonly updates: number;
  /** Of an update. */
  readonly samples: number;
  readonly validations: number;
  /** Drawn to validate and to learn from. */
  readonly pictures: number;
}

/** What `settings` take when no guard stops them. */
export function estimateTraining(settings: FinetuneSettings): TrainingEstimate {
  const { steps, batchSize, accumulate, guards } = settings;
  const validations = guards === null ? 0 : 1 + Math.ceil(steps / guards.every);
  const validated = guards === null ? 0 : validations * guards.prompts * guards.imagesPerPrompt;
  return { updates: steps, samples: batchSize * accumulate, validations, pictures: validated + learnt(settings) };
}

/** Pictures of the base model that are learnt from. */
function learnt(settings: FinetuneSettings): number {
  const ofPrompts = ({
    prompts,
    imagesPerPrompt,
  }: {
    readonly prompts: number;
    readonly imagesPerPrompt: number;
  }): number => prompts * imagesPerPrompt;
  switch (settings.method) {
    case "refl":
    case "draft":
      return settings.pretrain?.images === null ? settings.pretrain.drawn : 0;
    case "dpo":
      return settings.pairs === null ? ofPrompts(settings.drawn) : 0;
    case "sft":
      return settings.images === null ? ofPrompts(settings.drawn) : 0;
    default:
      return settings satisfies never;
  }
}
