/** @file Pipelines that begin with a training: what it is, and the document that draws with what came of it. */

import { dirname, resolve } from "node:path";
import { DocumentError, type Located, type LocatedMap, originAt, type Place, placeAt } from "../util/yaml/located.js";
import { validateLocated } from "../util/yaml/validate.js";
import { planDocument, type ReadDocument } from "../pipeline/document/load.js";
import type { PipelinePlan } from "../pipeline/document/plan.js";
import { exportDocumentSchema, trainSchema } from "../pipeline/document/schema.js";
import { FINETUNE_METHODS } from "../training/finetune/methods.js";
import type { FinetuneSettings } from "../training/finetune/settings.js";
import { modelLocation, rewardLocation } from "../weights/hub/location.js";
import type { ExportRewardOptions } from "./export-reward.js";
import type { TrainModelOptions, TrainModelResult } from "./train.js";
import { trainSettings } from "./train-settings.js";

/** A pipeline with its training. */
export interface TrainedPipeline {
  readonly training: TrainModelOptions & { readonly settings: FinetuneSettings };
  /** The plan as it is before the training: what it draws with is the base model. */
  readonly plan: PipelinePlan;
  /** The plan that draws with what came of the training. */
  planWith(result: NonNullable<TrainModelResult["result"]>): Promise<PipelinePlan>;
}

/**
 * The training a document begins with, and its plan; undefined for one without.
 * @throws DocumentError with the places of what is wrong in either
 */
export async function trainedPipeline(document: ReadDocument): Promise<TrainedPipeline | undefined> {
  const train = document.content.entries.get("train")?.value;
  if (train === undefined || (train.kind === "scalar" && train.value === null)) return undefined;
  const content = validateLocated(trainSchema, train);
  const { model, prompts, validationPrompts, width, height, memory } = content;
  const located = train.kind === "map" ? train.entries.get("settings")?.value : undefined;
  const named = located?.kind === "map" ? located.entries.get("method")?.value : undefined;
  const method = FINETUNE_METHODS.find((one) => named?.kind === "scalar" && named.value === one)!;
  const path = (name: string, text: string | undefined): string | undefined =>
    text === undefined ? undefined : resolve(folderOf(originAt(train, [name])), text);
  const directory = model === undefined ? undefined : modelLocation(model, folderOf(originAt(train, ["model"])));
  const base = directory === undefined ? document : withModel(document, directory, false);
  const plan = await planDocument(base);
  if (plan.backend.backend !== "local")
    throw new DocumentError([
      {
        place: placeAt(document.content, ["backend"]),
        message: `backend: expected local, which draws with what is trained, got ${plan.backend.backend}`,
      },
    ]);
  return {
    training: {
      method,
      settings: trainSettings(method, located!),
      model: directory,
      prompts: path("prompts", prompts),
      validationPrompts: path("validationPrompts", validationPrompts),
      size: { width, height },
      memory,
    },
    plan,
    planWith: (result) =>
      planDocument(result.kind === "lora" ? withLora(base, result.path) : withModel(base, result.path, true)),
  };
}

/**
 * The export that a document asks for; undefined for a pipeline.
 * @param out folder that holds what is exported
 * @throws DocumentError with the places of what is wrong
 */
export function exportOf({ content }: ReadDocument, out: string): ExportRewardOptions | undefined {
  if (!content.entries.has("export-reward")) return undefined;
  const key = "export-reward";
  const { rewards, to, model, width, height, ...rest } = validateLocated(exportDocumentSchema, content)[key];
  const folder = (...keys: readonly string[]): string => folderOf(originAt(content, [key, ...keys]));
  if ((width === undefined) !== (height === undefined))
    throw new DocumentError([
      { place: placeAt(content, [key]), message: `${key}: expected width and height, got one of them` },
    ]);
  return {
    ...rest,
    out: resolve(out, to),
    model: model === undefined ? undefined : modelLocation(model, folder("model")),
    rewards: Object.entries(rewards).map(([name, weight]) => ({
      reward: rewardLocation(name, folderOf(placeAt(content, [key, "rewards", name], true))),
      weight,
    })),
    size: width === undefined || height === undefined ? undefined : { width, height },
  };
}

function folderOf({ file, line }: Place): string {
  return line === 0 ? process.cwd() : dirname(resolve(file));
}

const HERE: Place = { file: "what was trained", line: 0, column: 0 };

/** The document with a LoRA behind those that it names itself. */
function withLora(document: ReadDocument, path: string): ReadDocument {
  const settings = mappingAt(document.content, "settings");
  const known = settings.entries.get("lora")?.value;
  const own: Located = { kind: "scalar", place: HERE, value: path };
  const lora: Located = { kind: "list", place: HERE, items: [...(known?.kind === "list" ? known.items : []), own] };
  return withEntry(document, "settings", entryIn(settings, "lora", lora));
}

/** The document with another model for the local backend; one that it names itself stays unless `always`. */
function withModel(document: ReadDocument, path: string, always: boolean): ReadDocument {
  const backend = mappingAt(document.content, "backend");
  if (backend.entries.has("model") && !always) return document;
  const local: Located = { kind: "scalar", place: HERE, value: "local" };
  const named = document.content.entries.get("backend")?.value;
  // another backend is refused where it stands
  if (named !== undefined && !(named.kind === "scalar" && named.value === "local") && backend.entries.get("backend") === undefined) return document; // prettier-ignore
  const model: Located = { kind: "scalar", place: HERE, value: path };
  const whole = backend.entries.has("backend") ? backend : entryIn(backend, "backend", local);
  return withEntry(document, "backend", entryIn(whole, "model", model));
}

function mappingAt(content: LocatedMap, key: string): LocatedMap {
  const value = content.entries.get(key)?.value;
  return value?.kind === "map" ? value : { kind: "map", place: HERE, entries: new Map() };
}

function entryIn(map: LocatedMap, key: string, value: Located): LocatedMap {
  return { ...map, entries: new Map([...map.entries, [key, { key: HERE, value }]]) };
}

function withEntry({ file, content }: ReadDocument, key: string, value: Located): ReadDocument {
  return { file, content: entryIn(content, key, value) };
}
