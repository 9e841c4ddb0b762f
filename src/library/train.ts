/** @file Fine-tuning from start to end, in a folder of its own with checkpoints and a report; taken up again where it stopped. */

import { join } from "node:path";
import { CancelledError, LaurelError, UsageError } from "../errors.js";
import { changedVersions } from "../pipeline/versions.js";
import type { Reward } from "../rewards/contract.js";
import { type Device, openDevice } from "../runtime/device.js";
import type { DeviceChoice } from "../runtime/execution-providers.js";
import type { TrainingPrompt } from "../training/data/prompts.js";
import { finetune, type FinetuneEvents, type FinetuneOptions, type FinetuneResult } from "../training/finetune/finetune.js"; // prettier-ignore
import { guardConsequences, NO_GUARDS } from "../training/finetune/guards.js";
import type { ValidationRecord } from "../training/finetune/records.js";
import type { FinetuneMethod, FinetuneSettings } from "../training/finetune/settings.js";
import type { MemoryMode } from "../training/gradient-program.js";
import { mean } from "../util/statistics.js";
import { fromValue } from "../util/yaml/from-value.js";
import type { RewardPart } from "./export-reward.js";
import { REWARD_NAMES } from "./named-rewards.js";
import { expectRecords, openParts, openTrainingData, ownModel, readPromptSources, recordsOf, type TrainParts, type TrainPrompts } from "./train-parts.js"; // prettier-ignore
import { createTrainRun, openTrainRun, type TrainRun, type TrainRunManifest } from "./train-run.js";
import { expectSettings, readTrainSettings, type SettingChanges, trainSettings } from "./train-settings.js";

/** What is trained, on what, and how. */
export interface TrainModelOptions {
  readonly method: FinetuneMethod;
  /** Settings, YAML or JSON. @default those that ship for the method */
  readonly config?: string | undefined;
  /** Complete settings, instead of a document. */
  readonly settings?: FinetuneSettings | undefined;
  /** Changes of the settings: YAML texts by place, such as `{ steps: "20", "train.rank": "8" }`. */
  readonly set?: SettingChanges | undefined;
  /** A diffusers folder. @default the demo model that ships inside */
  readonly model?: string | undefined;
  /** Instead of the settings' rewards; weights above 0. */
  readonly rewards?: readonly RewardPart[] | undefined;
  /** Instead of the settings' held-out rewards. */
  readonly heldOut?: readonly (string | Reward)[] | undefined;
  /** A file, or the prompts. @default prompts of the demo world for the demo model; another model needs some */
  readonly prompts?: string | readonly (string | TrainingPrompt)[] | undefined;
  /** A file, or the prompts, for validations. @default for the demo model others of its world, else the first of the training prompts */
  readonly validationPrompts?: string | readonly string[] | undefined;
  /** Pixels. @default the model's own size */
  readonly size?: { readonly width?: number | undefined; readonly height?: number | undefined } | undefined;
  /** @default "fast" */
  readonly memory?: MemoryMode | undefined;
  /** @default the physical cores */
  readonly threads?: number | undefined;
  /** What computes. @default "cpu" */
  readonly executionProvider?: DeviceChoice | undefined;
  /** Folder that holds the runs. @default "outputs" */
  readonly out?: string | undefined;
  /** Stops after the update under way and leaves a checkpoint. */
  readonly signal?: AbortSignal | undefined;
  readonly events?: TrainModelEvents | undefined;
  /** What is run when it has ended; kept in the manifest. */
  readonly pipeline?: TrainRunManifest["pipeline"] | undefined;
}

/** How a run is taken up again; its settings, models and prompts are those it began with. */
export interface ResumeTrainingOptions {
  /** Its method, where it must be this one. */
  readonly method?: FinetuneMethod | undefined;
  /** Settings that must be those of the run. */
  readonly config?: string | undefined;
  /** Changes that must be no changes. */
  readonly set?: SettingChanges | undefined;
  /** Rewards that were open when the run began: they have no path to open them by. */
  readonly rewards?: readonly Reward[] | undefined;
  /** @default that of the run */
  readonly memory?: MemoryMode | undefined;
  /** @default as many as the run began with */
  readonly threads?: number | undefined;
  /** What computes. @default "cpu" */
  readonly executionProvider?: DeviceChoice | undefined;
  /** Stops after the update under way and leaves a checkpoint. */
  readonly signal?: AbortSignal | undefined;
  readonly events?: TrainModelEvents | undefined;
}

