/** @file A comparison of strategies as files: the figures as JSON, and a page to show. */

import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { compareStrategies, type StrategyComparison } from "../evaluation/strategy-comparison.js";
import { packageVersion } from "../pipeline/package-info.js";
import { comparisonPage, type ComparisonExample } from "../report/comparison-page.js";
import { embed } from "../report/embed.js";
import { writeFileAtomic } from "../util/files.js";
import {
  COMPARISON_FILES,
  comparedMetrics,
  EXAMPLES,
  examplePath,
  measureStrategies,
  type MeasuredTrial,
  type StrategyMeasurement,
} from "./compare-strategies.js";
import { completeRequest } from "./generate.js";
import { modelRecords } from "./models.js";

/** A comparison that was written. */
export interface WrittenComparison {
  readonly comparison: StrategyComparison;
  /** The page, absolute where the measurement's folder is. */
  readonly report: string;
}

/**
 * Measures what the folder lacks, and writes figures and page.
 * @param told `baseline` is the strategy that the others are compared with, `command` the command line that makes it, for the page
 * @throws as {@link measureStrategies}
 */
export async function writeComparison(
  measurement: StrategyMeasurement,
  told: { readonly baseline: string; readonly command: string },
): Promise<WrittenComparison> {
  const { directory, models, settings, prompts } = measurement;
  const trials = await measureStrategies(measurement);
  const comparison = compareStrategies(trials, told.baseline, comparedMetrics(measurement));
  await writeFileAtomic(
    join(directory, COMPARISON_FILES.figures),
    `${JSON.stringify({ schemaVersion: 1, ...comparison }, null, 2)}\n`,
  );
  const { request } = completeRequest(models, { ...settings, prompt: prompts[0]!, count: 1, seed: 0 });
  const { backend, reward } = await modelRecords(models);
  const page = comparisonPage(comparison, {
    title: `${comparison.strategies.length} strategies at the same compute`,
    runId: basename(directory),
    generator: backend.model,
    guide: reward.name,
    sampler: request.sampler ?? "-",
    steps: String(request.steps ?? "-"),
    guidance: String(request.guidance ?? "-"),
    date: new Date().toISOString(),
    version: packageVersion(),
    command: told.command,
    examples: await examplesOf(measurement, trials),
  });
  const report = join(directory, COMPARISON_FILES.report);
  await writeFileAtomic(report, page);
  return { comparison, report };
}

/** The chosen pictures of the first prompts at the smallest budget. */
async function examplesOf(
  { directory, strategies, budgets, prompts }: StrategyMeasurement,
  trials: readonly MeasuredTrial[],
): Promise<ComparisonExample[]> {
  const budget = Math.min(...budgets);
  const examples: ComparisonExample[] = [];
  for (const [index, prompt] of prompts.slice(0, EXAMPLES).entries()) {
    const pictures: ComparisonExample["pictures"][number][] = [];
    for (const { name: strategy } of strategies) {
      const trial = trials.find((one) => one.strategy === strategy && one.budget === budget && one.index === index && one.repeat === 0); // prettier-ignore
      const path = examplePath(directory, strategy, { budget, index });
      if (trial?.size === undefined || !existsSync(path)) continue;
      const { guide, holds } = trial.metrics;
      const image = await embed(path, trial.size, true);
      pictures.push({
        strategy,
        image,
        guide: guide ?? Number.NaN,
        holds: typeof holds === "number" ? holds === 1 : null,
      });
    }
    if (pictures.length > 0) examples.push({ prompt, budget, pictures });
  }
  return examples;
}
