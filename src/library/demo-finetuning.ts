/** @file Measures fine-tuning on the demo models: every method with its guards and without, against the base, by the oracle. */

import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { openStableDiffusion, type StableDiffusion } from "../diffusion/stable-diffusion.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import type { Reward } from "../rewards/contract.js";
import { openDevice } from "../runtime/device.js";
import {
  type EvaluatedPrompt,
  evaluateFinetune,
  type FinetuneFigures,
  finetuneFigures,
} from "../training/finetune/evaluate-finetune.js";
import { FILES } from "../training/finetune/finetune.js";
import { FINETUNE_METHODS, type FinetuneMethod } from "../training/finetune/methods.js";
import { updateRecordSchema } from "../training/finetune/records.js";
import { throwIfAborted } from "../util/abort.js";
import { sha256 } from "../util/files.js";
import { openWeights } from "../weights/open.js";
import { mergeLora } from "./lora.js";
import { openNamedReward } from "./named-rewards.js";
import { resumeTraining, trainModel, type TrainModelEvents, type TrainModelOptions } from "./train.js";
import { isTrainRun, readTrainManifest, TRAINING_FILES, type TrainRunManifest } from "./train-run.js";

/** With guards as the settings ship, or with all of them off. */
export type GuardArm = "guarded" | "unguarded";

/** Settings that switch the guards off: the validations go on, so that the page shows what became of the model. */
const UNGUARDED = {
  "guards.alarm": "false",
  "guards.standardErrors": "null",
  "guards.diversityFloor": "null",
  "guards.divergenceLimit": "null",
  "guards.keepBest": "false",
};
/** refl's second loss is a guard too. */
const WITHOUT_PRETRAINING = { pretrain: "null" };

/** What {@link measureFinetuning} works with. */
export interface FinetuningMeasurement {
  /** Folder of the trainings and of what was measured; what it has is not done again. */
  readonly directory: string;
  /** @default all four */
  readonly methods?: readonly FinetuneMethod[] | undefined;
  /** Held-out prompts. */
  readonly prompts: number;
  /** Pictures of each, for the figures of single pictures. */
  readonly imagesPerPrompt: number;
  /** Pictures to choose from on the base and on the method that `bestOfMethod` names. */
  readonly bestOf: number;
  readonly bestOfMethod: FinetuneMethod;
  /** Trainings of a guarded arm, each of the model that the one before left, which also draws what it learns from. @default 1 */
  readonly rounds?: number | undefined;
  /** Changes of the shipped settings, of every training; they have folders of their own. @default none */
  readonly set?: Readonly<Record<string, string>> | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly events?: TrainModelEvents | undefined;
  /** What is being drawn, and prompts that are done. */
  readonly onEvaluation?: ((arm: string, finished: number) => void) | undefined;
}

/** One training, measured. */
export interface MeasuredTraining {
  readonly method: FinetuneMethod;
  readonly guards: GuardArm;
  /** From 1. */
  readonly round: number;
  readonly directory: string;
  readonly status: TrainRunManifest["status"];
  readonly step: number;
  readonly steps: number;
  /** Of the whole training, validations included. */
  readonly seconds: number;
  /** Which checkpoint was measured. */
  readonly keptStep: number;
  readonly stop: string | null;
  readonly figures: FinetuneFigures;
  /** Best-of-n on the tuned model against best-of-n on the base; null where it was not asked for. */
  readonly bestOf: FinetuneFigures | null;
}

/**
 * Trains the embedded demo model with the settings that ship, with guards and without, and draws held-out prompts with each.
 * @throws CancelledError when the signal aborts; what was finished is kept
 */
export async function measureFinetuning(options: FinetuningMeasurement): Promise<MeasuredTraining[]> {
  const { methods = FINETUNE_METHODS, rounds = 1, signal } = options;
  const trainings: Training[] = [];
  for (const method of methods) {
    for (const guards of ["guarded", "unguarded"] as const) {
      throwIfAborted(signal);
      const first = await trainArm({ method, guards, round: 1 }, undefined, options);
      trainings.push(first);
      let last = first;
      while (guards === "guarded" && last.round < rounds) {
        throwIfAborted(signal);
        last = await trainArm({ method, guards, round: last.round + 1 }, { first, last }, options);
        trainings.push(last);
      }
    }
  }
  const device = openDevice(options.threads === undefined ? {} : { threads: options.threads });
  try {
    const models = {
      diffusion: await openStableDiffusion(EMBEDDED_MODELS.generator, device),
      guide: await openNamedReward("image-reward", device),
      heldOut: await openNamedReward("clip-score", device),
    };
    const base = await evaluateArm(options, models, "base", undefined, options.imagesPerPrompt);
    const measured: MeasuredTraining[] = [];
    for (const { method, guards, round, folder, model } of trainings) {
      const manifest = await readTrainManifest(join(folder, TRAINING_FILES.manifest));
      const lora = join(folder, manifest.result ?? "");
      const diffusion = model === undefined ? models.diffusion : await openStableDiffusion(model, device);
      const arm = round === 1 ? `${method} ${guards}` : `${method} ${guards}, round ${round}`;
      const tuned = await evaluateArm(options, { ...models, diffusion }, arm, lora, options.imagesPerPrompt);
      if (model !== undefined) await diffusion.dispose();
      const chooses = method === options.bestOfMethod && guards === "guarded" && round === 1;
      measured.push({
        method,
        guards,
        round,
        directory: folder,
        ...(await outcomeOf(folder, manifest)),
        figures: finetuneFigures(base, tuned),
        bestOf: chooses ? await measureBestOf(options, models, method, lora) : null,
      });
    }
    return measured;
  } finally {
    await device.close();
  }
}

