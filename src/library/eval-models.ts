/** @file Whether a reward orders generators as people do: their pictures of the same prompts, and people's opinion from a file. */

import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import { UsageError } from "../errors.js";
import { agreementOfGenerators, type GeneratorAgreement } from "../evaluation/generators.js";
import { candidatesOf, readAnyRun } from "../pipeline/any-run.js";
import { RUN_FILES } from "../pipeline/run-store.js";
import { readPrompts } from "../prompts/prompt-file.js";
import { mean } from "../util/statistics.js";
import { describeSystemError } from "../util/read-file.js";
import { readRows } from "../util/rows.js";
import { DocumentError, type Fault } from "../util/yaml/located.js";
import type { PromptPictures, ScoresById } from "./eval-scores.js";

/** A generator, what people think of it, and where its pictures lie. */
export interface RankedGenerator {
  readonly name: string;
  /** Higher is better: wins, a win rate, or the rank with its sign turned. */
  readonly opinion: number;
  /** Absolute: a folder of pictures named `<id>_<n>`, or that of a run. */
  readonly images: string;
}

/** Columns that say what people think; a file has one of them. */
const OPINIONS = { rank: -1, wins: 1, win_rate: 1 } as const;

const number = z.union([
  z.number(),
  z
    .string()
    .regex(/^\s*-?\d+(\.\d+)?\s*$/)
    .transform(Number),
]);
const generatorSchema = z.object({
  generator: z.string().min(1),
  rank: number.optional(),
  wins: number.optional(),
  win_rate: number.optional(),
  images: z.string().optional(),
});

/**
 * Reads people's opinion of generators: CSV, JSON or JSON lines with the columns `generator`, one of `rank` (1 is best), `wins` or `win_rate` (more is
 * better), and, where its pictures do not lie in `<folder>/<generator>`, `images`: a folder, or a run, relative to the file.
 * @throws UsageError when it cannot be read; DocumentError naming every row that is not sound
 */
export async function readRankedGenerators(file: string, folder?: string): Promise<RankedGenerator[]> {
  const faults: Fault[] = [];
  const found: RankedGenerator[] = [];
  const columns = new Set<string>();
  for (const { value, place } of await readRows(file, "generators")) {
    const row = readGenerator(value);
    if (typeof row === "string") {
      faults.push({ place, message: row });
      continue;
    }
    const { generator: name, images, column, opinion } = row;
    columns.add(column);
    if (columns.size > 1)
      faults.push({ place, message: `expected ${[...columns].join(" or ")} in every row, got both` });
    if (found.some((one) => one.name === name)) faults.push({ place, message: `expected ${name} once, got it again` });
    const lies = images === undefined ? folder === undefined ? undefined : resolve(folder, name) : resolve(dirname(file), images); // prettier-ignore
    if (lies === undefined) faults.push({ place, message: `images: expected where the pictures of ${name} lie, or --images with a folder for each generator, got neither` }); // prettier-ignore
    found.push({ name, opinion, images: lies ?? "" });
  }
  if (faults.length > 0) throw new DocumentError(faults);
  if (found.length < 2) throw new UsageError(`${file}: expected at least two generators, got ${found.length}`);
  return found;
}

/** A row that is sound, or what is wrong with it. */
function readGenerator(value: unknown) {
  // an empty cell of CSV says nothing
  const filled = typeof value === "object" && value !== null ? Object.fromEntries(Object.entries(value).filter(([, one]) => one !== "")) : value; // prettier-ignore
  const parsed = generatorSchema.safeParse(filled);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    return `${path.join(".") || "row"}: ${message}`;
  }
  const names = (Object.keys(OPINIONS) as (keyof typeof OPINIONS)[]).filter((name) => parsed.data[name] !== undefined);
  const [column] = names;
  if (column === undefined || names.length > 1) {
    return `expected one of ${Object.keys(OPINIONS).join(", ")}, got ${names.join(" and ") || "none"}`;
  }
  return { ...parsed.data, column, opinion: OPINIONS[column] * parsed.data[column]! };
}

/** Name of one generator's pictures of one prompt among all. */
function pictureId(generator: string, id: string): string {
  return `${generator}/${id}`;
}

