/** @file How well rewards agree with people's rankings of pictures, in the form of ImageReward's `data/test.json`. */

import { resolve } from "node:path";
import { z } from "zod";
import { UsageError } from "../errors.js";
import {
  chanceFigures,
  type JudgedPictures,
  type PreferenceFigures,
  preferenceFigures,
} from "../evaluation/preferences.js";
import { readRows } from "../util/rows.js";
import { DocumentError, type Fault } from "../util/yaml/located.js";
import type { PromptPictures, ScoresById } from "./eval-scores.js";

/** A prompt with its pictures and how people ranked them. */
export interface RankedPrompt extends PromptPictures {
  /** One a picture; lower is better, equal where people saw no difference. */
  readonly ranking: readonly number[];
}

const entrySchema = z
  .object({
    id: z.string().min(1),
    prompt: z.string().min(1),
    generations: z.array(z.string().min(1)).min(2),
    ranking: z.array(z.number()),
  })
  .refine(({ generations, ranking }) => generations.length === ranking.length, {
    message: "expected a rank for each of the generations",
    path: ["ranking"],
  });

/**
 * Reads people's rankings: a list, or JSON lines, of `{id, prompt, generations, ranking}`, as in ImageReward's `data/test.json`.
 * @param images folder that the names of pictures are relative to
 * @throws UsageError when it cannot be read or is empty; DocumentError naming every entry that is not sound, or has the id of another
 */
export async function readRankedPrompts(file: string, images: string): Promise<RankedPrompt[]> {
  const faults: Fault[] = [];
  const ids = new Set<string>();
  const prompts: RankedPrompt[] = [];
  for (const { value, place } of await readRows(file, "ranked pictures")) {
    const parsed = entrySchema.safeParse(value);
    if (!parsed.success) {
      const { path, message } = parsed.error.issues[0]!;
      faults.push({ place, message: `${path.join(".") || "entry"}: ${message}` });
      continue;
    }
    const { id, prompt, generations, ranking } = parsed.data;
    if (ids.has(id)) faults.push({ place, message: `id: expected each once, got ${JSON.stringify(id)} again` });
    ids.add(id);
    prompts.push({ id, prompt, pictures: generations.map((name) => resolve(images, name)), ranking });
  }
  if (faults.length > 0) throw new DocumentError(faults);
  if (prompts.length === 0) throw new UsageError(`${file}: expected ranked pictures, got none`);
  return prompts;
}

/** One model's scores. */
export interface NamedScores {
  readonly name: string;
  readonly scores: ScoresById;
}

/** What {@link comparePreferences} gives. */
export interface PreferenceComparison {
  /** Figures of each, in their order. */
  readonly rewards: readonly { readonly name: string; readonly figures: PreferenceFigures }[];
  /** What scores by chance give on the same prompts. */
  readonly chance: PreferenceFigures;
  /** Prompts that one of them has no scores of; no figure counts them. */
  readonly leftOut: readonly string[];
}

/** Compares models on the prompts that all of them have scores of. @throws UsageError when there is no such prompt */
export function comparePreferences(
  prompts: readonly RankedPrompt[],
  models: readonly NamedScores[],
): PreferenceComparison {
  const scored = prompts.filter(({ id }) => models.every(({ scores }) => scores.has(id)));
  if (scored.length === 0)
    throw new UsageError(`expected a prompt whose pictures all have scores, got none of ${prompts.length}`);
  const judged = (scores: ScoresById): JudgedPictures[] =>
    scored.map(({ id, ranking }) => ({ ranking, scores: scores.get(id)!.map((score) => score ?? Number.NaN) }));
  return {
    rewards: models.map(({ name, scores }) => ({ name, figures: preferenceFigures(judged(scores)) })),
    chance: chanceFigures(scored),
    leftOut: prompts.flatMap(({ id }) => (scored.some((one) => one.id === id) ? [] : id)),
  };
}