/** What happens, as it happens. */
export interface TrainModelEvents extends FinetuneEvents {
  /** The models are open and the folder is there. */
  onStart?(start: TrainingStart): void;
}

/** A training that begins or goes on. */
export interface TrainingStart {
  readonly id: string;
  /** Absolute. */
  readonly directory: string;
  readonly settings: FinetuneSettings;
  /** Updates that were made already; those after the last checkpoint are made again. */
  readonly step: number;
  /** What it means that guards are off, a sentence each. */
  readonly consequences: readonly string[];
}

/** A number of the validations, as the mean over their prompts. */
export interface TrainingOutcome {
  /** Of the base model. */
  readonly base: number;
  /** Of the checkpoint that is kept; null where none is yet. */
  readonly kept: number | null;
  readonly last: number;
}

/** A reward over the validations. */
export interface RewardOutcome extends TrainingOutcome {
  readonly name: string;
  readonly heldOut: boolean;
}

/** How a training ended. */
export interface TrainModelResult {
  readonly id: string;
  /** Absolute. */
  readonly directory: string;
  readonly method: FinetuneMethod;
  /** `alarm`: a guard stopped it, and the best checkpoint was kept. `stopped`: it can go on. */
  readonly status: FinetuneResult["status"];
  readonly step: number;
  readonly steps: number;
  readonly seconds: number;
  /** Why it ended before its last step. */
  readonly reason: string | null;
  /** Which checkpoint is the result. */
  readonly kept: FinetuneResult["kept"];
  /** The LoRA's file, or the folder of a model whose weights were all trained; null when it was stopped. */
  readonly result: { readonly kind: "lora" | "model"; readonly path: string } | null;
  /** The page of the run. */
  readonly report: string;
  /** None where nothing was validated. */
  readonly rewards: readonly RewardOutcome[];
  /** Bits a prompt; null where it was not measured. */
  readonly diversity: TrainingOutcome | null;
  readonly warnings: readonly string[];
}

/**
 * Fine-tunes a model in a folder of its own below `out`, with checkpoints, validations, guards and a report. A run that was stopped or killed
 * goes on with {@link resumeTraining} and ends as if nothing had happened.
 * @throws UsageError for settings, rewards or prompts that cannot be used (DocumentError with their places), ModelError for a missing or unfit
 *   model, LaurelError for numbers that are not finite or a full disk: the last checkpoint stays
 */
export async function trainModel(options: TrainModelOptions): Promise<TrainModelResult> {
  const opened = openRewards(options);
  const names = [...REWARD_NAMES, ...opened.map(({ name }) => name)];
  const change = { set: changesOf(options), names };
  const { method, config } = options;
  const settings =
    options.settings === undefined
      ? await readTrainSettings(method, config, change)
      : trainSettings(method, fromValue(options.settings, { file: "settings", line: 0, column: 0 }), change);
  const model = ownModel(options.model);
  const prompts = await readPromptSources(options, model);
  const data = await openTrainingData(settings);
  return withDevice(options, async (device) => {
    const parts = await openParts(device, settings, { model, size: options.size, opened });
    const { width, height } = parts.tuned.defaults;
    const run = await createTrainRun(options.out ?? "outputs", {
      method: settings.method,
      config: settings,
      models: await recordsOf(parts),
      options: { model, memory: options.memory ?? "fast", threads: device.threads, width, height },
      steps: settings.steps,
      pipeline: options.pipeline ?? null,
      ...prompts,
    });
    try {
      return await work(run, { device, settings, ...finetuneParts(parts, prompts), ...data }, options);
    } finally {
      await run.close();
    }
  });
}

/**
 * Takes up a run of {@link trainModel}. On as many threads, its result is bit for bit that of an undisturbed run.
 * @param path its folder, or its training.json
 * @throws UsageError when it is none, a process works on it, or `config` and `set` say other settings than its own; ModelError for a model that
 *   has changed; else as {@link trainModel}
 */
