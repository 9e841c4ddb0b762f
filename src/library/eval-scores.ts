/** @file Scores of many prompts' pictures, kept in a file of JSON lines, so that a long evaluation can be interrupted and goes on. */

import { appendFile, mkdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { UsageError } from "../errors.js";
import type { Reward } from "../rewards/contract.js";
import { readKeptLines } from "../util/kept-lines.js";
import { readRows } from "../util/rows.js";
import { DocumentError, type Fault } from "../util/yaml/located.js";
import { modelRecord } from "./models.js";
import { scoreFiles } from "./score-files.js";

/** The pictures of one prompt. */
export interface PromptPictures {
  /** Names it among the others. */
  readonly id: string;
  readonly prompt: string;
  /** Paths. */
  readonly pictures: readonly string[];
}

/** Scores by {@link PromptPictures.id}, in the order of the pictures; null where the reward gave no finite number. */
export type ScoresById = ReadonlyMap<string, readonly (number | null)[]>;

/** A line, with the names that ImageReward's own scripts write. */
const scoredSchema = z.object({
  id: z.string(),
  prompt: z.string().optional(),
  rewards: z.array(z.number().nullable()),
});

/** What {@link scorePrompts} gives. */
export interface ScoredPrompts {
  readonly scores: ScoresById;
  /** Pictures that could not be read, with why; their prompts have no scores. */
  readonly unreadable: readonly string[];
  /** What deviates from what was asked, each once. */
  readonly warnings: readonly string[];
}

/** How {@link scorePrompts} works. */
export interface ScorePromptsOptions {
  /** File of one JSON line a prompt; what it has is not scored again. @default nothing is kept */
  readonly file?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the number of pictures that are scored. */
  readonly onProgress?: ((finished: number) => void) | undefined;
}

/**
 * Scores pictures against their prompts, prompt by prompt.
 * @throws UsageError when `file` holds something else; CancelledError when `signal` aborts: what is scored by then is in `file`
 */
export async function scorePrompts(
  reward: Reward,
  prompts: readonly PromptPictures[],
  { file, signal, onProgress }: ScorePromptsOptions = {},
): Promise<ScoredPrompts> {
  const kept = new Map<string, z.infer<typeof scoredSchema>>();
  if (file !== undefined) {
    await mkdir(dirname(file), { recursive: true });
    for (const line of await readKeptLines(file, scoredSchema, "a scored prompt")) kept.set(line.id, line);
  }
  const scores = new Map<string, readonly (number | null)[]>();
  const unreadable: string[] = [];
  const warnings = new Set<string>();
  let finished = 0;
  for (const { id, prompt, pictures } of prompts) {
    const known = kept.get(id);
    if (known?.prompt === prompt && known.rewards.length === pictures.length) scores.set(id, known.rewards);
    else {
      const scored = await scoreFiles(reward, prompt, pictures, signal === undefined ? {} : { signal });
      scored.warnings.forEach((message) => warnings.add(message));
      const faults = scored.results.flatMap(({ error }) => error ?? []);
      unreadable.push(...faults);
      if (faults.length === 0) {
        const rewards = scored.results.map(({ score }) => score);
        scores.set(id, rewards);
        if (file !== undefined) await appendFile(file, `${JSON.stringify({ id, prompt, rewards })}\n`);
      }
    }
    finished += pictures.length;
    onProgress?.(finished);
  }
  return { scores, unreadable, warnings: [...warnings] };
}

/** Where a reward's scores are kept in `folder`: a name that tells its weights apart from others of the same name. */
export async function keptScoresFile(folder: string, reward: Reward): Promise<string> {
  const { name, model, digest } = await modelRecord(reward);
  const safe = `${name}-${digest?.slice(0, 12) ?? model}`.replace(/[^\w.=-]+/g, "_");
  return join(folder, `${safe}.jsonl`);
}

/**
 * Reads scores that are there already: what {@link scorePrompts} kept, or the `test_<model>.json` that ImageReward's test.py writes. What it has of other
 * prompts is left out.
 * @throws UsageError when it cannot be read; DocumentError naming every prompt without scores, or with too few or too many
 */
export async function readScores(file: string, prompts: readonly PromptPictures[]): Promise<ScoresById> {
  const faults: Fault[] = [];
  const found = new Map<string, readonly (number | null)[]>();
  for (const { value, place } of await readRows(file, "scores")) {
    const parsed = scoredSchema.safeParse(value);
    if (parsed.success) found.set(parsed.data.id, parsed.data.rewards);
    else faults.push({ place, message: "expected an id and rewards, a list of numbers or null" });
  }
  const place = { file, line: 0, column: 0 };
  for (const { id, pictures } of faults.length > 0 ? [] : prompts) {
    const count = found.get(id)?.length;
    if (count === pictures.length) continue;
    const actual = count === undefined ? "none" : String(count);
    faults.push({ place, message: `expected ${pictures.length} rewards of ${id}, got ${actual}` });
  }
  if (faults.length > 0) throw new DocumentError(faults);
  return new Map(prompts.map(({ id }) => [id, found.get(id)!]));
}

/** @throws UsageError when pictures are missing, with how many and the first */
export async function expectPictures(where: string, prompts: readonly PromptPictures[]): Promise<void> {
  const paths = [...new Set(prompts.flatMap(({ pictures }) => pictures.map((path) => resolve(path))))];
  const missing: string[] = [];
  for (const path of paths) if ((await stat(path).catch(() => undefined))?.isFile() !== true) missing.push(path);
  if (missing.length === 0) return;
  throw new UsageError(
    `${where}: expected ${paths.length} pictures, got ${missing.length} of them missing, the first ${missing[0]}`,
  );
}
