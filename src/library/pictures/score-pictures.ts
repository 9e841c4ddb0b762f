/** @file Pictures of any number scored, each against its own prompt or all against one; what is known from before is not scored again. */

import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { CancelledError, LaurelError, UsageError } from "../../errors.js";
import { walkPictures } from "../../image/walk-pictures.js";
import type { Reward } from "../../rewards/contract.js";
import { ahead, detailsOf } from "../../strategies/drawing.js";
import { unlessAborted } from "../../util/abort.js";
import { sha256 } from "../../util/files.js";
import { rewardRecords, type RewardRecords } from "../models.js";
import { PictureCounts } from "./counts.js";
import type { PictureScore, PromptsFrom } from "./picture-score.js";
import { type Facts, type Prepared, preparePictures, toldOf } from "./prepare-pictures.js";
import { INDEX_NAME, ScoreIndex } from "./score-index.js";
import { ScoredPictures } from "./scored-pictures.js";
import { writeScore } from "./write-score.js";

/** How pictures are scored. */
export interface ScorePicturesOptions {
  /** One prompt for all. @default each picture's own */
  readonly prompt?: string | undefined;
  /** Where pictures' own prompts are looked for. @default "any" */
  readonly prompts?: PromptsFrom | undefined;
  /**
   * The file that remembers scores, so that unchanged pictures are not scored again and interrupted work goes on; null remembers nothing.
   * @default `.laurel-scores.jsonl` in the folder when one folder is named, else null
   */
  readonly index?: string | null | undefined;
  /** Writes each score into its picture's metadata, see {@link writeScore}. @default false */
  readonly writeMetadata?: boolean | undefined;
  /** Folders that are not entered. */
  readonly exclude?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called for each picture, in the order they are found. @param found pictures that are known of so far */
  readonly onScored?: ((picture: PictureScore, found: number) => void | Promise<void>) | undefined;
}

/**
 * Scores the pictures that `names` stand for: files, folders (searched through) and patterns. A picture that cannot be read or has no prompt is one with a problem. Memory
 * does not grow with the pictures beyond some fifty bytes each; their rows are kept in the index and read from there. Close what is returned.
 * @throws UsageError for a pattern that matches nothing, or an index that another process works on; LaurelError for a full disk; CancelledError when `signal` aborts, with all
 * that was scored remembered; BackendError when the device died
 */
export async function scorePictures(
  reward: Reward,
  names: readonly string[],
  options: ScorePicturesOptions = {},
): Promise<ScoredPictures> {
  const { prompt, prompts = "any", signal } = options;
  const { index, warning } = await openIndex(names, options.index);
  try {
    const records = await rewardRecords(reward);
    const id = taskOf(records, prompt, prompts);
    if (index.size === 0) index.note(id, { reward: records, prompt: prompt ?? null, prompts });
    const counts = new PictureCounts();
    if (warning !== undefined) counts.warn(warning);
    const set = new ScoredPictures(index, records, counts);
    let found = 0;
    const walk = walkPictures(names, {
      exclude: [...(options.exclude ?? [])],
      onListed: (pictures) => (found += pictures),
    });
    const task = { id, index, prompt, prompts, signal, onPassedOver: counts.passOver };
    const work: Work = { reward, records, id, index, counts, set, options };
    const groups = preparePictures(walk, task);
    try {
      // the next group is read while the device scores this one
      for (let next = ahead(groups); ;) {
        const { value: group, done } = await next;
        if (done === true) break;
        next = ahead(groups);
        const scored = await scoreGroup(group, work);
        for (const one of scored) {
          const picture = await keep(one, work);
          await options.onScored?.(picture, found);
        }
        await index.flush();
      }
    } catch (error) {
      await groups.return().catch(() => undefined);
      if (!(error instanceof CancelledError)) throw error;
      const kept = options.index === null ? "" : "; they are remembered";
      throw new CancelledError(`cancelled with ${counts.summary().pictures} pictures done${kept}`, { cause: error });
    }
    return set;
  } catch (error) {
    await index.close().catch(() => undefined);
    throw error;
  }
}

/** Where scores of these names are remembered if nothing else is said: inside the one folder that is named; null for several, files and patterns. */
export async function defaultIndex(names: readonly string[]): Promise<string | null> {
  const [name] = names;
  if (names.length !== 1 || name === undefined) return null;
  return (await isFolder(name)) ? join(resolve(name), INDEX_NAME) : null;
}

