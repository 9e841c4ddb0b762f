/** @file `laurel eval models`: mean scores of generators, and their rank correlation with people's opinion. */

import { resolve } from "node:path";
import { EXIT, UsageError } from "../../errors.js";
import {
  compareGenerators,
  findGeneratorPictures,
  type GeneratorComparison,
  readRankedGenerators,
} from "../../library/eval-models.js";
import type { Interval } from "../../util/statistics.js";
import type { Action } from "../context.js";
import { evaluated, expectEvaluated, tellRemarks } from "../evaluation.js";
import { printable, printJson, table } from "../output.js";
import type { EvalModelsFlags } from "./eval-models.entry.js";

export const evalModels: Action<EvalModelsFlags> = async (context, [file = ""], flags) => {
  const { terminal } = context;
  expectEvaluated(flags);
  if (flags.prompts === undefined) throw new UsageError("--prompts: expected the file of prompts, got none");
  const generators = await readRankedGenerators(file, flags.images);
  const prompts = await findGeneratorPictures(generators, flags.prompts);
  const identity = JSON.stringify(prompts);
  const rewards = await evaluated(context, flags, { prompts, kind: "generators", identity });
  const compared = rewards.models.map(({ name, scores, file: kept }) => ({
    name,
    scores: kept,
    ...compareGenerators(generators, prompts, scores),
  }));
  if (flags.json === true) {
    const warnings = [...rewards.warnings, ...rewards.unreadable];
    printJson(terminal, { schemaVersion: 1, file: resolve(file), rewards: compared, warnings });
  } else terminal.stdout.write(generatorsTable(compared));
  tellRemarks(context, rewards, flags);
  if (flags.quiet !== true && flags.json !== true) {
    terminal.stderr.write(`means over ${compared[0]!.prompts} prompts, with 95 % intervals over prompts\n`);
  }
  return rewards.unreadable.length === 0 ? EXIT.ok : EXIT.partial;
};

/** A row for each generator in people's order, then the correlation; for each reward a rank and a score. */
function generatorsTable(compared: readonly (GeneratorComparison & { readonly name: string })[]): string {
  const columns = compared.flatMap(({ name }) => [
    { title: "rank", align: "right" as const },
    { title: printable(name) },
  ]);
  const rows = compared[0]!.generators.map(({ name, humanRank }) => [
    printable(name),
    String(humanRank),
    ...compared.flatMap(({ generators }) => {
      const { rank, score } = generators.find((one) => one.name === name)!;
      return [String(rank), interval(score, 4)];
    }),
  ]);
  const last = ["Spearman", "", ...compared.flatMap(({ spearman }) => ["", interval(spearman, 2)])];
  return table([{ title: "generator" }, { title: "people", align: "right" }, ...columns], [...rows, last]);
}

/** `0.2614 (0.2010 to 0.3201)` */
function interval({ estimate, low, high }: Interval, digits: number): string {
  if (Number.isNaN(estimate)) return "-";
  const shown = (value: number): string => value.toFixed(digits);
  return low === high ? shown(estimate) : `${shown(estimate)} (${shown(low)} to ${shown(high)})`;
}
