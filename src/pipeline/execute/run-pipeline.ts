/** @file Runs a pipeline: items side by side, earlier ones first, until all are done, the budget is spent, or something has to be waited for. */

import { setTimeout as sleep } from "node:timers/promises";
import PQueue from "p-queue";
import type { ImageBackend } from "../../backends/contract.js";
import { HttpError } from "../../backends/http/error.js";
import { BackendError, CancelledError, LaurelError } from "../../errors.js";
import { JobFailedError } from "../../queue/contract.js";
import type { Reward } from "../../rewards/contract.js";
import type { Strategy } from "../../strategies/contract.js";
import { redact } from "../../util/secret.js";
import { pictureReader } from "../document/files.js";
import type { PipelinePlan, PlanItem, PlanStep } from "../document/plan.js";
import { exportResults } from "./export.js";
import { executeItem } from "./item.js";
import type { ItemLine, PipelineManifest } from "./manifest.js";
import type { PipelineRun } from "./pipeline-run.js";
import { shareModels } from "./queues.js";

/** What a run works with. */
export interface RunPipelineOptions {
  readonly backend: ImageBackend;
  readonly reward: Reward;
  /** The strategy that a refine step stands for, for one item. */
  readonly refiner: (step: Extract<PlanStep, { kind: "refine" }>, item: number) => Promise<Strategy>;
  readonly signal?: AbortSignal | undefined;
  /** Called with each stored candidate and each finished item. */
  readonly onProgress?: ((progress: PipelineProgress) => void) | undefined;
  /** Called with each warning when it comes up; the manifest has them all. */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Called with each item that is done, failed ones included. */
  readonly onItem?: ((line: ItemLine) => void) | undefined;
}

/** How far a run is. */
export interface PipelineProgress {
  readonly items: PipelineManifest["items"];
  readonly candidates: number;
  /** Candidates if every step takes all it may. */
  readonly possible: number;
}

/** System errors that a person has to mend: a full or broken disk. What is stored is kept. */
const DISK_ERRORS: ReadonlySet<string | undefined> = new Set(["ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE"]);

/** Warnings that a run keeps: those about single pictures could be as many as there are pictures. */
const MOST_WARNINGS = 200;
/** Between two writings of a manifest that only counts on. */
const CHECKPOINT_MS = 2000;
/** How long what is cancelled may take to stop: time to tell a server. */
const LEAVING_MS = 1000;

/** What a failure means for the run. */
type Verdict = "cancelled" | "paused" | "item" | "failed";

/**
 * Carries out what `run` still lacks and leaves its manifest with the status it ends with. Items that a server refuses are recorded as failed and the
 * others go on. The run stays locked; the caller closes it.
 * @throws CancelledError when the signal aborts; BackendError or a system error when the run is paused; anything else when it failed. All can be resumed.
 */
