/** @file `laurel run`: a pipeline from its file to its results. */

import { join, resolve } from "node:path";
import { openConfigured } from "../../backends/open.js";
import { CancelledError, EXIT } from "../../errors.js";
import {
  estimatePipeline,
  finishPipeline,
  type FinishPipelineOptions,
  startPipeline,
} from "../../library/pipelines.js";
import type { Models } from "../../library/models.js";
import { isRefinement } from "../../library/refine.js";
import { estimateTraining } from "../../library/train-settings.js";
import { checkRefiners } from "../../library/refiners.js";
import { exportOf, trainedPipeline } from "../../library/pipeline-training.js";
import { planDocument, readDocument } from "../../pipeline/document/load.js";
import type { PipelinePlan } from "../../pipeline/document/plan.js";
import type { ItemLine } from "../../pipeline/execute/manifest.js";
import type { PipelineRun } from "../../pipeline/execute/pipeline-run.js";
import { ItemLines } from "../../pipeline/execute/recover.js";
import { RUN_FILES } from "../../pipeline/run-store.js";
import type { Check } from "../../installation/check.js";
import { checkBackend } from "../../installation/check-backend.js";
import type { FinetuneSettings } from "../../training/finetune/settings.js";
import { unlessAborted } from "../../util/abort.js";
import type { Action, CommandContext } from "../context.js";
import { changesOf } from "../changes.js";
import { printItems, shortened } from "../items.js";
import { duration, palette, printable, printJson, shownPath, type Terminal, warningLine } from "../output.js";
import { judgesOfPlan, openJudges } from "../judges.js";
import { openProgress } from "../progress.js";
import { printRefinement } from "../refinement.js";
import { expectNoQueue, type SubmitFlags } from "../queued.js";
import { useSession } from "../use-session.js";
import type { RunFlags } from "./resume.entry.js";
import type { RunPipelineFlags } from "./run.entry.js";

export const run: Action<RunPipelineFlags> = async (context, [file = ""], flags) => {
  const set = changesOf(flags.set);
  const document = await readDocument(file, set);
  const asked = exportOf(document, flags.out ?? "outputs");
  if (asked !== undefined) {
    expectNoQueue(flags, "export");
    return (await import("./run-export.js")).runExport(context, asked, flags);
  }
  const trained = await trainedPipeline(document);
  if (trained !== undefined) expectNoQueue(flags, "train");
  const plan = trained?.plan ?? (await planDocument(document));
  await checkRefiners(plan);
  if (flags.dryRun === true) {
    const { backend } = plan;
    const remote = backend.backend !== "local" && backend.backend !== "folder";
    const check = remote ? await checkBackend(backend, context.signal) : undefined;
    printPlan(context.terminal, plan, check, flags, trained?.training.settings);
    return EXIT.ok;
  }
  if (trained === undefined) return startPlan(context, plan, flags);
  const out = flags.out ?? plan.out ?? "outputs";
  const { runTraining } = await import("./run-training.js");
  return runTraining(context, trained, { file: document.file, set, out: flags.out === undefined ? null : resolve(flags.out) }, out, flags, startPlan); // prettier-ignore
};

/** Runs a plan from its beginning. `more` is what else the JSON says. */
export function startPlan(
  context: CommandContext,
  plan: PipelinePlan,
  flags: RunFlags & SubmitFlags & { readonly out?: string },
  more: object = {},
): Promise<number> {
  return withPipelineModels(context, plan, flags, async (models) => {
    const started = await startPipeline(flags.out ?? plan.out ?? "outputs", plan, models, { durable: flags.durable });
    return workOnPipeline(context, started, models, flags, () => Promise.resolve(more));
  });
}

/** Opens what a plan names and gives it back whatever happens. */
export async function withPipelineModels<T>(
  context: CommandContext,
  plan: PipelinePlan,
  flags: SubmitFlags,
  work: (models: Models) => Promise<T>,
): Promise<T> {
  const { signal } = context;
  if (flags.queue !== undefined) return (await import("../queued.js")).withQueuedModels(context, plan, flags, work);
  expectNoQueue(flags);
  return useSession(context, async (session) => {
    const opening = Promise.all([
      openConfigured(plan.backend, { local: (directory) => session.openBackend(directory), signal }),
      openJudges(session, judgesOfPlan(plan)),
    ]);
    const [backend, reward] = await unlessAborted(opening, signal);
    try {
      return await work({ backend, reward });
    } finally {
      const closing = backend.dispose();
      if (!signal.aborted) await closing;
      else closing.catch(() => undefined);
    }
  });
}

