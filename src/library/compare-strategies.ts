/** @file Measures strategies against each other at the same compute, from the same seeds, trial by trial into a file. */

import { appendFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { ImageSettings } from "../backends/contract.js";
import { requireDescription } from "../demo/grammar.js";
import { judge } from "../demo/oracle.js";
import { UsageError } from "../errors.js";
import type { MetricDescription } from "../evaluation/strategy-comparison.js";
import { encodePng } from "../image/png.js";
import type { RgbImage } from "../image/types.js";
import { WatchedReward } from "../rewards/held-out.js";
import type { Reward } from "../rewards/contract.js";
import { scoringOperations } from "../rewards/operations.js";
import type { StrategyContext } from "../strategies/contract.js";
import { rank } from "../strategies/rank.js";
import { Calibration } from "../strategies/search/calibration.js";
import { previewGrid } from "../strategies/search/halving.js";
import { plainPicture, type WorkCosts, WorkMeter } from "../strategies/search/work-meter.js";
import { isImageEmbedder } from "../rewards/image-embedder.js";
import { pictureDiversity } from "../training/finetune/diversity.js";
import { sha256, writeFileAtomic } from "../util/files.js";
import { readKeptLines } from "../util/kept-lines.js";
import { completeRequest } from "./generate.js";
import { metered } from "./metered.js";
import { type Models, modelRecords } from "./models.js";
import type { OpenedStrategy } from "./open-strategy.js";

/** A strategy that takes part. */
export interface ComparedStrategy {
  /** With its settings, as a user would type it; names its trials. */
  readonly name: string;
  /** Changes of the sampling: with fewer steps the same compute draws more pictures. @default none */
  readonly settings?: SamplingSettings | undefined;
  /** Makes the strategy. One that learns what previews are worth shares what it observed over its trials. */
  readonly open: (calibration: Calibration) => Promise<OpenedStrategy>;
}

/** What a comparison may say of the sampling. */
export type SamplingSettings = Partial<Pick<ImageSettings, "steps" | "guidance" | "sampler" | "width" | "height">>;

/** What {@link measureStrategies} works with. */
export interface StrategyMeasurement {
  /** What draws, and what guides; held-out rewards beside it watch. */
  readonly models: Models;
  readonly strategies: readonly ComparedStrategy[];
  /** In pictures drawn plainly with `settings`, rising. */
  readonly budgets: readonly number[];
  readonly prompts: readonly string[];
  /** Seeds of a prompt at the largest budget; smaller budgets have more, so that all take about as long. */
  readonly seeds: number;
  readonly settings?: SamplingSettings | undefined;
  /** Whether the demo world's oracle reads the pictures: all prompts have to be descriptions of it. @default false */
  readonly oracle?: boolean | undefined;
  /** Holds `trials.jsonl`; trials that it has are not made again. */
  readonly directory: string;
  /** Milliseconds inside programs so far. @default nothing is known */
  readonly programMs?: (() => number) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called before every search. */
  readonly onProgress?: ((finished: number, total: number, strategy: string) => void) | undefined;
  /** Told of budgets that a strategy cannot work with; it is left out there. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** Files of a comparison's folder. */
export const COMPARISON_FILES = {
  trials: "trials.jsonl",
  figures: "comparison.json",
  report: "report.html",
  pictures: "pictures",
} as const;

const FIRST_SEED = 1_000_000;
/** Seeds that a search may use, for each picture of its budget. */
const SEEDS_A_PICTURE = 32;
/** Best pictures of a search whose diversity is measured. */
const DIVERSE = 4;
/** Prompts whose chosen pictures are kept for the page. */
export const EXAMPLES = 6;

const number = z.number().nullable();
const trialSchema = z.object({
  fingerprint: z.string(),
  strategy: z.string(),
  budget: z.number().positive(),
  index: z.number().int().nonnegative(),
  prompt: z.string(),
  repeat: z.number().int().nonnegative(),
  seed: z.number().int().nonnegative(),
  metrics: z.record(z.string(), number),
  pictures: z.number().int().nonnegative(),
  compute: z.number().nonnegative(),
  work: z.record(z.string(), z.number()),
  evaluations: z.number().int().nonnegative(),
  seconds: z.number().nonnegative(),
  outsideSeconds: number,
  curve: z.array(z.object({ compute: z.number(), guide: z.number() })),
  warnings: z.array(z.string()),
  /** What the search learned of previews: for the calibration of later ones. */
  observed: z.array(z.array(z.number())).optional(),
  /** Of the chosen picture in pixels, where it is kept as an example. */
  size: z.object({ width: z.number(), height: z.number() }).optional(),
});
/** A trial as its line has it. */
export type MeasuredTrial = z.infer<typeof trialSchema>;

/** A search to be made. */
interface Task {
  readonly budget: number;
  readonly index: number;
  readonly prompt: string;
  readonly repeat: number;
  readonly seed: number;
}

/** The metrics of a measurement, the truth first. */
export function comparedMetrics({
  models: { reward },
  oracle = false,
}: Pick<StrategyMeasurement, "models" | "oracle">): MetricDescription[] {
  const { guide, heldOut } = judgesOf(reward);
  return [
    ...(oracle
      ? [
          { key: "holds", title: "all stated facts hold", kind: "truth" as const },
          { key: "facts", title: "stated facts that hold", kind: "truth" as const },
        ]
      : []),
    { key: "guide", title: guide.name, kind: "guide" },
    ...[...heldOut.keys()].map((key) => ({ key, title: key, kind: "held-out" as const })),
    { key: "diversity", title: `diversity of the best ${DIVERSE}, bits`, kind: "diversity" },
  ];
}

/**
 * Makes every trial that `directory` lacks. All strategies get the compute of so many plain pictures, counted from outside in floating-point operations of
 * denoiser, decoder, encoder and reward, gradients included; of a backend that cannot be followed step by step, pictures are counted.
 * @throws UsageError for budgets or prompts that cannot be, or when the file holds something else; CancelledError; what strategies throw
 */
export async function measureStrategies(measurement: StrategyMeasurement): Promise<MeasuredTrial[]> {
  checkMeasurement(measurement);
  const { directory, strategies } = measurement;
  await mkdir(join(directory, COMPARISON_FILES.pictures), { recursive: true });
  const file = join(directory, COMPARISON_FILES.trials);
  const known = new Map<string, MeasuredTrial>();
  const setting = await fingerprintOf(measurement);
  for (const one of await readKeptLines(file, trialSchema, "a trial of a comparison")) {
    if (one.fingerprint === setting) known.set(keyOf(one.strategy, one), one);
  }
  const tasks = tasksOf(measurement);
  const trials: MeasuredTrial[] = [];
  for (const [place, strategy] of strategies.entries()) {
    const bench = await Bench.open(measurement, strategy);
    let finished = place * tasks.length;
    try {
      const tooSmall = await bench.tooSmall();
      for (const task of tasks) {
        measurement.onProgress?.(finished++, tasks.length * strategies.length, strategy.name);
        if (tooSmall.has(task.budget)) continue;
        let trial = known.get(keyOf(strategy.name, task));
        if (trial?.prompt !== task.prompt || trial.seed !== task.seed) {
          trial = { fingerprint: setting, ...(await bench.run(task)) };
          await appendFile(file, `${JSON.stringify(trial)}\n`);
        } else if (trial.observed !== undefined) bench.calibration.add(trial.observed);
        trials.push(trial);
      }
    } finally {
      await bench.close();
    }
  }
  return trials;
}

/** Where the chosen picture of an example lies. */
export function examplePath(directory: string, strategy: string, { budget, index }: Pick<Task, "budget" | "index">) {
  return join(directory, COMPARISON_FILES.pictures, `${index}-${budget}-${strategy.replace(/[^\w.=-]/g, "_")}.png`);
}

function checkMeasurement({ strategies, budgets, prompts, seeds, oracle }: StrategyMeasurement): void {
  const twice = strategies.find(({ name }, i) => strategies.findIndex((one) => one.name === name) !== i);
  if (twice !== undefined) throw new UsageError(`strategies: expected each once, got ${twice.name} twice`);
  const odd = budgets.find((budget) => !(budget >= 1 && Number.isInteger(budget)));
  if (odd !== undefined || budgets.length === 0)
    throw new UsageError(`budgets: expected whole numbers of pictures from 1 on, got ${odd ?? "none"}`);
  if (prompts.length === 0) throw new UsageError("prompts: expected one or more, got none");
  if (!(Number.isInteger(seeds) && seeds >= 1)) throw new UsageError(`seeds: expected a whole number from 1 on, got ${seeds}`); // prettier-ignore
  // the oracle reads no other prompts
  if (oracle === true) for (const prompt of prompts) requireDescription(prompt);
}

/** Every budget gets as many pictures of a prompt in all. */
function tasksOf({ budgets, prompts, seeds }: StrategyMeasurement): Task[] {
  const largest = Math.max(...budgets);
  const tasks: Task[] = [];
  for (const [index, prompt] of prompts.entries()) {
    let seed = FIRST_SEED + index * budgets.length * 2 * seeds * largest * SEEDS_A_PICTURE;
    for (const budget of budgets) {
      for (let repeat = 0; repeat < seeds * Math.floor(largest / budget); repeat++) {
        tasks.push({ budget, index, prompt, repeat, seed });
        seed += budget * SEEDS_A_PICTURE;
      }
    }
  }
  return tasks;
}

function keyOf(strategy: string, { budget, index, repeat }: Pick<Task, "budget" | "index" | "repeat">): string {
  return [strategy, budget, index, repeat].join("\n");
}

/** Tells models, rewards and sampling apart. */
async function fingerprintOf({ models, settings, prompts, oracle = false }: StrategyMeasurement): Promise<string> {
  const { request } = completeRequest(models, { ...settings, prompt: prompts[0]!, count: 1, seed: 0 });
  const { steps, guidance, sampler, width, height, batch } = request;
  const drawn = { steps, guidance, sampler, width, height, batch };
  return sha256(JSON.stringify([await modelRecords(models), drawn, oracle])).slice(0, 16);
}

/** The reward that chooses, and those that watch. */
function judgesOf(reward: Reward): { readonly guide: Reward; readonly heldOut: ReadonlyMap<string, Reward> } {
  return reward instanceof WatchedReward
    ? { guide: reward.guide, heldOut: reward.heldOut }
    : { guide: reward, heldOut: new Map() };
}

/** What a picture costs, as the comparison and as the strategy draws it. */
interface PictureCosts {
  readonly costs: WorkCosts;
  /** A plain picture with the comparison's settings: the unit of budgets. */
  readonly unit: number;
  /** A plain picture with the strategy's settings. */
  readonly own: number;
  /** Entries of the strategy's sampler. */
  readonly entries: number;
}

/** Where a picture is all that can be counted. */
const PICTURES: PictureCosts = { costs: { evaluation: 0, decoding: 1, scoring: 0 }, unit: 1, own: 1, entries: 1 };

/** One of the best pictures of a search. */
interface Picture {
  /** In the order in which they were found. */
  readonly index: number;
  readonly score: number | null;
  readonly image: RgbImage;
}

/** Makes the trials of one strategy. */
class Bench {
  private constructor(
    private readonly measurement: StrategyMeasurement,
    private readonly compared: ComparedStrategy,
    private readonly opened: OpenedStrategy,
    private readonly picture: PictureCosts,
    readonly calibration: Calibration,
  ) {}

  static async open(measurement: StrategyMeasurement, compared: ComparedStrategy): Promise<Bench> {
    const picture = await pictureCosts(measurement, compared);
    const calibration = new Calibration(previewGrid(picture.entries));
    return new Bench(measurement, compared, await compared.open(calibration), picture, calibration);
  }

  /** Budgets that the strategy cannot work with, each told once. */
  async tooSmall(): Promise<ReadonlySet<number>> {
    const { budgets, prompts, onWarning } = this.measurement;
    const found = new Set<number>();
    for (const budget of budgets) {
      try {
        await this.opened.strategy.check?.(this.#context({ budget, prompt: prompts[0]!, seed: 0 }).context);
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        found.add(budget);
        onWarning?.(`${this.compared.name} at ${budget}: ${error.message}; left out there`);
      }
    }
    return found;
  }

  async run(task: Task): Promise<Omit<MeasuredTrial, "fingerprint">> {
    const { programMs } = this.measurement;
    const { unit } = this.picture;
    const { prompt, seed, budget, index, repeat } = task;
    const { context, meter } = this.#context(task);
    let chosen: readonly Picture[] = [];
    let pictures = 0;
    const curve: { compute: number; guide: number }[] = [];
    const warnings = new Set<string>();
    const before = this.calibration.size;
    const [startedAt, inside] = [performance.now(), programMs?.()];
    let best = -Infinity;
    for await (const event of this.opened.strategy.run(context)) {
      if (event.type === "warning") warnings.add(event.message);
      if (event.type !== "scored") continue;
      chosen = rank([...chosen, { index: pictures++, score: event.score, image: event.candidate.image }]).slice(
        0,
        DIVERSE,
      );
      if (event.score === null || event.score <= best) continue;
      best = event.score;
      curve.push({ compute: meter.operations / unit, guide: best });
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const programs = programMs === undefined ? null : (programMs() - inside!) / 1000;
    const kept = index < EXAMPLES && repeat === 0 ? chosen[0]?.image : undefined;
    if (kept !== undefined)
      await writeFileAtomic(examplePath(this.measurement.directory, this.compared.name, task), await encodePng(kept));
    return {
      strategy: this.compared.name,
      ...{ budget, index, prompt, repeat, seed },
      metrics: await this.#metrics(prompt, chosen),
      pictures,
      compute: meter.operations / unit,
      work: meter.shares(unit),
      evaluations: meter.counted("evaluation"),
      seconds,
      outsideSeconds: programs === null ? null : Math.max(0, seconds - programs),
      curve,
      warnings: [...warnings],
      observed: this.calibration.size === before ? undefined : this.calibration.last.map((scores) => [...scores]),
      size: kept === undefined ? undefined : { width: kept.width, height: kept.height },
    };
  }

  /** What the strategy gets for a search, and what counts its work from outside. */
  #context({ budget, prompt, seed }: Pick<Task, "budget" | "prompt" | "seed">) {
    const { models, settings, signal } = this.measurement;
    const { costs, unit, own } = this.picture;
    const meter = new WorkMeter(costs);
    const given = metered({ backend: models.backend, reward: judgesOf(models.reward).guide }, meter);
    const operations = budget * unit;
    const count = Math.max(1, Math.floor(operations / own + 1e-9));
    const { request } = completeRequest(models, { ...settings, ...this.compared.settings, prompt, seed, count });
    const context: StrategyContext = { ...given, request, budget: { candidates: count, operations }, signal };
    return { context, meter };
  }

  close(): Promise<void> {
    return this.opened.close();
  }

  async #metrics(prompt: string, chosen: readonly Picture[]): Promise<Record<string, number | null>> {
    const { models, oracle, signal } = this.measurement;
    const { guide, heldOut } = judgesOf(models.reward);
    const options = signal === undefined ? {} : { signal };
    const images = chosen.map(({ image }) => image);
    const best = images[0];
    const metrics: Record<string, number | null> = { guide: chosen[0]?.score ?? null };
    if (best === undefined) return metrics;
    for (const [name, reward] of heldOut)
      metrics[name] = (await reward.score(prompt, [best], options)).scores[0] ?? null;
    const embedder = [...heldOut.values(), guide].find(isImageEmbedder);
    metrics["diversity"] = (await pictureDiversity([images], embedder, options))[0] ?? null;
    return oracle === true ? { ...metrics, ...truthOf(prompt, best) } : metrics;
  }
}

/** What the oracle reads from a picture; a fact that it cannot read does not hold. */
function truthOf(prompt: string, image: RgbImage): { readonly holds: number; readonly facts: number } {
  const { verdict, facts } = judge(requireDescription(prompt), image);
  return {
    holds: Number(verdict === "holds"),
    facts: facts.filter(({ holds }) => holds === true).length / Math.max(1, facts.length),
  };
}

async function pictureCosts(
  { models: { backend, reward }, prompts, settings }: StrategyMeasurement,
  compared: ComparedStrategy,
): Promise<PictureCosts> {
  const { stepwise } = backend;
  if (stepwise === undefined) return PICTURES;
  const plan = async (own: SamplingSettings) => {
    const { request } = completeRequest({ backend }, { ...own, prompt: prompts[0]!, count: 1, seed: 0 });
    const { trajectory } = await stepwise.begin(request);
    const costs = { ...stepwise.operations(trajectory), scoring: scoringOperations(judgesOf(reward).guide) };
    const entries = trajectory.sampler.timesteps.length;
    return { costs, entries, cost: plainPicture(costs, entries * (trajectory.guided ? 2 : 1)) };
  };
  const { cost: unit } = await plan({ ...settings });
  const { costs, entries, cost: own } = await plan({ ...settings, ...compared.settings });
  return { costs, unit, own, entries };
}