/**
 * The pictures of each generator and prompt, with ids `<generator>/<id>`. A folder's pictures are named `<id>.png`, or `<id>_0.png`, `<id>_1.png`, ... as in
 * ImageReward's benchmark; those of a run are its candidates with the prompt.
 * @param prompts file of prompts; one without an id is named by its place, from 0
 * @throws UsageError when a folder cannot be read; DocumentError naming every generator that lacks pictures of prompts
 */
export async function findGeneratorPictures(
  generators: readonly RankedGenerator[],
  prompts: string,
): Promise<PromptPictures[]> {
  const wanted = (await readPrompts({ file: prompts })).map(({ id, prompt }, i) => ({ id: id ?? String(i), prompt }));
  const faults: Fault[] = [];
  const found: PromptPictures[] = [];
  for (const { name, images } of generators) {
    const isRun = (await stat(join(images, RUN_FILES.manifest)).catch(() => undefined))?.isFile() === true;
    const pictures = await (isRun ? picturesOfRun(images) : picturesOfFolder(images));
    const missing = wanted.filter((one) => pictures(one).length === 0);
    if (missing.length > 0) {
      const message = `expected pictures of ${wanted.length} prompts, got none of ${missing.length}, the first ${JSON.stringify(missing[0]!.id)}`;
      faults.push({ place: { file: images, line: 0, column: 0 }, message });
    }
    for (const one of wanted) found.push({ id: pictureId(name, one.id), prompt: one.prompt, pictures: pictures(one) });
  }
  if (faults.length > 0) throw new DocumentError(faults);
  return found;
}

/** The pictures of a prompt. */
type Lookup = (prompt: { readonly id: string; readonly prompt: string }) => readonly string[];

async function picturesOfFolder(folder: string): Promise<Lookup> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new UsageError(`${folder}: expected a generator's pictures, got ${describeSystemError(cause)}`, { cause });
  });
  const byId = new Map<string, string[]>();
  const byPlace = new Intl.Collator("en", { numeric: true }).compare;
  for (const name of names.filter((one) => /\.(png|jpe?g|webp|gif|tiff?|avif)$/i.test(one)).sort(byPlace)) {
    const stem = basename(name).replace(/\.[^.]+$/, "");
    for (const id of new Set([stem, stem.replace(/_\d+$/, "")])) {
      byId.set(id, [...(byId.get(id) ?? []), join(folder, name)]);
    }
  }
  return ({ id }) => byId.get(id) ?? [];
}

async function picturesOfRun(directory: string): Promise<Lookup> {
  const byPrompt = new Map<string, string[]>();
  for await (const { line } of candidatesOf(await readAnyRun(directory))) {
    byPrompt.set(line.prompt, [...(byPrompt.get(line.prompt) ?? []), join(directory, line.image)]);
  }
  return ({ prompt }) => byPrompt.get(prompt) ?? [];
}

/** What {@link compareGenerators} gives. */
export interface GeneratorComparison extends GeneratorAgreement {
  /** Prompts that all generators have scores of. */
  readonly prompts: number;
}

/**
 * Compares mean scores with people's opinion, over the prompts of which every picture has a score.
 * @param scores by the ids of {@link findGeneratorPictures}
 * @throws UsageError when there is no such prompt
 */
export function compareGenerators(
  generators: readonly RankedGenerator[],
  pictures: readonly PromptPictures[],
  scores: ScoresById,
): GeneratorComparison {
  const first = generators[0]!.name;
  const ids = pictures.flatMap(({ id }) =>
    id.startsWith(pictureId(first, "")) ? id.slice(pictureId(first, "").length) : [],
  );
  const complete = ids.filter((id) =>
    generators.every(({ name }) => scores.get(pictureId(name, id))?.every((score) => score !== null) === true),
  );
  if (complete.length === 0)
    throw new UsageError(`expected a prompt whose pictures all have scores, got none of ${ids.length}`);
  const judged = generators.map(({ name, opinion }) => ({
    name,
    opinion,
    means: complete.map((id) => mean(scores.get(pictureId(name, id))!.map((score) => score ?? Number.NaN))),
  }));
  return { ...agreementOfGenerators(judged), prompts: complete.length };
}
