/** @file Measures fine-tuning on the demo world: held-out prompts drawn with the same seeds by base and tuned model, judged by the oracle and the rewards. */

import { appendFile } from "node:fs/promises";
import { z } from "zod";
import { evaluationPrompts } from "../../demo/dataset.js";
import { freeFactEntropy } from "../../demo/free-facts.js";
import { requireDescription } from "../../demo/grammar.js";
import { judge } from "../../demo/oracle.js";
import type { DiffusionRequest } from "../../diffusion/request.js";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.js";
import { UsageError } from "../../errors.js";
import type { RgbImage } from "../../image/types.js";
import type { Reward } from "../../rewards/contract.js";
import { sha256, sha256File } from "../../util/files.js";
import { readKeptLines } from "../../util/kept-lines.js";
import { bootstrap, type Interval, mean } from "../../util/statistics.js";
import { isImageEmbedder } from "../../rewards/image-embedder.js";
import { pictureDiversity } from "./diversity.js";
import { numbersSchema } from "./records.js";

const evaluatedSchema = z.object({
  /** What was drawn and how; records of another are not taken for these. */
  arm: z.string(),
  fingerprint: z.string(),
  index: z.number().int().nonnegative(),
  prompt: z.string(),
  /** Of the first picture; the others follow. */
  seed: z.number().int().nonnegative(),
  /** Of every picture: whether the oracle reads all stated facts from it. */
  holds: z.array(z.boolean()),
  /** Of every picture. */
  guide: numbersSchema,
  heldOut: numbersSchema,
  /** Of what the prompt leaves free, in bits. */
  entropy: z.number(),
  /** log2 of the pictures' Vendi score. */
  vendi: z.number(),
});

/** One held-out prompt as one model draws it. */
export type EvaluatedPrompt = z.infer<typeof evaluatedSchema>;

/** What {@link evaluateFinetune} works with. */
export interface FinetuneEvaluation {
  /** Names the model in the records, with its digest where weights of the same folder may change: `base`, `refl 3f2a...`. */
  readonly arm: string;
  readonly diffusion: StableDiffusion;
  /** The reward that training followed, which best-of-n chooses by. */
  readonly guide: Reward;
  /** A reward that training never saw. */
  readonly heldOut: Reward;
  /** Places in the list of held-out prompts. @default 200 */
  readonly prompts?: number | undefined;
  /** Pictures of each, from the same seeds in every arm. @default 4 */
  readonly imagesPerPrompt?: number | undefined;
  /** Sampling settings and LoRAs; what is absent takes the model's default. */
  readonly settings?: Pick<DiffusionRequest, "steps" | "guidance" | "sampler" | "loras" | "loraAnneal"> | undefined;
  /** Seed of the first picture. @default 700,000, which no training and no validation uses */
  readonly seed?: number | undefined;
  /** File of one JSON line a prompt, of all arms; what it has is not drawn again. @default nothing is kept */
  readonly file?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((finishedPrompts: number) => void) | undefined;
}

/**
 * Draws every held-out prompt and measures its pictures.
 * @throws UsageError when `file` holds something else, CancelledError when the signal aborts
 */
export async function evaluateFinetune(evaluation: FinetuneEvaluation): Promise<EvaluatedPrompt[]> {
  const { arm, file, prompts = 200 } = evaluation;
  const fingerprint = await fingerprintOf(evaluation);
  const known = new Map<number, EvaluatedPrompt>();
  for (const one of file === undefined ? [] : await readKeptLines(file, evaluatedSchema, "an evaluated prompt")) {
    if (one.arm === arm && one.fingerprint === fingerprint) known.set(one.index, one);
  }
  const evaluated: EvaluatedPrompt[] = [];
  for (const [index, prompt] of evaluationPrompts(prompts).entries()) {
    let one = known.get(index);
    if (one?.prompt !== prompt) {
      one = { arm, fingerprint, index, prompt, ...(await evaluatePrompt(evaluation, index, prompt)) };
      if (file !== undefined) await appendFile(file, `${JSON.stringify(one)}\n`);
    }
    evaluated.push(one);
    evaluation.onProgress?.(evaluated.length);
  }
  return evaluated;
}

/** Tells settings, LoRA files and rewards apart. */
async function fingerprintOf(evaluation: FinetuneEvaluation): Promise<string> {
  const { guide, heldOut, diffusion, settings = {}, imagesPerPrompt = 4, seed = FIRST_SEED } = evaluation;
  const { loras = [], ...sampling } = settings;
  const files = await Promise.all(loras.map(async ({ path, scale = 1 }) => [await sha256File(path), scale]));
  const models = [diffusion.directory, guide.model.path, heldOut.model.path];
  return sha256(JSON.stringify([models, sampling, files, imagesPerPrompt, seed])).slice(0, 16);
}

const FIRST_SEED = 700_000;

type Measured = Pick<EvaluatedPrompt, "seed" | "holds" | "guide" | "heldOut" | "entropy" | "vendi">;

