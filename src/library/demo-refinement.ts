/** @file Measures refinement on the demo models: free phrasings, refined and drawn as they stand with as many candidates, judged by the oracle. */

import { appendFile } from "node:fs/promises";
import { z } from "zod";
import { evaluationPrompts } from "../demo/dataset.js";
import { type Description, requireDescription } from "../demo/grammar.js";
import { judge } from "../demo/oracle.js";
import { phrase, type PhrasingSplit } from "../demo/phrasings.js";
import { createRandom } from "../demo/random.js";
import type { RgbImage } from "../image/types.js";
import type { Strategy } from "../strategies/contract.js";
import { conclude, type Draw } from "../strategies/refine/conclusion.js";
import { readKeptLines } from "../util/kept-lines.js";
import { bootstrap, type Interval, mean } from "../util/statistics.js";
import { generate } from "./generate.js";
import type { Models } from "./models.js";

const armSchema = z.strictObject({
  /** Whether the oracle reads every stated fact from the chosen picture. */
  holds: z.boolean(),
  /** Of the chosen picture. */
  score: z.number().nullable(),
  /** Share of pictures that the oracle accepts: all of best-of-n, those of the chosen prompt on the fresh seeds of refinement. */
  share: z.number(),
});

const measuredSchema = z.strictObject({
  index: z.number().int().nonnegative(),
  budget: z.number().int().positive(),
  split: z.enum(["train", "held-out"]),
  vocabulary: z.string(),
  /** The canonical prompt, which neither side sees. */
  canonical: z.string(),
  prompt: z.string(),
  refined: z.string(),
  bestOfN: armSchema,
  refine: armSchema,
});

/** One phrasing, drawn both ways. */
export type MeasuredPhrasing = z.infer<typeof measuredSchema>;

/** What {@link measureRefinement} works with. */
export interface RefinementMeasurement {
  readonly models: Models;
  readonly strategy: Strategy;
  /** Told in the records, so that those of another vocabulary are not taken for these. */
  readonly vocabulary: string;
  readonly phrasings: number;
  /** Candidates of each of the two. */
  readonly budget: number;
  readonly split: PhrasingSplit;
  /** File of one JSON line per phrasing; what it has is not measured again. @default nothing is kept */
  readonly file?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((finished: number) => void) | undefined;
}

/**
 * Draws every phrasing twice with the same seeds and as many candidates, confirmation included: as it stands, and refined.
 * @throws UsageError when `file` holds something else; CancelledError
 */
export async function measureRefinement(options: RefinementMeasurement): Promise<MeasuredPhrasing[]> {
  const { budget, split, vocabulary, file } = options;
  const known = new Map<number, MeasuredPhrasing>();
  for (const one of file === undefined ? [] : await readKeptLines(file, measuredSchema, "a measured phrasing")) {
    if (one.budget === budget && one.split === split && one.vocabulary === vocabulary) known.set(one.index, one);
  }
  const measured: MeasuredPhrasing[] = [];
  for (const [index, canonical] of evaluationPrompts(options.phrasings).entries()) {
    let one = known.get(index);
    if (one === undefined) {
      one = await measureOne(options, index, canonical);
      if (file !== undefined) await appendFile(file, `${JSON.stringify(one)}\n`);
    }
    measured.push(one);
    options.onProgress?.(measured.length);
  }
  return measured;
}

async function measureOne(
  { models, strategy, budget, split, vocabulary, signal }: RefinementMeasurement,
  index: number,
  canonical: string,
): Promise<MeasuredPhrasing> {
  const description = requireDescription(canonical);
  const prompt = phrase(createRandom(7000 + index), description, split);
  const request = { prompt, count: budget, seed: 500_000 + index * budget };
  const plain = await generate(models, request, { signal });
  const searched = await generate(models, request, { signal, strategy });

  const images = new Map(searched.candidates.map((one) => [one.index, one.image]));
  const draws = searched.candidates.flatMap(({ lineage: { refinement }, ...one }): Draw[] =>
    refinement === undefined ? [] : [{ ...one, refinement }],
  );
  const { winner, best } = conclude(draws, prompt);
  const own = draws.filter((draw) => draw.prompt === winner);
  const fresh = own.filter(({ refinement }) => refinement.phase === "confirm");
  const judged = (fresh.length > 0 ? fresh : own).map((draw) => images.get(draw.index));
  return {
    index,
    budget,
    split,
    vocabulary,
    canonical,
    prompt,
    refined: winner,
    bestOfN: {
      holds: holds(description, plain.best?.image),
      score: plain.best?.score ?? null,
      share: mean(plain.candidates.map(({ image }) => Number(holds(description, image)))),
    },
    refine: {
      holds: holds(description, best === null ? undefined : images.get(best.index)),
      score: best?.score ?? null,
      share: mean(judged.map((image) => Number(holds(description, image)))),
    },
  };
}

function holds(description: Description, image: RgbImage | undefined): boolean {
  return image !== undefined && judge(description, image).verdict === "holds";
}

/** Shares of phrasings or pictures, with 95 % intervals by bootstrap over the distinct descriptions. */
export interface RefinementFigures {
  readonly phrasings: number;
  readonly descriptions: number;
  readonly budget: number;
  /** The oracle accepts the chosen picture. */
  readonly chosen: ArmFigures;
  /** The oracle accepts a picture of the prompt, unchosen. */
  readonly single: ArmFigures;
  /** Score of the chosen picture, which both sides choose by. */
  readonly score: ArmFigures;
  /** Share of phrasings whose prompt was replaced. */
  readonly replaced: Interval;
}

/** Both sides and their paired difference. */
export interface ArmFigures {
  readonly bestOfN: Interval;
  readonly refine: Interval;
  readonly difference: Interval;
}

/** The figures of what was measured. */
export function refinementFigures(measured: readonly MeasuredPhrasing[]): RefinementFigures {
  const groups = new Map<string, MeasuredPhrasing[]>();
  for (const one of measured) groups.set(one.canonical, [...(groups.get(one.canonical) ?? []), one]);
  const over = (value: (one: MeasuredPhrasing) => number): Interval =>
    bootstrap([...groups.values()], (sample) => mean(sample.flat().map(value)));
  const arms = (value: (arm: MeasuredPhrasing["refine"]) => number): ArmFigures => ({
    bestOfN: over(({ bestOfN }) => value(bestOfN)),
    refine: over(({ refine }) => value(refine)),
    difference: over(({ bestOfN, refine }) => value(refine) - value(bestOfN)),
  });
  return {
    phrasings: measured.length,
    descriptions: groups.size,
    budget: measured[0]?.budget ?? 0,
    chosen: arms(({ holds }) => Number(holds)),
    single: arms(({ share }) => share),
    score: arms(({ score }) => score ?? Number.NaN),
    replaced: over(({ prompt, refined }) => Number(prompt !== refined)),
  };
}