export async function resumeTraining(path: string, options: ResumeTrainingOptions = {}): Promise<TrainModelResult> {
  const run = await openTrainRun(path);
  try {
    const { manifest, file } = run;
    const opened = options.rewards ?? [];
    const settings = await ownSettings(run, options);
    const prompts = await run.prompts();
    const data = await openTrainingData(settings);
    const { model, width, height } = manifest.options;
    const now = { memory: options.memory ?? manifest.options.memory, threads: options.threads ?? manifest.options.threads }; // prettier-ignore
    const changes = (["memory", "threads"] as const)
      .filter((name) => now[name] !== manifest.options[name])
      .map((name) => `${name} is ${now[name]} and was ${manifest.options[name]}: the last bits may differ`);
    return await withDevice({ ...options, ...now }, async (device) => {
      const parts = await openParts(device, settings, { model, size: { width, height }, opened });
      expectRecords(file, manifest.models, await recordsOf(parts));
      const warnings = [...manifest.warnings, ...changedVersions(manifest.versions), ...changes];
      await run.update({ warnings: [...new Set(warnings)] });
      const given = { device, settings, ...finetuneParts(parts, prompts), ...data };
      return work(run, given, { ...options, memory: now.memory });
    });
  } finally {
    await run.close();
  }
}

/** The settings of a run. @throws UsageError where it is asked for others, or another method */
async function ownSettings({ manifest, file }: TrainRun, options: ResumeTrainingOptions): Promise<FinetuneSettings> {
  const method = manifest.method as FinetuneMethod;
  if (options.method !== undefined && options.method !== method)
    throw new UsageError(`${file}: expected a run of ${options.method}, got one of ${method}`);
  const names = [...REWARD_NAMES, ...(options.rewards ?? []).map(({ name }) => name)];
  const own = fromValue(manifest.config, { file, line: 0, column: 0 });
  const settings = trainSettings(method, own, { names });
  const change = { set: options.set, names };
  const asked =
    options.config === undefined
      ? trainSettings(method, own, change)
      : await readTrainSettings(method, options.config, change);
  expectSettings(file, settings, asked);
  return settings;
}

/** Rewards that the caller has open. */
function openRewards({ rewards = [], heldOut = [] }: TrainModelOptions): Reward[] {
  return [...rewards.map(({ reward }) => reward), ...heldOut].filter((one) => typeof one !== "string");
}

/** The changes of the settings, those of the rewards among them. @throws UsageError for a reward that is named twice */
function changesOf({ set = {}, rewards, heldOut }: TrainModelOptions): SettingChanges {
  const nameOf = (reward: string | Reward): string => (typeof reward === "string" ? reward : reward.name);
  const guides = (rewards ?? []).map(({ reward, weight = 1 }) => [nameOf(reward), weight] as const);
  const twice = guides.find(([name], i) => guides.findIndex(([other]) => other === name) < i)?.[0];
  if (twice !== undefined) throw new UsageError(`rewards: expected each reward once, got ${twice} twice`);
  return {
    ...set,
    ...(rewards === undefined ? {} : { rewards: JSON.stringify(Object.fromEntries(guides)) }),
    ...(heldOut === undefined ? {} : { heldOut: JSON.stringify(heldOut.map(nameOf)) }),
  };
}

async function withDevice<T>(
  { threads, executionProvider }: Pick<TrainModelOptions, "threads" | "executionProvider">,
  use: (device: Device) => Promise<T>,
): Promise<T> {
  const device = openDevice({ threads, executionProvider });
  try {
    return await use(device);
  } finally {
    await device.close();
  }
}

/** What {@link finetune} takes of the models and prompts. */
function finetuneParts(
  { tuned, guides, heldOut }: TrainParts,
  { prompts, validationPrompts }: TrainPrompts,
): Pick<FinetuneOptions, "model" | "guides" | "heldOut" | "prompts" | "validationPrompts"> {
  return { model: tuned, guides, heldOut, prompts, validationPrompts };
}

