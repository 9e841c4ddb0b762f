/** @file Measures fine-tuning on the demo models: every method with its guards and without, against the base, by the oracle. */

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
import { openWeights } from "../weights/open.js";
import { openNamedReward } from "./named-rewards.js";
import { resumeTraining, trainModel, type TrainModelEvents } from "./train.js";
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
  const { directory, methods = FINETUNE_METHODS, signal } = options;
  const arms = methods.flatMap((method) => (["guarded", "unguarded"] as const).map((guards) => ({ method, guards })));
  const trainings: { readonly method: FinetuneMethod; readonly guards: GuardArm; readonly folder: string }[] = [];
  for (const arm of arms) {
    throwIfAborted(signal);
    trainings.push({ ...arm, folder: await trainArm(join(directory, `${arm.method}-${arm.guards}`), arm, options) });
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
    for (const { method, guards, folder } of trainings) {
      const manifest = await readTrainManifest(join(folder, TRAINING_FILES.manifest));
      const lora = join(folder, manifest.result ?? "");
      const tuned = await evaluateArm(options, models, `${method} ${guards}`, lora, options.imagesPerPrompt);
      const chooses = method === options.bestOfMethod && guards === "guarded";
      measured.push({
        method,
        guards,
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

/** The folder of an arm's training, which is made, taken up again, or there already. */
async function trainArm(
  parent: string,
  { method, guards }: { readonly method: FinetuneMethod; readonly guards: GuardArm },
  { threads, signal, events }: FinetuningMeasurement,
): Promise<string> {
  const known = (await readdir(parent).catch(() => [])).map((name) => join(parent, name)).find(isTrainRun);
  if (known === undefined) {
    const hasPretraining = method === "refl" || method === "draft";
    const set = guards === "guarded" ? {} : { ...UNGUARDED, ...(hasPretraining ? WITHOUT_PRETRAINING : {}) };
    return (await trainModel({ method, set, out: parent, threads, signal, events })).directory;
  }
  const { result } = await readTrainManifest(join(known, TRAINING_FILES.manifest));
  // one that an alarm stopped has its result
  if (result === null) await resumeTraining(known, { signal, events });
  return known;
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
