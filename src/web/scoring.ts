/** @file Pictures of a request, decoded within bounds, scored and ranked. */

import { UsageError } from "../errors.js";
import { betterThan, explainScores, type ReferenceScores } from "../evaluation/explain.js";
import { decodeImage } from "../image/decode.js";
import type { SourceImage } from "../image/types.js";
import type { Reward } from "../rewards/contract.js";
import type { ScoreDetails } from "../strategies/contract.js";
import { detailsOf } from "../strategies/drawing.js";
import { finiteOrNull, rank } from "../strategies/rank.js";
import { throwIfAborted } from "../util/abort.js";
import { Problem } from "./problem.js";
import type { Asked, AskedItem } from "./requests.js";

/** Pictures that are decoded and scored together; between two such batches a request whose sender has left ends. */
const BATCH = 4;

/** One picture's answer. */
export interface ScoredItem extends ScoreDetails {
  /** Its place in the request, from 0. */
  readonly index: number;
  /** Higher is better; null where the file could not be read or the reward gave no finite number. */
  readonly score: number | null;
  /** 1 is the best of the pictures of its prompt; null where the file could not be read. */
  readonly rank: number | null;
  /** Per cent of the prompt's other pictures that it is better than. */
  readonly percentile: number | null;
  /** Per cent of the reward's reference pictures that it is better than. */
  readonly referencePercentile: number | null;
  /** The same in words: `better than 84 % of the pictures ...`. */
  readonly words?: string;
  /** Why the file could not be read. */
  readonly error?: string;
}

/** What is answered to a request of scores. */
export interface ScoredItems {
  /** In the order of the request. */
  readonly results: readonly ScoredItem[];
  readonly warnings: readonly string[];
}

type Raw = Pick<ScoredItem, "index" | "score" | "error"> & ScoreDetails & { readonly prompt: string };

/**
 * Scores the pictures of a request.
 * @param mostPixels larger pictures are refused before they are decoded
 * @throws Problem 422 when none can be read, or the reward cannot read a prompt; CancelledError between two batches when `signal` aborts
 */
export async function scoreItems(
  { reward, reference }: { readonly reward: Reward; readonly reference: ReferenceScores | undefined },
  items: readonly AskedItem[],
  { mostPixels, signal }: { readonly mostPixels: number; readonly signal: AbortSignal },
): Promise<ScoredItems> {
  const warnings = new Set<string>();
  const raw: Raw[] = [];
  for (const [prompt, group] of groups(items.map((item, index) => ({ ...item, index })))) {
    for (let start = 0; start < group.length; start += BATCH) {
      throwIfAborted(signal, "scoring");
      const batch = await Promise.all(group.slice(start, start + BATCH).map((one) => decodeItem(one, mostPixels)));
      raw.push(...(await scoreBatch(reward, prompt, batch, warnings)));
    }
  }
  raw.sort((a, b) => a.index - b.index);
  if (raw.every(({ error }) => error !== undefined)) {
    const errors = raw.map(({ error }) => error);
    throw new Problem(422, errors.slice(0, 3).join("; "), { members: { errors } });
  }
  const results = new Map<number, ScoredItem>();
  for (const group of groups(raw).values()) for (const one of ranked(group, reference)) results.set(one.index, one);
  return { results: raw.map(({ index }) => results.get(index)!), warnings: [...warnings] };
}

/** Those of each prompt, in order. */
function groups<T extends { readonly prompt: string }>(items: readonly T[]): Map<string, T[]> {
  const found = new Map<string, T[]>();
  for (const item of items) {
    const group = found.get(item.prompt);
    if (group === undefined) found.set(item.prompt, [item]);
    else group.push(item);
  }
  return found;
}

type Decoded = { readonly index: number } & ({ readonly image: SourceImage } | { readonly error: string });

async function decodeItem(item: AskedItem & { readonly index: number }, mostPixels: number): Promise<Decoded> {
  const { index, bytes, where } = item;
  try {
    return { index, image: await decodeImage(bytes, where, mostPixels) };
  } catch (error) {
    if (error instanceof UsageError) return { index, error: error.message };
    throw error;
  }
}

async function scoreBatch(
  reward: Reward,
  prompt: string,
  batch: readonly Decoded[],
  warnings: Set<string>,
): Promise<Raw[]> {
  const images = batch.flatMap((one) => ("image" in one ? one.image : []));
  const scored = images.length === 0 ? undefined : await readByReward(() => reward.score(prompt, images));
  for (const message of [...images.flatMap((image) => image.warnings), ...(scored?.warnings ?? [])])
    warnings.add(message);
  let position = 0;
  return batch.map((one) => {
    const { index } = one;
    if ("error" in one) return { index, prompt, score: null, error: one.error };
    const details = scored === undefined ? undefined : detailsOf(scored, position);
    return { index, prompt, score: finiteOrNull(scored?.scores[position++]), ...details };
  });
}

/** What the reward cannot read is the request's fault. */
async function readByReward<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UsageError) throw new Problem(422, error.message, { cause: error });
    throw error;
  }
}

/** Ranks and places among the pictures of one prompt. */
function ranked(group: readonly Raw[], reference: ReferenceScores | undefined): ScoredItem[] {
  const explained = explainScores(
    group.map(({ score }) => score),
    reference,
  );
  const order = rank(group.filter(({ error }) => error === undefined));
  return group.map((one, i) => {
    const { index, score, error, scores, heldOut } = one;
    const place = order.indexOf(one);
    const { percentile, referencePercentile } = explained[i]!;
    return {
      index,
      score,
      rank: place < 0 ? null : place + 1,
      percentile,
      referencePercentile,
      ...(reference === undefined || referencePercentile === null
        ? {}
        : { words: betterThan(reference, referencePercentile) }),
      ...(scores === undefined ? {} : { scores }),
      ...(heldOut === undefined ? {} : { heldOut }),
      ...(error === undefined ? {} : { error }),
    };
  });
}

/** Which pictures of a ranking are kept. */
export interface Selection {
  /** Their places in the request, the best first; prompts in the order they were first asked. */
  readonly kept: readonly number[];
  /** What deserves a word: that none reached `min`, for example. */
  readonly messages: readonly string[];
}

/** The pictures of each prompt that score `min`, at most `keep`, the best first; of a prompt with none, the best one unless `ifNone` says none. */
export function select(
  results: readonly ScoredItem[],
  { items, keep = Infinity, min = -Infinity, ifNone }: Asked,
): Selection {
  const messages: string[] = [];
  const kept = [...groups(results.map((one) => ({ ...one, prompt: items[one.index]!.prompt }))).values()].flatMap(
    (group) => {
      const order = rank(group.filter(({ error }) => error === undefined));
      const passing = order.filter(({ score }) => min === -Infinity || (score !== null && score >= min));
      if (passing.length > 0 || order.length === 0) return passing.slice(0, keep);
      const best = order[0]!;
      const got = best.score === null ? "no score" : best.score.toFixed(4);
      const fate = ifNone === "best" ? "the best one is kept" : "none is kept";
      messages.push(`expected a picture that scores ${min} or more, got ${got} at best of ${group.length}; ${fate}`);
      return ifNone === "best" ? [best] : [];
    },
  );
  return { kept: kept.map(({ index }) => index), messages };
}