async function evaluatePrompt(evaluation: FinetuneEvaluation, index: number, prompt: string): Promise<Measured> {
  const { diffusion, guide, heldOut, settings, imagesPerPrompt: count = 4, signal } = evaluation;
  const seed = (evaluation.seed ?? FIRST_SEED) + index * count;
  const pictures: RgbImage[] = [];
  for await (const group of diffusion.generate({ ...settings, prompt, seed, count, batch: count }, { signal })) {
    pictures.push(...group.images.map(({ image }) => image));
  }
  const description = requireDescription(prompt);
  const options = signal === undefined ? {} : { signal };
  const [guided, held] = [await guide.score(prompt, pictures, options), await heldOut.score(prompt, pictures, options)];
  const embedder = [heldOut, guide].find(isImageEmbedder);
  const [vendi = Number.NaN] = await pictureDiversity([pictures], embedder, options);
  return {
    seed,
    holds: pictures.map((picture) => judge(description, picture).verdict === "holds"),
    guide: guided.scores,
    heldOut: held.scores,
    entropy: freeFactEntropy(description, pictures),
    vendi,
  };
}

/** Both models and their paired difference, with 95 % intervals. */
export interface PairedFigures {
  readonly base: Interval;
  readonly tuned: Interval;
  readonly difference: Interval;
}

/** What fine-tuning changed, with 95 % intervals by bootstrap over the distinct descriptions. */
export interface FinetuneFigures {
  readonly prompts: number;
  readonly descriptions: number;
  readonly imagesPerPrompt: number;
  /** Share of single pictures from which the oracle reads all stated facts. */
  readonly single: PairedFigures;
  readonly guide: PairedFigures;
  readonly heldOut: PairedFigures;
  /** Of what a prompt leaves free, in bits. */
  readonly entropy: PairedFigures;
  /** The tuned model's mean entropy as a share of the base's. */
  readonly diversity: Interval;
  /** As `diversity`, by the Vendi score in bits. */
  readonly vendiDiversity: Interval;
  /** Share of prompts whose picture with the highest guide holds, of all their pictures; null for a single one. */
  readonly bestOfN: (PairedFigures & { readonly n: number }) | null;
}

interface Pair {
  readonly base: EvaluatedPrompt;
  readonly tuned: EvaluatedPrompt;
}

/**
 * The figures of two arms over the prompts that both have.
 * @throws UsageError when they share none, or drew a prompt from other seeds
 */
export function finetuneFigures(base: readonly EvaluatedPrompt[], tuned: readonly EvaluatedPrompt[]): FinetuneFigures {
  const pairs = paired(base, tuned);
  const groups = new Map<string, Pair[]>();
  for (const pair of pairs) groups.set(pair.base.prompt, [...(groups.get(pair.base.prompt) ?? []), pair]);
  const over = (statistic: (sample: readonly Pair[]) => number): Interval =>
    bootstrap([...groups.values()], (sample) => statistic(sample.flat()));
  const arms = (value: (one: EvaluatedPrompt) => number): PairedFigures => ({
    base: over((sample) => mean(sample.map((pair) => value(pair.base)))),
    tuned: over((sample) => mean(sample.map((pair) => value(pair.tuned)))),
    difference: over((sample) => mean(sample.map((pair) => value(pair.tuned) - value(pair.base)))),
  });
  const share = (value: (one: EvaluatedPrompt) => number): Interval =>
    over((sample) => mean(sample.map((pair) => value(pair.tuned))) / mean(sample.map((pair) => value(pair.base))));
  const n = pairs[0]?.base.holds.length ?? 0;
  return {
    prompts: pairs.length,
    descriptions: groups.size,
    imagesPerPrompt: n,
    single: arms(({ holds }) => mean(holds.map(Number))),
    guide: arms(({ guide }) => mean(guide)),
    heldOut: arms(({ heldOut }) => mean(heldOut)),
    entropy: arms(({ entropy }) => entropy),
    diversity: share(({ entropy }) => entropy),
    vendiDiversity: share(({ vendi }) => vendi),
    bestOfN: n < 2 ? null : { n, ...arms(chosenHolds) },
  };
}

function paired(base: readonly EvaluatedPrompt[], tuned: readonly EvaluatedPrompt[]): Pair[] {
  const own = new Map(tuned.map((one) => [one.index, one]));
  const pairs = base.flatMap((one): Pair[] => {
    const other = own.get(one.index);
    return other === undefined ? [] : [{ base: one, tuned: other }];
  });
  const unlike = pairs.find(
    (pair) =>
      pair.base.prompt !== pair.tuned.prompt ||
      pair.base.seed !== pair.tuned.seed ||
      pair.base.holds.length !== pair.tuned.holds.length,
  );
  if (unlike !== undefined || pairs.length === 0) {
    const told = ({ prompt, seed, holds }: EvaluatedPrompt): string =>
      `${holds.length} pictures of "${prompt}" from seed ${seed}`;
    throw new UsageError(
      unlike === undefined
        ? "figures: expected prompts that base and tuned model both drew, got none"
        : `figures: expected ${told(unlike.base)} as the base drew, got ${told(unlike.tuned)}`,
    );
  }
  return pairs;
}

/** Whether the picture with the highest guide holds; the first one wins a tie, a score that is not a number never does. */
function chosenHolds({ holds, guide }: EvaluatedPrompt): number {
  const worth = guide.map((score) => (Number.isNaN(score) ? -Infinity : score));
  return Number(holds[worth.indexOf(Math.max(...worth))] ?? false);
}