export async function runPipeline(run: PipelineRun, options: RunPipelineOptions): Promise<PipelineManifest> {
  const { plan } = run;
  const startedAt = performance.now();
  const before = run.manifest.totalMs;
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  const shared = shareModels(options.backend, options.reward);
  const queue = new PQueue({ concurrency: plan.concurrency ?? itemsAtOnce(plan, options.backend) });
  const picture = pictureReader(plan.files);
  const warnings = new Set(run.manifest.warnings);
  const warn = (message: string): void => {
    const text = redact(message);
    if (warnings.has(text) || warnings.size > MOST_WARNINGS) return;
    const told = warnings.size < MOST_WARNINGS ? text : "more warnings than a run keeps; they are left out";
    warnings.add(told);
    options.onWarning?.(told);
  };
  const progress = (): void =>
    options.onProgress?.({
      items: run.manifest.items,
      candidates: run.manifest.candidates,
      possible: plan.items.length * plan.candidatesPerItem,
    });
  let savedAt = startedAt;
  const save = (change: Partial<PipelineManifest>): Promise<void> => {
    savedAt = performance.now();
    return run.update({ ...change, warnings: [...warnings], totalMs: Math.round(before + savedAt - startedAt) });
  };
  const finish = (change: Partial<PipelineManifest>): Promise<void> =>
    save({ ...change, finishedAt: new Date().toISOString() });
  const spent = (): boolean => {
    const { candidates = Infinity, evaluations = Infinity, seconds = Infinity } = plan.budget;
    const elapsed = (before + performance.now() - startedAt) / 1000;
    return run.manifest.candidates >= candidates || run.manifest.evaluations >= evaluations || elapsed >= seconds;
  };

  let failure: unknown;
  const leaving = new Set<Promise<unknown>>();
  const onLeave = (end: Promise<unknown>): void => {
    leaving.add(end);
    void end.finally(() => leaving.delete(end));
  };
  let stopped = false;
  const work = async (item: PlanItem): Promise<void> => {
    if ((stopped ||= spent())) return;
    try {
      const models = shared.for(item.index);
      const line = await executeItem({
        run,
        item,
        ...models,
        refiner: options.refiner,
        picture,
        signal,
        onWarning: warn,
        onProgress: progress,
        onLeave,
      });
      await run.finishItem(line);
      options.onItem?.(line);
      if (performance.now() - savedAt > CHECKPOINT_MS) await save({});
    } catch (error) {
      if (verdictOf(error, signal) === "item") {
        const line = failedItem(item, error as Error);
        warn(`item ${item.id}: ${line.error ?? ""}`);
        await run.finishItem(line);
        options.onItem?.(line);
      } else if (!stop.signal.aborted) {
        // the first failure is the one to tell; the others are its echoes
        failure ??= error;
        stop.abort(error);
      }
    }
    progress();
  };

  await run.update({ status: "running", sessions: run.manifest.sessions + 1, finishedAt: null, error: null });
  progress();
  for (const item of plan.items) {
    if (run.isFinished(item.index)) continue;
    await queue.onSizeLessThan(1);
    if (signal.aborted || stopped) break;
    queue
      .add(() => work(item))
      .catch((error: unknown) => {
        failure ??= error;
        stop.abort(error);
      });
  }
  await queue.onIdle();
  if (signal.aborted) await Promise.race([Promise.allSettled(leaving), sleep(LEAVING_MS, undefined, { ref: false })]);
  else await exportResults(run).catch((error: unknown) => (failure = error));

  if (options.signal?.aborted === true || failure !== undefined) {
    const error =
      options.signal?.aborted === true ? new CancelledError("the run was cancelled", { cause: failure }) : failure;
    const verdict = verdictOf(error, undefined);
    const status = verdict === "item" ? "failed" : verdict;
    // on a full disk the manifest stays as it was; the error to tell is the first
    await finish({
      status,
      error: verdict === "cancelled" ? null : redact(error instanceof Error ? error.message : String(error)),
    }).catch(() => undefined);
    throw error;
  }
  await finish({ status: stopped ? "stopped" : run.manifest.items.failed > 0 ? "partial" : "complete" });
  return run.manifest;
}

/**
 * Items that are worked on at once: so many that their groups fill the places of the backend twice, and no more, for what is drawn and not stored yet takes
 * memory; one more, so that the next is drawn while one is scored and stored.
 */
export function itemsAtOnce(
  { steps, items }: Pick<PipelinePlan, "steps" | "items">,
  { capabilities: { concurrency = 1 }, defaults }: Pick<ImageBackend, "capabilities" | "defaults">,
): number {
  let groups = Infinity;
  for (const step of steps) {
    if (step.kind !== "generate" && step.kind !== "img2img" && step.kind !== "refine") continue;
    // these wait for what a group is worth before they draw the next
    const inTurn = step.kind === "refine" || (step.kind === "generate" && (step.until ?? step.strategy) !== undefined);
    const batch = step.settings.batch ?? items[0]?.settings.batch ?? defaults.batch;
    groups = Math.min(groups, inTurn ? 1 : Math.ceil(step.count / batch));
  }
  return Math.min(concurrency, Math.ceil((2 * concurrency) / groups)) + 1;
}

function verdictOf(error: unknown, signal: AbortSignal | undefined): Verdict {
  if (error instanceof CancelledError || signal?.aborted === true) return "cancelled";
  // a server that refuses one request may take the next: a filter, a prompt that is too long, a broken picture
  if (error instanceof HttpError)
    return error.fault === "invalid-request" || error.fault === "bad-response" ? "item" : "paused";
  // the workers that it was given to could not do it; others of the run may be done
  if (error instanceof JobFailedError) return "item";
  if (error instanceof BackendError) return "paused";
  if (!(error instanceof LaurelError) && DISK_ERRORS.has((error as NodeJS.ErrnoException | undefined)?.code))
    return "paused";
  return "failed";
}

function failedItem(item: PlanItem, error: Error): ItemLine {
  const { index, id, prompt, drawn, cell } = item;
  return {
    schemaVersion: 1,
    index,
    id,
    prompt,
    drawn,
    cell: { ...cell },
    candidates: 0,
    evaluations: 0,
    best: null,
    selected: [],
    error: redact(error.message),
  };
}
