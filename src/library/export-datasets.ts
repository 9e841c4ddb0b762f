/** @file Datasets out of runs: preference pairs, and pictures that score well. Candidates of one prompt belong together, whichever run drew them. */

import { stat, statfs } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { LaurelError, UsageError } from "../errors.js";
import type { ImageFormat, PreferenceFormat } from "../export/datasets/formats.js";
import { writeImageFolder, writePreferenceFolder } from "../export/datasets/imagefolder.js";
import { writeImageLines, writePreferenceLines } from "../export/datasets/jsonl.js";
import {
  type ImageOptions,
  type PairOptions,
  preferencePairs,
  rankedGroups,
  selectedImages,
  type UnrankedImage,
} from "../export/datasets/pairs.js";
import { writePickapic } from "../export/datasets/parquet.js";
import type { DatasetImage, PreferenceRow, WriteOptions, WrittenDataset } from "../export/datasets/rows.js";
import { type ShardOptions, writeImageShards, writePreferenceShards } from "../export/datasets/webdataset.js";
import { type AnyRun, candidatesOf, readAnyRun } from "../pipeline/any-run.js";
import type { CandidateLine } from "../pipeline/candidate-record.js";
import { promptMeaning } from "../prompts/attention-syntax.js";
import { throwIfAborted } from "../util/abort.js";
import { sha256 } from "../util/files.js";
import { describeSystemError } from "../util/read-file.js";

/** Where a dataset goes, and out of which scores. */
export interface ExportOptions<Format extends string> extends WriteOptions {
  readonly format: Format;
  /** A file for `pickapic` (`.parquet`) and `jsonl` (`.jsonl`), a folder for the others. */
  readonly out: string;
  /** Name of the part for `imagefolder` (a folder in `out`) and `webdataset` (how shards begin). @default "train" */
  readonly split?: string | undefined;
  /** Size of a shard of `webdataset`, bytes. @default 1 GB */
  readonly shardBytes?: number | undefined;
  /** The scores that count: name of the reward, or how its digest begins. @default the one that all runs have */
  readonly by?: string | undefined;
  /** Called once with the number of rows before the first is written. */
  readonly onSelected?: ((rows: number) => void) | undefined;
}

/** What was exported. */
export interface ExportedDataset extends WrittenDataset {
  /** Prompts with a row. */
  readonly prompts: number;
  /** Candidates that were chosen from. */
  readonly candidates: number;
  /** The reward whose scores counted. */
  readonly reward: { readonly name: string; readonly digest: string | null };
  readonly warnings: readonly string[];
}

/** A split is part of a file's name and of a pattern. */
const SPLIT = /^[A-Za-z0-9_-]{1,64}$/;
/** Endings of formats that are one file. */
const ENDINGS: Readonly<Record<string, string>> = { pickapic: ".parquet", jsonl: ".jsonl" };

/**
 * Writes pairs of candidates of the same prompt, the higher score preferred.
 * @param runs folders of runs of any kind
 * @throws UsageError when a run cannot be read, scores are of several rewards, no pair is left, or `out` is taken; CancelledError
 */
export async function exportPreferences(
  runs: readonly string[],
  options: ExportOptions<PreferenceFormat> & PairOptions,
): Promise<ExportedDataset> {
  checkPlace(options);
  const pool = await readPool(runs, options);
  const rows = preferencePairs(pool.groups, options);
  if (rows.length === 0)
    throw new UsageError(
      `runs: expected candidates of one prompt that differ enough, got no pair among ${pool.candidates}`,
    );
  const pictures = rows.flatMap(({ better, worse }) => [better, worse]);
  const written = await write(options, pictures, rows.length, () => writePairs(rows, options));
  return { ...written, ...describePool(pool), prompts: new Set(rows.map(({ better }) => better.promptId)).size };
}

/**
 * Writes the candidates that score enough, or the best of each prompt.
 * @throws as {@link exportPreferences}
 */