/** One round of an arm. */
interface Training {
  readonly method: FinetuneMethod;
  readonly guards: GuardArm;
  readonly round: number;
  readonly folder: string;
  /** What it trained; undefined for the model that ships inside. */
  readonly model: string | undefined;
}

/** An arm's training, which is made, taken up again, or there already. */
async function trainArm(
  arm: Pick<Training, "method" | "guards" | "round">,
  before: { readonly first: Training; readonly last: Training } | undefined,
  { directory, set: changes = {}, threads, signal, events }: FinetuningMeasurement,
): Promise<Training> {
  const { method, guards, round } = arm;
  const changed = Object.keys(changes).length === 0 ? "" : `-${sha256(JSON.stringify(changes)).slice(0, 8)}`;
  const parent = join(directory, `${method}-${guards}${changed}${round === 1 ? "" : `-round-${round}`}`);
  const model = before === undefined ? undefined : await mergedModel(before.last, `${parent}-model`);
  const known = (await readdir(parent).catch(() => [])).map((name) => join(parent, name)).find(isTrainRun);
  if (known === undefined) {
    const hasPretraining = method === "refl" || method === "draft";
    const set = {
      seed: String(round),
      ...changes,
      ...(guards === "guarded" ? {} : { ...UNGUARDED, ...(hasPretraining ? WITHOUT_PRETRAINING : {}) }),
    };
    const given = before === undefined ? {} : await givenTo(before.first.folder);
    const run = await trainModel({ method, model, ...given, set, out: parent, threads, signal, events });
    return { ...arm, folder: run.directory, model };
  }
  const { result } = await readTrainManifest(join(known, TRAINING_FILES.manifest));
  // one that an alarm stopped has its result
  if (result === null) await resumeTraining(known, { signal, events });
  return { ...arm, folder: known, model };
}

/** The prompts of a training and the demo rewards by their folders: a model that does not ship inside has none of its own. */
async function givenTo(
  folder: string,
): Promise<Pick<TrainModelOptions, "prompts" | "validationPrompts" | "rewards" | "heldOut">> {
  const lines = (await readFile(join(folder, TRAINING_FILES.validation), "utf8")).trimEnd().split("\n");
  const validationPrompts = lines.map((line) => JSON.parse(line) as string);
  return {
    prompts: join(folder, TRAINING_FILES.prompts),
    validationPrompts,
    rewards: [{ reward: EMBEDDED_MODELS.reward }],
    heldOut: [EMBEDDED_MODELS.judge],
  };
}

/** The model that a training left, as a folder of its own. */
async function mergedModel({ folder, model }: Training, out: string): Promise<string> {
  if (existsSync(out)) return out;
  const { result } = await readTrainManifest(join(folder, TRAINING_FILES.manifest));
  await mergeLora(model ?? EMBEDDED_MODELS.generator, [{ path: join(folder, result ?? "") }], out);
  return out;
}

interface EvaluationModels {
  readonly diffusion: StableDiffusion;
  readonly guide: Reward;
  readonly heldOut: Reward;
}

function evaluateArm(
  { directory, prompts, signal, onEvaluation }: FinetuningMeasurement,
  models: EvaluationModels,
  arm: string,
  lora: string | undefined,
  imagesPerPrompt: number,
): Promise<EvaluatedPrompt[]> {
  return evaluateFinetune({
    ...models,
    arm: `${arm}, ${imagesPerPrompt} a prompt`,
    prompts,
    imagesPerPrompt,
    settings: lora === undefined ? undefined : { loras: [{ path: lora, scale: 1 }] },
    file: join(directory, "evaluated.jsonl"),
    signal,
    onProgress: (finished) => onEvaluation?.(arm, finished),
  });
}

async function measureBestOf(
  options: FinetuningMeasurement,
  models: EvaluationModels,
  method: FinetuneMethod,
  lora: string,
): Promise<FinetuneFigures> {
  const base = await evaluateArm(options, models, "base", undefined, options.bestOf);
  return finetuneFigures(base, await evaluateArm(options, models, `${method} guarded`, lora, options.bestOf));
}

/** How a training ended, by its files. */
async function outcomeOf(
  folder: string,
  { status, step, steps, stop, result }: TrainRunManifest,
): Promise<Pick<MeasuredTraining, "status" | "step" | "steps" | "seconds" | "keptStep" | "stop">> {
  const { metadata } = await openWeights(join(folder, result ?? ""));
  const log = await readFile(join(folder, FILES.log), "utf8");
  const last = updateRecordSchema.parse(JSON.parse(log.trimEnd().split("\n").at(-1)!));
  return {
    status,
    step,
    steps,
    seconds: last.seconds ?? Number.NaN,
    keptStep: Number(metadata.get("laurel_step")),
    stop: stop?.reason ?? null,
  };
}