/** Works on a run until it ends, prints its result, and returns the exit code. `more` is asked at the end what else the JSON says. */
export async function workOnPipeline(
  context: CommandContext,
  run: PipelineRun,
  models: Models,
  flags: RunFlags,
  more: () => Promise<object> = () => Promise.resolve({}),
): Promise<number> {
  const { terminal, signal } = context;
  const search = isRefinement(run.plan);
  const progress = await openProgress(terminal, { quiet: flags.quiet, unit: search ? "candidates" : "items" });
  const warn = (message: string): void => progress.log(warningLine(terminal, `warning: ${message}`));
  const options: FinishPipelineOptions = {
    signal,
    onProgress: ({ items, candidates, possible }) => {
      if (search) return progress.update({ finished: candidates, total: possible });
      const finished = items.finished + items.failed;
      return progress.update({
        finished,
        total: items.total,
        underway: Math.max(0, (candidates / possible) * items.total - finished),
        note: `${candidates} candidates${items.failed === 0 ? "" : `, ${items.failed} failed`}`,
      });
    },
    onWarning: warn,
  };
  try {
    run.manifest.warnings.forEach(warn);
    const manifest = await finishPipeline(run, models, options);
    progress.stop();
    if (search) {
      await printRefinement(terminal, run.directory, manifest, run.plan, flags);
      return manifest.items.failed > 0 ? EXIT.partial : EXIT.ok;
    }
    return await printPipeline(context, run, await more(), flags);
  } catch (error) {
    progress.stop();
    const { items, candidates, status } = run.manifest;
    const kept = `${items.finished} of ${items.total} items and ${candidates} candidates`;
    const resume = `laurel resume ${shownPath(run.directory)}`;
    if (error instanceof CancelledError)
      throw new CancelledError(`cancelled with ${kept}; finish it with: ${resume}`, { cause: error });
    progress.log(
      warningLine(
        terminal,
        `the run ${status === "paused" ? "is paused" : "stopped"} with ${kept}; go on with: ${resume}`,
      ),
    );
    throw error;
  }
}

/** Prints a run's result: one JSON object, or a table of its items. */
async function printPipeline(
  { terminal }: CommandContext,
  { directory, manifest, plan }: PipelineRun,
  more: object,
  flags: RunFlags,
): Promise<number> {
  const goals = plan.steps.flatMap((step) =>
    step.kind === "generate" && step.until !== undefined ? [step.until.images] : [],
  );
  const items: ItemLine[] = [];
  let missed = 0;
  const lines = await ItemLines.open(directory);
  for await (const line of lines) {
    if (flags.json === true) items.push(line);
    if (goals.some((images) => line.error === null && line.selected.length < images)) missed++;
  }
  await lines.close();
  if (flags.json === true) {
    printJson(terminal, {
      schemaVersion: 1,
      runId: manifest.runId,
      directory,
      name: manifest.name,
      status: manifest.status,
      items: items.map(({ selected, best, ...line }) => ({
        ...line,
        best: best === null ? null : { ...best, path: join(directory, best.image) },
        selected: selected.map((one) => ({ ...one, path: join(directory, one.image) })),
      })),
      candidates: manifest.candidates,
      evaluations: manifest.evaluations,
      warnings: manifest.warnings,
      ...more,
    });
  } else {
    await printItems(terminal, directory);
    if (flags.quiet !== true) {
      const { finished, failed, total } = manifest.items;
      const rate = manifest.candidates / Math.max(manifest.totalMs / 1000, 0.001);
      const { bold } = palette(terminal.stderr, terminal.environment);
      terminal.stderr.write(
        `${bold(`${finished} of ${total} items`)}${failed === 0 ? "" : `, ${failed} failed`}, ${manifest.candidates} candidates in ${duration(manifest.totalMs)} (${rate.toFixed(1)}/s)\n` +
          `report: ${shownPath(join(directory, RUN_FILES.report))}\n`,
      );
    }
  }
  if (manifest.items.failed > 0) return EXIT.partial;
  return missed > 0 ? EXIT.gate : EXIT.ok;
}

function printPlan(
  terminal: Terminal,
  plan: PipelinePlan,
  check: Check | undefined,
  flags: RunPipelineFlags,
  training: FinetuneSettings | undefined,
): void {
  const estimate = estimatePipeline(plan);
  const updates = training === undefined ? undefined : estimateTraining(training);
  if (flags.json === true) {
    const { name, file, digest, steps, backend, seed, items } = plan;
    const train = updates === undefined ? {} : { training: { settings: training, estimate: updates } };
    printJson(terminal, { schemaVersion: 1, name, file, digest, ...train, steps, backend, seed, items, estimate, check }); // prettier-ignore
    return;
  }
  const lines = [
    `pipeline   ${printable(plan.name)}`,
    `backend    ${check === undefined ? plan.backend.backend : printable(check.detail)}`,
    ...(training === undefined || updates === undefined
      ? []
      : [`training   ${training.method}, ${updates.updates} updates of ${updates.samples} samples, ${updates.validations} validations, at most ${updates.pictures} pictures drawn beside`]), // prettier-ignore
    `items      ${plan.promptsFromBackend ? "the prompts of the folder's pictures" : String(estimate.items)}`,
    `steps      ${plan.steps.map((step) => step.kind).join(" -> ")}`,
    `candidates at most ${plan.promptsFromBackend ? `${plan.candidatesPerItem} per prompt` : String(estimate.candidates)}`,
    ...(estimate.requests === null ? [] : [`requests   at most ${estimate.requests}`]),
    ...(estimate.cost === null
      ? []
      : [`cost       at most ${estimate.cost.amount.toFixed(2)} ${estimate.cost.currency}`]),
    ...plan.items
      .slice(0, 10)
      .map(
        (item) =>
          `  ${printable(item.id)}: ${shortened(printable(item.drawn))}${Object.keys(item.settings).length === 0 ? "" : ` ${JSON.stringify(item.settings)}`}`,
      ),
    ...(plan.items.length > 10 ? [`  and ${plan.items.length - 10} more`] : []),
  ];
  terminal.stdout.write(lines.map((line) => `${line}\n`).join(""));
  if (check?.status === "fail") {
    terminal.stderr.write(
      `${warningLine(terminal, `warning: the backend cannot be used now${check.hint === undefined ? "" : `: ${check.hint}`}`)}\n`,
    );
  }
}