/** Works on a run until it ends, however it does; its manifest and its page say how. */
async function work(
  run: TrainRun,
  parts: Omit<FinetuneOptions, "directory" | "resume" | "memory" | "signal" | "events">,
  { memory, signal, events = {} }: Pick<TrainModelOptions, "memory" | "signal" | "events">,
): Promise<TrainModelResult> {
  const { directory } = run;
  const { settings, heldOut } = parts;
  const warnings = new Set(run.manifest.warnings);
  const warn = (text: string): void => {
    if (!warnings.has(text)) events.onWarning?.(text);
    warnings.add(text);
  };
  await run.update({ status: "running", finishedAt: null, stop: null, sessions: run.manifest.sessions + 1 });
  let { step } = run.manifest;
  const watched = settings.guards ?? NO_GUARDS;
  const consequences = guardConsequences(watched, heldOut.map(({ name }) => name)); // prettier-ignore
  events.onStart?.({ id: run.manifest.id, directory, settings, step, consequences });
  let page: Promise<unknown> = Promise.resolve();
  const report = (kept?: FinetuneResult["kept"]): Promise<unknown> =>
    (page = page
      .then(() => run.update({ step, warnings: [...warnings] }))
      .then(() => writeReport(directory, kept))
      .catch((error: unknown) => warn(`report.html could not be written: ${messageOf(error)}`)));
  const end = async (status: "finished" | "stopped" | "failed", reason: string | null): Promise<void> => {
    await page;
    const stop = reason === null ? null : { reason, step };
    await run.update({ status, stop, step, finishedAt: new Date().toISOString(), warnings: [...warnings] });
  };
  try {
    const result = await finetune({
      ...parts,
      directory,
      resume: true,
      memory,
      signal,
      events: {
        ...events,
        onStep: (record, steps) => {
          ({ step } = record);
          events.onStep?.(record, steps);
        },
        onValidation: (record, verdict) => {
          ({ step } = record);
          events.onValidation?.(record, verdict);
          void report();
        },
        onWarning: warn,
      },
    });
    ({ step } = result);
    if (result.path !== null) await run.update({ result: result.path.slice(directory.length + 1) });
    await end(result.status === "finished" ? "finished" : "stopped", result.status === "stopped" ? "interrupted" : result.reason); // prettier-ignore
    await report(result.kept);
    return { ...facts(run, settings), ...outcome(result, settings), warnings: [...warnings] };
  } catch (error) {
    const cancelled = error instanceof CancelledError;
    // a disk that is full takes no manifest either
    await end(cancelled ? "stopped" : "failed", cancelled ? "interrupted" : messageOf(error)).catch(() => undefined);
    await report();
    if (!cancelled) throw explained(error, directory);
    const { seconds } = { seconds: 0 };
    return { ...facts(run, settings), ...outcome({ status: "stopped", step, steps: settings.steps, seconds, reason: "interrupted", kept: null, path: null, validations: [] }, settings), warnings: [...warnings] }; // prettier-ignore
  }
}

function facts(
  run: TrainRun,
  { method }: FinetuneSettings,
): Pick<TrainModelResult, "id" | "directory" | "method" | "report"> {
  const { directory, manifest } = run;
  return { id: manifest.id, directory, method, report: join(directory, "report.html") };
}

/** What became of the model, out of the result of the loop. */
function outcome(
  { status, step, steps, seconds, reason, kept, path, validations }: Omit<FinetuneResult, "parameters">,
  { train }: FinetuneSettings,
): Omit<TrainModelResult, "id" | "directory" | "method" | "report" | "warnings"> {
  const base = validations[0];
  const last = validations.at(-1);
  const chosen = validations.find((one) => one.step === kept?.step);
  const over = (value: (record: ValidationRecord) => number): TrainingOutcome => ({
    base: value(base!),
    kept: chosen === undefined ? null : value(chosen),
    last: value(last!),
  });
  const rewards = (names: readonly string[], heldOut: boolean): RewardOutcome[] =>
    names.map((name) => ({ name, heldOut, ...over(({ scores }) => mean(scores[name] ?? [])) }));
  const measured = validations.length > 0 && validations.every(({ diversity }) => diversity !== null);
  return {
    status,
    step,
    steps,
    seconds,
    reason,
    kept,
    result: path === null ? null : { kind: train.kind === "lora" ? "lora" : "model", path },
    rewards: base === undefined ? [] : [...rewards(base.guide, false), ...rewards(base.heldOut, true)],
    diversity: measured ? over(({ diversity }) => mean(diversity ?? [])) : null,
  };
}

async function writeReport(directory: string, kept: FinetuneResult["kept"] | undefined): Promise<void> {
  const { writeTrainingReport } = await import("../report/training-report.js");
  await writeTrainingReport(directory, kept ?? undefined);
}

const DISK_FULL: readonly (string | undefined)[] = ["ENOSPC", "EDQUOT"];

/** A full disk by its name. */
function explained(error: unknown, directory: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (!DISK_FULL.includes(code)) return error;
  return new LaurelError(`${directory}: expected room for the run, got a full disk (${code}); what was written before is whole`, { cause: error }); // prettier-ignore
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