export async function exportImages(
  runs: readonly string[],
  options: ExportOptions<ImageFormat> & ImageOptions,
): Promise<ExportedDataset> {
  checkPlace(options);
  const pool = await readPool(runs, options);
  const rows = selectedImages(pool.groups, options);
  if (rows.length === 0)
    throw new UsageError(`runs: expected candidates that score enough, got none among ${pool.candidates}`);
  const written = await write(options, rows, rows.length, () => writePictures(rows, options));
  return { ...written, ...describePool(pool), prompts: new Set(rows.map(({ promptId }) => promptId)).size };
}

type Settings = ExportOptions<string>;

function writePairs(rows: readonly PreferenceRow[], options: ExportOptions<PreferenceFormat>): Promise<WrittenDataset> {
  const { format, out, split = "train" } = options;
  switch (format) {
    case "pickapic":
      return writePickapic(rows, out, options);
    case "imagefolder":
      return writePreferenceFolder(rows, out, split, options);
    case "jsonl":
      return writePreferenceLines(rows, out, options);
    case "webdataset":
      return writePreferenceShards(rows, out, split, options satisfies ShardOptions);
  }
}

function writePictures(rows: readonly DatasetImage[], options: ExportOptions<ImageFormat>): Promise<WrittenDataset> {
  const { format, out, split = "train" } = options;
  switch (format) {
    case "imagefolder":
      return writeImageFolder(rows, out, split, options);
    case "jsonl":
      return writeImageLines(rows, out, options);
    case "webdataset":
      return writeImageShards(rows, out, split, options satisfies ShardOptions);
  }
}

function checkPlace({ format, out, split = "train" }: Settings): void {
  const ending = ENDINGS[format];
  if (ending !== undefined && !out.endsWith(ending))
    throw new UsageError(`${out}: expected the name of a file ending in ${ending} for ${format}, got another`);
  if (!SPLIT.test(split))
    throw new UsageError(`split: expected letters, digits, - and _, got ${JSON.stringify(split)}`);
}

/** Writes, when the disk has room; errors of the disk name the dataset. */
async function write(
  { out, format, onSelected }: Settings,
  pictures: readonly DatasetImage[],
  rows: number,
  act: () => Promise<WrittenDataset>,
): Promise<WrittenDataset> {
  const path = resolve(out);
  const bytes = storedBytes(pictures, format);
  const free = await freeBytes(path);
  if (free !== undefined && free < bytes)
    throw new LaurelError(`${path}: expected ${bytes} bytes free for the dataset, got ${free}`);
  onSelected?.(rows);
  try {
    return await act();
  } catch (error) {
    if (error instanceof LaurelError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    const actual = code === "ENOSPC" || code === "EDQUOT" ? "a full disk" : describeSystemError(error);
    throw new LaurelError(`${path}: expected a place to write the dataset, got ${actual}; nothing was left there`, {
      cause: error,
    });
  }
}

/** What the pictures take in a format: nothing in one that only names them, once each in a folder. */
function storedBytes(pictures: readonly DatasetImage[], format: string): number {
  if (format === "jsonl") return 0;
  const stored =
    format === "imagefolder" ? new Map(pictures.map((image) => [image.sha256, image])).values() : pictures.values();
  let sum = 0;
  for (const { bytes } of stored) sum += bytes;
  return sum;
}

/** Free on the disk that will hold `path`; undefined where the system does not say. */
async function freeBytes(path: string): Promise<number | undefined> {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const status = await statfs(folder).catch(() => undefined);
    if (status !== undefined) return status.bavail * status.bsize;
    if (folder === dirname(folder)) return undefined;
  }
}

/** Candidates to choose from. */
interface Pool {
  readonly groups: readonly DatasetImage[][];
  readonly candidates: number;
  readonly reward: ExportedDataset["reward"];
  readonly warnings: readonly string[];
}

function describePool({
  candidates,
  reward,
  warnings,
}: Pool): Pick<ExportedDataset, "candidates" | "reward" | "warnings"> {
  return { candidates, reward, warnings };
}

/** A candidate with what only its run says of it. */
interface PooledImage extends UnrankedImage {
  /** Candidates of one group compete: they have the prompt and the pictures they start from in common. */
  readonly group: string;
  readonly rewardDigest: string | null;
}