/** What scoring works with. */
interface Work {
  readonly reward: Reward;
  readonly records: RewardRecords;
  readonly id: string;
  readonly index: ScoreIndex;
  readonly counts: PictureCounts;
  readonly set: ScoredPictures;
  readonly options: ScorePicturesOptions;
}

/** Scores what waits, prompt by prompt. @returns all of the group in its order, with facts as the index will have them */
async function scoreGroup(group: readonly Prepared[], { reward, options, counts }: Work): Promise<Prepared[]> {
  const { signal } = options;
  const prompts = new Map<string, number[]>();
  for (const [i, { image, facts }] of group.entries()) {
    if (image === undefined || facts.prompt === null) continue;
    prompts.set(facts.prompt, [...(prompts.get(facts.prompt) ?? []), i]);
  }
  const scored = [...group];
  for (const [prompt, places] of prompts) {
    const images = places.flatMap((i) => group[i]!.image ?? []);
    const result = await unlessAborted(reward.score(prompt, images, signal === undefined ? {} : { signal }), signal);
    for (const message of [...images.flatMap(({ warnings }) => warnings), ...result.warnings]) counts.warn(message);
    for (const [position, i] of places.entries()) {
      const { found, facts } = group[i]!;
      const value = result.scores[position] ?? Number.NaN;
      const details = detailsOf(result, position);
      const fault = `expected a finite score, got ${value}`;
      const told = Number.isFinite(value)
        ? { ...facts, score: value, ...details }
        : { ...facts, ...details, problem: "no score" as const, error: fault };
      scored[i] = { found, facts: told };
    }
  }
  return scored;
}

/** Remembers a picture, and writes its score into it where that is asked for. */
async function keep({ found, facts, offset, gone }: Prepared, work: Work): Promise<PictureScore> {
  const { id, index, counts, set, options } = work;
  const wanted = options.writeMetadata === true && facts.score !== null && facts.written !== true;
  const now = wanted ? await written(found.path, facts, work) : facts;
  // what could not be looked at is a row of this run, and looked at anew in the next
  const place =
    offset !== undefined && now === facts ? offset : index.append(gone === true ? GONE : id, found.path, now);
  const picture = toldOf(found.path, now);
  counts.add(picture, offset !== undefined);
  set.add(picture, place, found.target);
  return picture;
}

/** A task that nobody asks for. */
const GONE = "gone";

/** Writes a picture's score into its file. @returns the facts of the new file, or those there were when it could not be written */
async function written(path: string, facts: Facts, { records, counts }: Work): Promise<Facts> {
  try {
    const { bytes, modified } = await writeScore(path, facts, records.reward);
    counts.wrote();
    return { ...facts, bytes, modified, written: true };
  } catch (error) {
    if (!(error instanceof LaurelError)) throw error;
    counts.notWritten(error.message);
    return facts;
  }
}

/** What a score depends on, but for the picture; lines of the index name it. @internal */
export function taskOf(records: RewardRecords, prompt: string | undefined, prompts: PromptsFrom): string {
  return sha256(JSON.stringify([records, prompt ?? null, prompt === undefined ? prompts : null])).slice(0, 16);
}

/** Opens the index that is asked for. The one that is taken unasked may turn out to be in a folder that cannot be written to. */
async function openIndex(
  names: readonly string[],
  path: string | null | undefined,
): Promise<{ readonly index: ScoreIndex; readonly warning?: string }> {
  if (path !== undefined) return { index: path === null ? await ScoreIndex.temporary() : await ScoreIndex.open(path) };
  const own = await defaultIndex(names);
  if (own === null) return { index: await ScoreIndex.temporary() };
  try {
    return { index: await ScoreIndex.open(own) };
  } catch (error) {
    const { code = "" } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    if (!(error instanceof UsageError) || !["EACCES", "EROFS", "EPERM", "ENOSPC", "EDQUOT"].includes(code)) throw error;
    return { index: await ScoreIndex.temporary(), warning: `${error.message}; scores are not remembered` };
  }
}

async function isFolder(name: string): Promise<boolean> {
  return (await stat(name).catch(() => undefined))?.isDirectory() === true;
}
