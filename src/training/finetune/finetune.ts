/** @file A fine-tuning run: updates, validations, guards, checkpoints; killed at any point it goes on bit for bit. */

import { existsSync } from "node:fs";
import { appendFile, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { CancelledError, LaurelError, UsageError } from "../../errors.js";
import type { Reward } from "../../rewards/contract.js";
import type { Device } from "../../runtime/device.js";
import { TorchGenerator } from "../../tensor/random.js";
import type { Tensor } from "../../tensor/tensor.js";
import { openWeights } from "../../weights/open.js";
import { writeFileAtomic } from "../../util/files.js";
import { describeSystemError } from "../../util/read-file.js";
import { saveSafetensors } from "../../weights/safetensors.js";
import { loadCheckpoint, saveCheckpoint } from "../checkpoint.js";
import { type TrainingPrompt, weightedPrompts } from "../data/prompts.js";
import type { MemoryMode } from "../gradient-program.js";
import {
  createOptimizer,
  dropBound,
  type Optimizer,
  type OptimizerSettings,
  readBound,
  writeBound,
} from "../optimizer.js";
import { Drawer } from "./drawer.js";
import { type GuardVerdict, judgeValidation, keptCheckpoint, type KeptCheckpoint, NO_GUARDS } from "./guards.js";
import type { TrainingLoss } from "./loss.js";
import { createLosses, type RunLosses, type TrainingData } from "./losses.js";
import { type UpdateRecord, type ValidationRecord, validationRecordSchema } from "./records.js";
import { saveResult } from "./result.js";
import type { GuideReward } from "./reward-objective.js";
import type { FinetuneSettings } from "./settings.js";
import type { TunedModel } from "./tuned-model.js";
import { validate, type ValidationContext, validationPlaces } from "./validate.js";

/** Files of a run's folder. */
export const FILES = {
  checkpoint: "checkpoint.safetensors",
  log: "log.jsonl",
  validation: "validation.jsonl",
  reference: "reference.safetensors",
} as const;

/** What happens, as it happens. */
export interface FinetuneEvents {
  /** Something long before the first update: pictures of the base being drawn. */
  onPreparation?(what: string, done: number, of: number): void;
  /** An update was made, of `steps`. */
  onStep?(record: UpdateRecord, steps: number): void;
  /** `verdict` is undefined for the base. */
  onValidation?(record: ValidationRecord, verdict: GuardVerdict | undefined): void;
  /** Something that could not be honoured, or is worth a look. */
  onWarning?(text: string): void;
}

/** What a run is made of. */
export interface FinetuneOptions extends TrainingData {
  readonly device: Device;
  /** Opened with the same settings. */
  readonly model: TunedModel;
  readonly settings: FinetuneSettings;
  readonly guides: readonly GuideReward[];
  readonly heldOut: readonly Reward[];
  readonly prompts: readonly TrainingPrompt[];
  /** Distinct prompts that the validations draw. @default the first of the training prompts */
  readonly validationPrompts?: readonly string[] | undefined;
  /** Diversity of the pictures of each prompt. @default the Vendi score */
  readonly diversity?: ValidationContext["diversity"];
  /** Folder of the run; without one nothing is written. */
  readonly directory?: string | undefined;
  /** Go on from the folder's checkpoint. @default false */
  readonly resume?: boolean | undefined;
  /** @default "fast" */
  readonly memory?: MemoryMode | undefined;
  /** Stop after so many updates of this call. */
  readonly stopAfter?: number | undefined;
  /** Stops the run; what the update under way had drawn is drawn again by a resumed run. */
  readonly signal?: AbortSignal | undefined;
  readonly events?: FinetuneEvents | undefined;
}

/** How a run ended. */
export interface FinetuneResult {
  readonly status: "finished" | "alarm" | "stopped";
  readonly step: number;
  readonly steps: number;
  readonly seconds: number;
  /** Why it ended before its last step. */
  readonly reason: string | null;
  readonly kept: KeptCheckpoint | null;
  /** The LoRA file or the model's folder; null when it was stopped, or has no folder. */
  readonly path: string | null;
  readonly validations: readonly ValidationRecord[];
  /** The kept parameters, by bound name. */
  readonly parameters: ReadonlyMap<string, Tensor>;
}

/**
 * Fine-tunes a model.
 * @throws LaurelError when a loss or gradient is not finite, naming the tensor: the last checkpoint stays good. UsageError for settings that leave nothing to learn from
 */
export async function finetune(options: FinetuneOptions): Promise<FinetuneResult> {
  const used: Disposable[] = [];
  try {
    const run = await FinetuneRun.open(options, (...made) => used.push(...made));
    return await run.work();
  } finally {
    // a device process that died has nothing left to free, and its death is the error to report
    for (const one of used.reverse()) await one.dispose().catch(() => undefined);
  }
}

/** What a run takes of the device, to be given back however it ends. */
interface Disposable {
  dispose(): Promise<void>;
}

/** Everything that a run changes as it goes. */
class FinetuneRun {
  #step = 0;
  #seconds = 0;
  #sessionStart = performance.now();
  #generator: TorchGenerator;
  readonly #validations: ValidationRecord[] = [];
  readonly #verdicts: GuardVerdict[] = [];
  /** The parameters of the best checkpoint, where there is no folder to keep them. */
  #best: ReadonlyMap<string, Tensor> | undefined;
  readonly #options: FinetuneOptions;
  readonly #losses: RunLosses;
  readonly #optimizer: Optimizer;
  readonly #pretrainOptimizer: Optimizer | undefined;
  readonly #validation: ValidationContext;

  private constructor(
    options: FinetuneOptions,
    parts: { drawer: Drawer; losses: RunLosses; optimizer: Optimizer; pretrainOptimizer: Optimizer | undefined },
  ) {
    this.#options = options;
    this.#losses = parts.losses;
    this.#optimizer = parts.optimizer;
    this.#pretrainOptimizer = parts.pretrainOptimizer;
    this.#generator = new TorchGenerator(options.settings.seed);
    const { model, guides, heldOut, settings, diversity } = options;
    this.#validation = {
      model,
      drawer: parts.drawer,
      guides: guides.map(({ reward }) => reward),
      heldOut,
      prompts: options.validationPrompts ?? [...new Set(options.prompts.map(({ prompt }) => prompt))],
      settings: settings.guards ?? { prompts: 0, imagesPerPrompt: 1, seed: 0 },
      diversity,
    };
  }

  /** Binds the start values, compiles the losses and reads the checkpoint of a run that goes on. */
  static async open(options: FinetuneOptions, keep: (...made: Disposable[]) => void): Promise<FinetuneRun> {
    const { device, model, settings, guides, directory, resume = false, signal, events } = options;
    if (directory !== undefined) await mkdir(directory, { recursive: true });
    const checkpoint = directory === undefined ? undefined : join(directory, FILES.checkpoint);
    const goesOn = resume && checkpoint !== undefined && existsSync(checkpoint);
    const drawer = new Drawer(device, model);
    keep({ dispose: () => dropBound(device, [...model.start.keys()]) }, drawer);
    for (const [name, value] of model.start) await device.bind(name, value);
    const warned = new Set<string>();
    const context = {
      device,
      model,
      drawer,
      guides,
      memory: options.memory ?? "fast",
      pickPrompt: weightedPrompts(options.prompts),
      batchSize: settings.batchSize,
      signal,
      warn: (text: string): void => {
        if (!warned.has(text)) events?.onWarning?.(text);
        warned.add(text);
      },
    };
    const losses = await createLosses(context, settings, options, {
      file: directory === undefined ? undefined : join(directory, FILES.reference),
      resume,
      seed: settings.seed + 1,
      signal,
      onProgress: (done, of) => events?.onPreparation?.("pictures to learn from", done, of),
    });
    keep(losses.main, ...(losses.pretrain === undefined ? [] : [losses.pretrain.loss]));
    const own = optimizerSettings(settings.optimizer);
    const optimizer = await createOptimizer(device, settings.method, losses.main.parameters, own);
    keep(optimizer);
    const pretrainOptimizer =
      losses.pretrain &&
      (await createOptimizer(
        device,
        "pretrain",
        losses.pretrain.loss.parameters,
        {
          ...own,
          averageDecay: undefined,
          schedule: { ...own.schedule, learningRate: own.schedule.learningRate * losses.pretrain.rate },
        },
        "pretrain",
      ));
    if (pretrainOptimizer !== undefined) keep(pretrainOptimizer);
    const run = new FinetuneRun(options, { drawer, losses, optimizer, pretrainOptimizer });
    await run.#begin(goesOn ? checkpoint : undefined);
    return run;
  }

  /** Goes on from a checkpoint: lines that were written after it are cut off, so that none appears twice. */
  async #begin(checkpoint: string | undefined): Promise<void> {
    const { directory, device, settings } = this.#options;
    if (checkpoint !== undefined) {
      const { tensors, state } = await loadCheckpoint(checkpoint, taskOf(settings));
      requireSame(checkpoint, tensors, await readBound(device, this.#stateNames()));
      await writeBound(device, tensors);
      this.#step = state.step;
      this.#seconds = state.seconds;
      this.#generator = TorchGenerator.restore(state.generator);
    }
    if (directory === undefined) return;
    await trimLines(join(directory, FILES.log), this.#step);
    const kept = checkpoint === undefined ? -1 : this.#step;
    const file = join(directory, FILES.validation);
    for (const [i, line] of (await trimLines(file, kept)).entries()) {
      const parsed = validationRecordSchema.safeParse(JSON.parse(line));
      if (!parsed.success || (i === 0 && parsed.data.step !== 0))
        throw new UsageError(
          `${file}:${i + 1}: expected a validation${i === 0 ? " of the base (step 0)" : ""}, got ${line.slice(0, 60)}`,
        );
      this.#remember(parsed.data);
    }
    for (const name of await snapshots(directory)) if (stepOfSnapshot(name) > kept) await rm(join(directory, name));
  }

  async work(): Promise<FinetuneResult> {
    const { settings, signal, stopAfter = Infinity } = this.#options;
    const from = this.#step;
    let alarm: string | null = null;
    let finished = false;
    try {
      for (;;) {
        alarm = await this.#validateIfDue();
        finished = alarm !== null || this.#step >= settings.steps;
        if (finished || this.#step - from >= stopAfter || signal?.aborted) break;
        await this.#update();
        if (this.#step % settings.checkpointEvery === 0) await this.#save();
      }
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error;
    }
    await this.#save();
    return finished ? this.#finish(alarm) : this.#result("stopped", "stopped before its last step", null, null);
  }

  /**
   * One update: the method's loss, then where there is one the pre-training loss, each with its optimizer's step. The paper's algorithm 1 takes them in
   * turns too, beginning with the other; so, what an abort cuts short is only ever the drawing, before anything has changed.
   */
  async #update(): Promise<void> {
    const { settings, events } = this.#options;
    const { main, pretrain } = this.#losses;
    const before = this.#generator.state();
    const where = `${settings.method}, step ${this.#step}`;
    let record: UpdateRecord;
    try {
      const { loss, metrics } = await this.#gradients(main, this.#optimizer, where);
      const { gradientNorm, learningRate } = await this.#optimizer.step(
        this.#step,
        settings.steps,
        settings.accumulate,
      );
      record = { step: this.#step + 1, loss, learningRate, gradientNorm, seconds: 0, ...metrics };
    } catch (error) {
      // the parameters are as they were: the next try draws the same
      this.#generator = TorchGenerator.restore(before);
      throw error;
    }
    if (pretrain !== undefined && this.#step % pretrain.every === 0) {
      const { loss } = await pretrain.loss.gradient(this.#generator, `${where}, pre-training`);
      const { gradientNorm } = await this.#pretrainOptimizer!.step(this.#step, settings.steps);
      record["pretrain/loss"] = loss;
      record["pretrain/gradientNorm"] = gradientNorm;
      record["gradientRatio"] = gradientNorm / (record.gradientNorm ?? Number.NaN);
    }
    this.#step += 1;
    record.seconds = Number(this.#elapsed().toFixed(2));
    await this.#append(FILES.log, record);
    events?.onStep?.(record, settings.steps);
  }

  /** Mean loss and metrics of an update's batches; their gradients are left for the optimizer. */
  async #gradients(loss: TrainingLoss, optimizer: Optimizer, where: string) {
    const { accumulate } = this.#options.settings;
    const sums: Record<string, number> = {};
    for (let i = 0; i < accumulate; i++) {
      const result = await loss.gradient(this.#generator, where);
      for (const [key, value] of Object.entries({ loss: result.loss, ...result.metrics }))
        sums[key] = (sums[key] ?? 0) + value / accumulate;
      if (accumulate > 1) await optimizer.accumulate(i === 0);
    }
    const { loss: mean = Number.NaN, ...metrics } = sums;
    return { loss: mean, metrics };
  }

  /** The sentence of an alarm that is to stop the run. */
  async #validateIfDue(): Promise<string | null> {
    const { settings, directory, signal, events } = this.#options;
    const { guards } = settings;
    if (guards === null) return null;
    const due = this.#step % guards.every === 0 || this.#step === settings.steps;
    if (!due || this.#validations.at(-1)?.step === this.#step) return this.#alarm();
    await this.#averaged(async () => {
      const record = await validate(this.#validation, this.#step, directory, signal);
      const verdict = this.#remember(record);
      const judged = { ...record, alarm: verdict?.alarm?.text ?? null };
      this.#validations[this.#validations.length - 1] = judged;
      const kept = keptCheckpoint(this.#verdicts, guards);
      if (guards.keepBest && kept.step === this.#step && this.#step > 0) {
        const best = await readBound(this.#options.device, this.#names());
        if (directory === undefined) this.#best = best;
        else await saveSafetensors(snapshotPath(directory, this.#step), best);
      }
      await this.#append(FILES.validation, judged);
      events?.onValidation?.(judged, verdict);
      for (const warning of verdict?.warnings ?? []) events?.onWarning?.(warning);
    });
    await this.#save();
    if (directory !== undefined)
      for (const name of await snapshots(directory))
        if (stepOfSnapshot(name) !== keptCheckpoint(this.#verdicts, guards).step) await rm(join(directory, name));
    return this.#alarm();
  }

  /** Does `work` with the moving average, where there is one, bound as the parameters. */
  async #averaged(work: () => Promise<void>): Promise<void> {
    await this.#optimizer.swapAverage();
    try {
      await work();
    } catch (error) {
      // after the death of the device process there is nothing to swap, and its death is the error to report
      await this.#optimizer.swapAverage().catch(() => undefined);
      throw error;
    }
    await this.#optimizer.swapAverage();
  }

  /** Keeps a validation and judges it against the base's, which is the first. */
  #remember(record: ValidationRecord): GuardVerdict | undefined {
    this.#validations.push(record);
    const base = this.#validations[0]!;
    if (base === record) return undefined;
    const prompts = validationPlaces(this.#validation).map(({ prompt }) => prompt);
    const verdict = judgeValidation(base, record, this.#options.settings.guards ?? NO_GUARDS, prompts);
    this.#verdicts.push(verdict);
    return verdict;
  }

  #alarm(): string | null {
    const { guards } = this.#options.settings;
    const last = this.#verdicts.at(-1);
    return guards?.alarm === true && last?.step === this.#step ? (last.alarm?.text ?? null) : null;
  }

  /** Writes the result: the best checkpoint by the guards. */
  async #finish(alarm: string | null): Promise<FinetuneResult> {
    const { settings, directory, model } = this.#options;
    const { guards } = settings;
    const kept =
      guards !== null && this.#keepsBest()
        ? keptCheckpoint(this.#verdicts, guards)
        : { step: this.#step, reason: "the last step: no guard chooses" };
    const parameters = await this.#parametersAt(kept.step);
    const metadata = new Map([
      ["laurel_method", settings.method],
      ["laurel_step", String(kept.step)],
      ["laurel_base", model.folder.name],
    ]);
    const path = directory === undefined ? null : await saveResult(directory, model, parameters, metadata);
    return this.#result(alarm === null ? "finished" : "alarm", alarm, kept, path, parameters);
  }

  #keepsBest(): boolean {
    return this.#options.settings.guards?.keepBest === true;
  }

  async #parametersAt(step: number): Promise<ReadonlyMap<string, Tensor>> {
    const { directory, model } = this.#options;
    if (step === 0) return model.start;
    if (!this.#keepsBest()) return this.#optimizer.trained();
    if (directory === undefined) return this.#best!;
    const file = snapshotPath(directory, step);
    const source = await openWeights(file);
    const parameters = new Map<string, Tensor>();
    for (const name of source.entries.keys()) parameters.set(name, await source.read(name));
    return parameters;
  }

  async #result(
    status: FinetuneResult["status"],
    reason: string | null,
    kept: KeptCheckpoint | null,
    path: string | null,
    parameters?: ReadonlyMap<string, Tensor>,
  ): Promise<FinetuneResult> {
    return {
      status,
      step: this.#step,
      steps: this.#options.settings.steps,
      seconds: this.#elapsed(),
      reason,
      kept,
      path,
      validations: this.#validations,
      parameters: parameters ?? (await this.#optimizer.trained()),
    };
  }

  async #save(): Promise<void> {
    const { directory, device, settings } = this.#options;
    if (directory === undefined) return;
    const tensors = await readBound(device, this.#stateNames());
    const bad = [...tensors].find(([, { data }]) => !(data as Float32Array).every(Number.isFinite));
    if (bad !== undefined)
      throw new LaurelError(
        `${settings.method}, step ${this.#step}: expected finite parameters, got others in "${bad[0]}": the last checkpoint is left as it is`,
      );
    await saveCheckpoint(join(directory, FILES.checkpoint), tensors, {
      task: taskOf(settings),
      step: this.#step,
      steps: settings.steps,
      cursor: 0,
      seconds: this.#elapsed(),
      generator: this.#generator.state(),
    });
  }

  #names(): string[] {
    return [...this.#losses.main.parameters.keys()];
  }

  #stateNames(): string[] {
    return [...this.#names(), ...this.#optimizer.slots, ...(this.#pretrainOptimizer?.slots ?? [])];
  }

  #elapsed(): number {
    return this.#seconds + (performance.now() - this.#sessionStart) / 1000;
  }

  async #append(file: string, record: object): Promise<void> {
    const { directory } = this.#options;
    if (directory === undefined) return;
    const path = join(directory, file);
    await appendFile(path, `${JSON.stringify(record)}\n`).catch((error: unknown) => {
      throw new LaurelError(`${path}: expected to write a line, got ${describeSystemError(error)}`, { cause: error });
    });
  }
}

/** @throws LaurelError naming the tensors that a checkpoint lacks, has beyond those of the run, or has in other shapes */
function requireSame(path: string, tensors: ReadonlyMap<string, Tensor>, wanted: ReadonlyMap<string, Tensor>): void {
  const faults = [
    ...[...wanted].flatMap(([name, own]) => {
      const found = tensors.get(name);
      if (found === undefined) return [`none "${name}"`];
      const same = found.dtype === own.dtype && found.shape.join() === own.shape.join();
      return same ? [] : [`"${name}" as ${found.dtype} [${found.shape.join()}] instead of [${own.shape.join()}]`];
    }),
    ...[...tensors.keys()].filter((name) => !wanted.has(name)).map((name) => `another, "${name}"`),
  ];
  if (faults.length === 0) return;
  const more = faults.length > 4 ? ` and ${faults.length - 4} more` : "";
  throw new LaurelError(`${path}: expected the tensors of this run, got ${faults.slice(0, 4).join(", ")}${more}`);
}

function taskOf({ method, train }: FinetuneSettings): string {
  return `finetune-${method}-${train.kind}`;
}

function optimizerSettings({ clipNorm, averageDecay, ...rest }: FinetuneSettings["optimizer"]): OptimizerSettings {
  return {
    ...rest,
    ...(clipNorm === null ? {} : { clipNorm }),
    ...(averageDecay === null ? {} : { averageDecay }),
  };
}

function snapshotPath(directory: string, step: number): string {
  return join(directory, `best-${step}.safetensors`);
}

function stepOfSnapshot(name: string): number {
  return Number(/^best-(\d+)\.safetensors$/.exec(name)?.[1]);
}

async function snapshots(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => Number.isFinite(stepOfSnapshot(name)));
}

/** Cuts the lines of steps after `step` off, and a line that a kill tore. Gives what is left. */
async function trimLines(file: string, step: number): Promise<string[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw new UsageError(`${file}: expected the lines of a run, got ${error.code ?? error.message}`, { cause: error });
  });
  const kept = text.split("\n").filter((line) => {
    try {
      return (JSON.parse(line) as { step: number }).step <= step;
    } catch {
      return false;
    }
  });
  const rest = kept.map((line) => `${line}\n`).join("");
  if (rest !== text) await writeFileAtomic(file, rest);
  return kept;
}
