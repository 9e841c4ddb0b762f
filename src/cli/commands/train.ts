/** @file `laurel train`: fine-tunes a model, or goes on with it. */

import { CancelledError, EXIT, UsageError } from "../../errors.js";
import { resumeTraining, trainModel, type TrainModelEvents, type TrainModelResult } from "../../library/train.js";
import type { RewardPart } from "../../library/export-reward.js";
import type { FinetuneMethod } from "../../training/finetune/methods.js";
import { createTrainingProgress } from "../../training/finetune/progress.js";
import { formatDuration } from "../../training/progress.js";
import type { Action, CommandContext } from "../context.js";
import { palette, printable, printJson, shownPath, table, type Terminal, wantsAnimation, warningLine, warnTo } from "../output.js"; // prettier-ignore
import { changesOf } from "../changes.js";
import type { TrainFlags } from "./train.entry.js";

/** The command of a method. */
export const train =
  (method: FinetuneMethod): Action<TrainFlags> =>
  async (context, _, flags) => {
    const { model, prompts, validationPrompts, width, height, memory, threads, device, config, resume } = flags;
    const resumeWith = (directory: string): string => `laurel train ${method} --resume ${shownPath(directory)}`;
    const finish = (result: TrainModelResult): number => {
      printTraining(context.terminal, result, flags);
      return EXIT.ok;
    };
    const common = { method, config, memory, threads, executionProvider: device, set: settingsOf(method, flags) };
    if (resume === undefined) {
      const rewards = flags.reward?.map(rewardOf);
      const { heldOut, out } = flags;
      const options = { ...common, model, rewards, heldOut, prompts, validationPrompts, size: { width, height }, out };
      return finish(await followTraining(context, flags, resumeWith, (more) => trainModel({ ...options, ...more })));
    }
    const fixed = (["model", "reward", "heldOut", "prompts", "validationPrompts", "width", "height"] as const).filter((name) => flags[name] !== undefined); // prettier-ignore
    if (fixed.length > 0)
      throw new UsageError(`--resume: expected a run with what it began with, got ${fixed.join(", ")} beside it`);
    return finish(
      await followTraining(context, flags, resumeWith, (more) => resumeTraining(resume, { ...common, ...more })),
    );
  };

/** How a training is shown. */
export interface TrainOutput {
  readonly json?: true | undefined;
  readonly quiet?: true | undefined;
}

/**
 * Runs a training with its progress on stderr.
 * @param resume the command that goes on with the run in a folder
 * @throws CancelledError when it was stopped, saying how to go on
 */
export async function followTraining(
  { terminal, signal }: CommandContext,
  flags: TrainOutput,
  resume: (directory: string) => string,
  run: (options: { signal: AbortSignal; events: TrainModelEvents }) => Promise<TrainModelResult>,
): Promise<TrainModelResult> {
  const progress = createEvents(terminal, flags.quiet === true);
  let result: TrainModelResult;
  try {
    result = await run({ signal, events: progress.events });
  } catch (error) {
    progress.end();
    const directory = progress.directory();
    if (directory !== undefined && !(error instanceof CancelledError))
      terminal.stderr.write(`${warningLine(terminal, `the run stopped; go on with: ${resume(directory)}`)}\n`);
    throw error;
  }
  progress.end();
  const { directory, step, steps, status } = result;
  if (status === "stopped")
    throw new CancelledError(`stopped after step ${step} of ${steps}; go on with: ${resume(directory)}`);
  return result;
}

/** `name`, `path` or either with `=weight`. */
function rewardOf(text: string): RewardPart {
  const [, reward = text, weight] = /^(.+)=([^=/\\]*)$/.exec(text) ?? [];
  if (weight === undefined) return { reward };
  const number = Number(weight);
  if (weight.trim() === "" || !(number > 0) || !Number.isFinite(number))
    throw new UsageError(`--reward ${text}: expected a weight above 0 behind the =, got ${JSON.stringify(weight)}`);
  return { reward, weight: number };
}

