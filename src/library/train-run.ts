/** @file The folder of a fine-tuning run: `training.json`, its prompts, and the lock that keeps a second process out. */

import { readFile, rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import { UsageError } from "../errors.js";
import { lockRun, type RunLock } from "../pipeline/lock.js";
import { modelSchema, versionsSchema } from "../pipeline/manifest.js";
import { makeRunDirectory } from "../pipeline/run-directory.js";
import { runtimeVersions } from "../pipeline/versions.js";
import type { TrainingPrompt } from "../training/data/prompts.js";
import { trainingManifestSchema } from "../training/finetune/records.js";
import { MEMORY_MODES } from "../training/gradient-program.js";
import { writeFileAtomic } from "../util/files.js";
import { parseJson, readText } from "../util/read-file.js";

/** Files of a run beside those that the training writes. */
export const TRAINING_FILES = { manifest: "training.json", prompts: "prompts.jsonl", validation: "validation-prompts.jsonl" } as const; // prettier-ignore

const optionsSchema = z.strictObject({
  /** Folder of the model; null for the one that ships inside. */
  model: z.string().nullable(),
  memory: z.enum(MEMORY_MODES),
  threads: z.int().positive(),
  width: z.int().positive(),
  height: z.int().positive(),
});

const manifestSchema = trainingManifestSchema.extend({
  models: z.object({ generator: modelSchema, rewards: z.array(modelSchema), heldOut: z.array(modelSchema) }),
  versions: versionsSchema,
  options: optionsSchema,
  /** Times it was begun or taken up again. */
  sessions: z.int().nonnegative(),
  /** The LoRA's file or the model's folder, relative to the run's; null before the end. */
  result: z.string().nullable(),
  /** The document whose training this is, and what was changed of it: it goes on when the training has ended. */
  pipeline: z
    .strictObject({ file: z.string(), set: z.record(z.string(), z.string()), out: z.string().nullable() })
    .nullable()
    .default(null),
  warnings: z.array(z.string()),
});

/** What `training.json` says of a run of `laurel train`. */
export type TrainRunManifest = z.infer<typeof manifestSchema>;

/** What a new run is made of. */
export interface NewTrainRun extends Pick<
  TrainRunManifest,
  "method" | "config" | "models" | "options" | "steps" | "pipeline"
> {
  readonly prompts: readonly TrainingPrompt[];
  readonly validationPrompts: readonly string[] | undefined;
}

/** Makes the folder of a new run and takes its lock. @throws UsageError when `parent` cannot be written */
export async function createTrainRun(parent: string, run: NewTrainRun): Promise<TrainRun> {
  const { prompts, validationPrompts, ...facts } = run;
  const createdAt = new Date();
  const { runId, directory } = await makeRunDirectory(resolve(parent), createdAt, `train ${run.method}`);
  const lock = await lockRun(directory);
  try {
    await writeFileAtomic(join(directory, TRAINING_FILES.prompts), jsonLines(prompts));
    if (validationPrompts !== undefined)
      await writeFileAtomic(join(directory, TRAINING_FILES.validation), jsonLines(validationPrompts));
    const manifest: TrainRunManifest = {
      format: 1,
      kind: "training",
      id: runId,
      status: "running",
      ...facts,
      versions: runtimeVersions(),
      startedAt: createdAt.toISOString(),
      finishedAt: null,
      sessions: 0,
      step: 0,
      stop: null,
      result: null,
      warnings: [],
    };
    const created = new TrainRun(directory, manifest, lock);
    await created.update({});
    return created;
  } catch (error) {
    await lock.release().catch(() => undefined);
    // nothing but its own beginning is in it
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

/** Takes up a run that exists. @param path its folder or its training.json. @throws UsageError when it is none, or in use */
export async function openTrainRun(path: string): Promise<TrainRun> {
  const directory = basename(path) === TRAINING_FILES.manifest ? dirname(resolve(path)) : resolve(path);
  const file = join(directory, TRAINING_FILES.manifest);
  // before the lock is taken, so that a folder that is no run gets no lock file
  await readTrainManifest(file);
  const lock = await lockRun(directory);
  try {
    return new TrainRun(directory, await readTrainManifest(file), lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** True for the folder of a training, or its training.json. */
export function isTrainRun(path: string): boolean {
  return basename(path) === TRAINING_FILES.manifest || existsSync(join(path, TRAINING_FILES.manifest));
}

/** Reads a training.json. @throws UsageError naming what is wrong */
export async function readTrainManifest(file: string): Promise<TrainRunManifest> {
  const text = await readText(file, { expected: "the training.json of a run", as: UsageError });
  const parsed = manifestSchema.safeParse(parseJson(text, file, UsageError));
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  throw new UsageError(`${file}: expected the manifest of a training (format 1), got ${faults.join("; ")}`);
}

/** A run that is locked by this process. */
export class TrainRun {
  #manifest: TrainRunManifest;
  readonly #lock: RunLock;
  #writing: Promise<void> = Promise.resolve();

  constructor(
    readonly directory: string,
    manifest: TrainRunManifest,
    lock: RunLock,
  ) {
    this.#manifest = manifest;
    this.#lock = lock;
  }

  get manifest(): TrainRunManifest {
    return this.#manifest;
  }

  /** The path of its training.json, for messages. */
  get file(): string {
    return join(this.directory, TRAINING_FILES.manifest);
  }

  /** Changes the manifest, in memory at once. */
  async update(changes: Partial<TrainRunManifest>): Promise<void> {
    this.#manifest = { ...this.#manifest, ...changes };
    const text = `${JSON.stringify(this.#manifest, null, 2)}\n`;
    const written = this.#writing.then(() => writeFileAtomic(this.file, text));
    this.#writing = written.catch(() => undefined);
    await written;
  }

  /** The prompts it began with. */
  async prompts(): Promise<{ prompts: TrainingPrompt[]; validationPrompts: string[] | undefined }> {
    const validation = join(this.directory, TRAINING_FILES.validation);
    return {
      prompts: await readJsonLines<TrainingPrompt>(join(this.directory, TRAINING_FILES.prompts)),
      validationPrompts: existsSync(validation) ? await readJsonLines<string>(validation) : undefined,
    };
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#lock.release();
  }
}

function jsonLines(values: readonly unknown[]): string {
  return values.map((value) => `${JSON.stringify(value)}\n`).join("");
}

async function readJsonLines<T>(path: string): Promise<T[]> {
  const text = await readFile(path, "utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}
