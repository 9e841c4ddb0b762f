/** @file `laurel compare`: strategies against each other at the same compute. */

import { resolve } from "node:path";
import { evaluationPrompts } from "../../demo/dataset.js";
import { EXIT, UsageError } from "../../errors.js";
import { parseCompared } from "../../library/compared-strategies.js";
import { type StrategyMeasurement } from "../../library/compare-strategies.js";
import { writeComparison } from "../../library/comparison-files.js";
import type { Models } from "../../library/models.js";
import { readPrompts } from "../../prompts/prompt-file.js";
import { expectMeans } from "../../strategies/check.js";
import { STRATEGY_NAMES } from "../../strategies/names.js";
import type { Action } from "../context.js";
import { comparisonMarkdown, comparisonText } from "../comparison.js";
import { type JudgeSources, judgesOf } from "../judges.js";
import { printJson, shownPath, warningLine } from "../output.js";
import { openProgress } from "../progress.js";
import type { CompareFlags } from "./compare.entry.js";
import { generatorOf } from "./generator.js";
import { withModels } from "./run-command.js";

export const compare: Action<CompareFlags> = async (context, _, flags) => {
  const { terminal, signal } = context;
  const generator = await generatorOf(flags);
  const isDemo = generator.backend === null && generator.model === null;
  const budgets = budgetsOf(flags.budget);
  const prompts = await promptsOf(flags, isDemo);
  const sources = { ...generator, ...heldOutOf(flags, isDemo) };
  const settings = { steps: flags.steps, guidance: flags.guidance, sampler: flags.sampler };
  return withModels(context, sources, async ({ backend, reward, session }) => {
    const names = flags.strategies === undefined ? undefined : separated(flags.strategies);
    const strategies = parseCompared(names ?? defaultStrategies({ backend, reward }), { backend, reward });
    const baseline = parseCompared([flags.baseline ?? "best-of-n"], { backend, reward })[0]!.name;
    const measurement: StrategyMeasurement = {
      models: { backend, reward },
      strategies: strategies.some(({ name }) => name === baseline)
        ? strategies
        : [...parseCompared([baseline], { backend, reward }), ...strategies],
      budgets,
      prompts,
      seeds: flags.seeds,
      settings,
      oracle: flags.oracle === true || (flags.prompts === undefined && isDemo),
      directory: resolve(flags.out),
      programMs: () => session.programMs(),
      signal,
    };
    const progress = await openProgress(terminal, { quiet: flags.quiet, unit: "searches" });
    const { comparison, report } = await writeComparison(
      {
        ...measurement,
        onProgress: (finished, total, strategy) => progress.update({ finished, total, note: strategy }),
        onWarning: (message) => progress.log(warningLine(terminal, `warning: ${message}`)),
      },
      { baseline, command: commandLine(flags, measurement) },
    ).finally(() => progress.stop());
    if (flags.json === true) printJson(terminal, { schemaVersion: 1, ...comparison });
    else
      terminal.stdout.write(
        flags.markdown === true ? comparisonMarkdown(comparison) : comparisonText(comparison, terminal.stdout.columns),
      );
    if (flags.quiet !== true && flags.json !== true) terminal.stderr.write(`page: ${shownPath(report)}\n`);
    return EXIT.ok;
  });
};

/** A command line that makes the same comparison, as far as the page can tell. */
function commandLine(flags: CompareFlags, { strategies, budgets, seeds }: StrategyMeasurement): string {
  const named = Object.entries({
    strategies: strategies.map(({ name }) => name).join(","),
    budget: budgets.join(","),
    prompts: flags.prompts,
    limit: flags.limit,
    seeds,
    steps: flags.steps,
    guidance: flags.guidance,
    sampler: flags.sampler,
    model: flags.model,
    backend: flags.backend,
    reward: flags.reward?.join(","),
    "reward-model": flags.rewardModel,
    "held-out": flags.heldOut?.join(","),
  });
  const said = named.flatMap(([name, value]) => (value === undefined ? [] : [`--${name} ${value}`]));
  return ["laurel compare", ...said].join(" ");
}

/** All that backend and reward allow. Prompts are refined by `laurel refine` and its own measurement. */
function defaultStrategies(models: Models): string[] {
  return STRATEGY_NAMES.filter((name) => {
    if (name === "refine") return false;
    try {
      expectMeans(name, models);
      return true;
    } catch (error) {
      if (error instanceof UsageError) return false;
      throw error;
    }
  });
}

function separated(texts: readonly string[]): string[] {
  return texts.flatMap((text) => text.split(",")).map((text) => text.trim());
}

/** @throws UsageError for what is no number of pictures */
function budgetsOf(texts: readonly string[] = ["4,8,16"]): number[] {
  const budgets = separated(texts).map((text) => {
    if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
    throw new UsageError(`--budget: expected numbers of pictures from 1 to 9999, got ${JSON.stringify(text)}`);
  });
  return [...new Set(budgets)].sort((a, b) => a - b);
}

async function promptsOf({ prompts: path, limit, oracle }: CompareFlags, isDemo: boolean): Promise<string[]> {
  if (path !== undefined) return (await readPrompts({ file: path, limit })).map(({ prompt }) => prompt);
  if (isDemo || oracle === true) return evaluationPrompts(limit);
  throw new UsageError("--prompts: expected a file of prompts for a model that is not the demo model, got none");
}

/** The demo reward is watched by the demo world's other judge. */
function heldOutOf(flags: CompareFlags, isDemo: boolean): JudgeSources {
  const judges = judgesOf(flags);
  const watched = flags.heldOut !== undefined || flags.reward !== undefined || flags.rewardModel !== undefined;
  return isDemo && !watched ? { ...judges, heldOut: ["clip-score"] } : judges;
}