/** The options that stand for settings, over those of `--set`. */
function settingsOf(method: FinetuneMethod, flags: TrainFlags): Record<string, string> {
  const { steps, batch, seed, rank, learningRate, images, pairs } = flags;
  const given: Readonly<Record<string, number | string | boolean | null | undefined>> = {
    steps,
    batchSize: batch,
    seed,
    "train.rank": rank,
    "optimizer.schedule.learningRate": learningRate,
    [method === "sft" ? "images" : "pretrain.images"]: images,
    pairs,
    "guards.alarm": flags.alarm ? undefined : false,
    "guards.standardErrors": flags.hackingGuard ? undefined : null,
    "guards.diversityFloor": flags.diversityGuard ? undefined : null,
    "guards.divergenceLimit": flags.divergenceGuard ? undefined : null,
    // last: it leaves nothing for the others to change
    guards: flags.guards ? undefined : null,
  };
  const said = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, JSON.stringify(value)]])); // prettier-ignore
  return { ...changesOf(flags.set), ...(Object.fromEntries(said) as Record<string, string>) };
}

/** Shows a training on stderr. */
function createEvents(
  terminal: Terminal,
  quiet: boolean,
): { readonly events: TrainModelEvents; directory(): string | undefined; end(): void } {
  const { stderr, environment } = terminal;
  const warn = warnTo(terminal);
  let directory: string | undefined;
  let shown: ReturnType<typeof createTrainingProgress> | undefined;
  // a verdict's warnings are told with it
  const told = new Set<string>();
  const events: TrainModelEvents = {
    onStart({ settings, consequences, step, ...run }) {
      ({ directory } = run);
      for (const text of consequences) warn(text);
      if (quiet) return;
      stderr.write(`${settings.method}: ${step === 0 ? "" : "going on, "}${shownPath(run.directory)}\n`);
      shown = createTrainingProgress(stderr, {
        label: settings.method,
        steps: settings.steps,
        colours: palette(stderr, environment),
        animate: wantsAnimation(stderr, environment),
      });
    },
    onPreparation(what, done, of) {
      if (!quiet && (done === of || wantsAnimation(stderr, environment)))
        stderr.write(done === of ? `${what}: ${of}\n` : `${what}: ${done}/${of}\r`);
    },
    onStep: (record) => shown?.onStep(record),
    onValidation(record, verdict) {
      for (const text of verdict?.warnings ?? []) told.add(text);
      shown?.onValidation(record, verdict);
    },
    onWarning(text) {
      if (shown === undefined) warn(text);
      else if (!told.has(text)) shown.onWarning(text);
    },
  };
  return { events, directory: () => directory, end: () => shown?.end() };
}

/** One JSON object, or the result's path on stdout unless `path` is false; what the validations say of it on stderr. */
export function printTraining(
  terminal: Terminal,
  result: TrainModelResult,
  { json, quiet, path = true }: TrainOutput & { readonly path?: boolean },
): void {
  if (json === true) return printJson(terminal, { schemaVersion: 1, ...result });
  const { method, step, seconds, kept, reason, rewards, diversity, report } = result;
  const { stderr } = terminal;
  if (quiet !== true) {
    const number = (value: number | null): string => (value === null ? "" : value.toFixed(4));
    const rows = [
      ...rewards.map((one) => [printable(one.name), one.heldOut ? "held out" : "guide", number(one.base), number(one.kept), number(one.last)]), // prettier-ignore
      ...(diversity === null ? [] : [["diversity", "bits", number(diversity.base), number(diversity.kept), number(diversity.last)]]), // prettier-ignore
    ];
    if (rows.length > 0) {
      const right = (title: string) => ({ title, align: "right" as const });
      stderr.write(table([{ title: "validation" }, { title: "" }, right("base"), right("kept"), right("last")], rows));
    }
    if (reason !== null) stderr.write(`${warningLine(terminal, `stopped by a guard: ${reason}`)}\n`);
    if (kept !== null) stderr.write(`kept ${printable(kept.reason)}\n`);
    stderr.write(`${method}: ${step} updates in ${formatDuration(seconds)}\nreport: ${shownPath(report)}\n`);
  }
  if (path && result.result !== null) terminal.stdout.write(`${shownPath(result.result.path)}\n`);
}