async function readPool(runs: readonly string[], { by, signal }: Settings): Promise<Pool> {
  const warnings: string[] = [];
  const images = new Map<string, PooledImage>();
  const read = new Set<string>();
  for (const path of runs) {
    const run = await readAnyRun(path);
    if (read.has(run.directory)) continue;
    read.add(run.directory);
    const left = { unscored: 0, damaged: 0, otherReward: 0 };
    for await (const image of imagesOf(run, signal)) {
      if (image === "unscored" || image === "damaged") left[image]++;
      else if (by !== undefined && !isReward(image, by)) left.otherReward++;
      // the same file in a copied run
      else if (!images.has(image.sha256)) images.set(image.sha256, image);
    }
    const { runId } = run.manifest;
    if (left.unscored > 0) warnings.push(`${runId}: ${left.unscored} candidates without a score were left out`);
    if (left.damaged > 0)
      warnings.push(`${runId}: ${left.damaged} candidates whose picture is gone or damaged were left out`);
    if (left.otherReward > 0)
      warnings.push(`${runId}: ${left.otherReward} candidates not scored by ${by} were left out`);
  }
  const reward = onlyReward([...images.values()], by);
  const groups = rankedGroups([...images.values()], ({ group }) => group);
  return { groups, candidates: images.size, reward, warnings };
}

function isReward({ reward, rewardDigest }: PooledImage, by: string): boolean {
  return reward === by || (by.length >= 6 && rewardDigest?.startsWith(by) === true);
}

/** The reward of all candidates. @throws UsageError when there are several, whose scores mean different things, or none */
function onlyReward(images: readonly PooledImage[], by: string | undefined): ExportedDataset["reward"] {
  const rewards = new Map<string, ExportedDataset["reward"]>();
  for (const { reward: name, rewardDigest: digest } of images) rewards.set(`${name} ${digest}`, { name, digest });
  const [first, ...others] = rewards.values();
  if (first === undefined)
    throw new UsageError(`runs: expected candidates with a score${by === undefined ? "" : ` by ${by}`}, got none`);
  if (others.length === 0) return first;
  const named = [first, ...others].map(({ name, digest }) => `${name} (${digest?.slice(0, 12) ?? "no digest"})`);
  throw new UsageError(`runs: expected scores of one reward, or --by to choose one, got ${named.join(", ")}`);
}

async function* imagesOf(
  run: AnyRun,
  signal: AbortSignal | undefined,
): AsyncGenerator<PooledImage | "unscored" | "damaged"> {
  for await (const { name, line } of candidatesOf(run)) {
    throwIfAborted(signal, "the export");
    if (line.score === null) yield "unscored";
    else {
      const path = join(run.directory, line.image);
      const status = await stat(path).catch(() => undefined);
      yield status?.isFile() === true && status.size === line.bytes
        ? pooled(run, line, line.score, path, name.slice(0, name.lastIndexOf("#")))
        : "damaged";
    }
  }
}

/** @param item name of the pipeline's item */
function pooled(run: AnyRun, line: CandidateLine, score: number, path: string, item: string): PooledImage {
  const { sha256: digest, bytes, width, height, seed, index, inputs, backend, reward } = line;
  const prompt = scoredPrompt(run, line);
  return {
    path,
    bytes,
    sha256: digest,
    width,
    height,
    prompt,
    promptId: sha256(prompt).slice(0, 12),
    drawn: line.prompt,
    seed,
    runId: run.manifest.runId,
    item: run.kind === "pipeline" ? item : null,
    index,
    backend: backend.name,
    model: backend.model,
    reward: reward.name,
    score,
    group: JSON.stringify([prompt, inputs.init, inputs.mask]),
    rewardDigest: reward.digest,
  };
}

/** The prompt as the reward read it: that of the item where a template or a refiner wrote another to draw. */
function scoredPrompt(run: AnyRun, line: CandidateLine): string {
  if (run.kind === "generate") return run.manifest.config.rewardPrompt ?? run.manifest.config.prompt;
  const item = run.plan.items[Math.floor(line.index / run.plan.candidatesPerItem)];
  return promptMeaning(item?.prompt ?? line.prompt, line.settings.promptSyntax);
}
