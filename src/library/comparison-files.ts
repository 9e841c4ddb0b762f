/** @file A comparison of strategies as files: the figures as JSON. */

import { join } from "node:path";
import { compareStrategies, type StrategyComparison } from "../evaluation/strategy-comparison.js";
import { writeFileAtomic } from "../util/files.js";
import {
  COMPARISON_FILES,
  comparedMetrics,
  measureStrategies,
  type StrategyMeasurement,
} from "./compare-strategies.js";

/**
 * Measures what the folder lacks, and writes figures and page.
 * @returns the figures, and where the page lies
 * @throws as {@link measureStrategies}
 */
export async function writeComparison(
  measurement: StrategyMeasurement,
  baseline: string,
): Promise<{ readonly comparison: StrategyComparison; readonly report: string }> {
  const trials = await measureStrategies(measurement);
  const comparison = compareStrategies(trials, baseline, comparedMetrics(measurement));
  const path = (name: keyof typeof COMPARISON_FILES): string => join(measurement.directory, COMPARISON_FILES[name]);
  await writeFileAtomic(path("figures"), `${JSON.stringify({ schemaVersion: 1, ...comparison }, null, 2)}\n`);
  return { comparison, report: path("report") };
}
