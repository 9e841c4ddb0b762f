/** @file Writes report.html of a training from the files of its folder. */

import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { z } from "zod";
import { UsageError } from "../errors.js";
import { decodeRgb } from "../image/decode.js";
import { DEFAULT_GUARDS, type GuardSettings, judgeValidation, keptCheckpoint, type KeptCheckpoint, NO_GUARDS } from "../training/finetune/guards.js"; // prettier-ignore
import {
  type GridPlace,
  gridPlaceSchema,
  type TrainingManifest,
  trainingManifestSchema,
  updateRecordSchema,
  type ValidationRecord,
  validationRecordSchema,
} from "../training/finetune/records.js";
import { writeFileAtomic } from "../util/files.js";
import { completeLines } from "../util/lines.js";
import { parseJson, readBytes, readText, readTextIfThere } from "../util/read-file.js";
import { embed, type EmbeddedImage } from "./embed.js";
import { type GridColumn, trainingPage } from "./training-page.js";

/** Most pictures of a column; columns between the base and the last. */
const MOST_PLACES = 16;
const MOST_BETWEEN = 2;
const LONGEST_LINE = 8 << 20;

/**
 * Writes `report.html` into a training's folder, from what is there: also of one that still runs or was killed.
 * @param kept what the training kept, where it knows; @default what the guards of its settings keep
 * @returns its absolute path
 * @throws UsageError when the folder holds no training or a damaged one
 */
export async function writeTrainingReport(directory: string, kept?: KeptCheckpoint): Promise<string> {
  const root = resolve(directory);
  const manifest = await readManifest(join(root, "training.json"));
  const [updates, validations, places] = await Promise.all([
    readLines(join(root, "log.jsonl"), updateRecordSchema, "an update"),
    readLines(join(root, "validation.jsonl"), validationRecordSchema, "a validation"),
    readPlaces(join(root, "validation", "prompts.json")),
  ]);
  const guards = guardSettings(manifest);
  const { base, later } = inOrder(validations);
  const prompts = promptsOf(manifest, base);
  const verdicts = base === undefined ? [] : later.map((one) => judgeValidation(base, one, guards, prompts));
  const last = { step: manifest.step, reason: `step ${manifest.step}, the last one: nothing was validated` };
  const keeps = kept ?? (validations.length === 0 && guards === NO_GUARDS ? last : keptCheckpoint(verdicts, guards));
  const ordered = base === undefined ? [] : [base, ...later];
  const steps = columnSteps(ordered.map(({ step }) => step), keeps.step); // prettier-ignore
  const columns = await Promise.all(steps.map((step) => readColumn(root, step, places)));
  const files = await readdir(root);
  const result = resultOf(files, basename(root));
  const page = trainingPage({ manifest, updates, validations: ordered, verdicts, guards, kept: keeps, places, columns, result }); // prettier-ignore
  const path = join(root, "report.html");
  await writeFileAtomic(path, page);
  return path;
}

async function readManifest(path: string): Promise<TrainingManifest> {
  const text = await readText(path, { expected: "a training", as: UsageError });
  return checked(trainingManifestSchema, parseJson(text, path, UsageError), path, "a training");
}

function checked<T>(schema: z.ZodType<T>, value: unknown, where: string, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new UsageError(`${where}: expected ${what}, got\n${z.prettifyError(parsed.error)}`);
}

/** The records of a file of lines; a step that comes again, after a resumption, replaces the earlier and what followed it. */
async function readLines<T extends { readonly step: number }>(
  path: string,
  schema: z.ZodType<T>,
  what: string,
): Promise<T[]> {
  const records: T[] = [];
  let number = 0;
  for await (const { text } of completeLines(path, LONGEST_LINE)) {
    const where = `${path}:${++number}`;
    if (text === undefined) throw new UsageError(`${where}: expected ${what}, got a line of more than ${LONGEST_LINE} bytes`); // prettier-ignore
    const record = checked(schema, parseJson(text, where, UsageError), where, what);
    while ((records.at(-1)?.step ?? -1) >= record.step) records.pop();
    records.push(record);
  }
  return records;
}

async function readPlaces(path: string): Promise<GridPlace[]> {
  const text = await readTextIfThere(path, { expected: "the prompts of the validation", as: UsageError });
  if (text === undefined) return [];
  return checked(z.array(gridPlaceSchema), parseJson(text, path, UsageError), path, "the prompts of the validation");
}

/** The guards as the settings name them; what is not said is as usual. */
const guardsOfConfig = z.object({
  alarm: z.boolean().default(DEFAULT_GUARDS.alarm),
  standardErrors: z.number().nullable().default(DEFAULT_GUARDS.standardErrors),
  diversityFloor: z.number().nullable().default(DEFAULT_GUARDS.diversityFloor),
  divergenceLimit: z.number().nullable().default(DEFAULT_GUARDS.divergenceLimit),
});

function guardSettings({ config }: TrainingManifest): GuardSettings {
  const { guards } = config;
  return guards === null ? NO_GUARDS : guardsOfConfig.catch(DEFAULT_GUARDS).parse(guards ?? {});
}

function inOrder(validations: readonly ValidationRecord[]): {
  base: ValidationRecord | undefined;
  later: ValidationRecord[];
} {
  return { base: validations.find(({ step }) => step === 0), later: validations.filter(({ step }) => step > 0) };
}

/** Which of a validation's pictures share a prompt: as many in a row as the settings say; undefined where they do not. */
function promptsOf({ config }: TrainingManifest, base: ValidationRecord | undefined): string[] | undefined {
  const each = imagesPerPrompt.safeParse(config["guards"]);
  const pictures = Object.values(base?.scores ?? {})[0];
  if (!each.success) return undefined;
  return pictures?.map((_, i) => `prompt ${Math.floor(i / each.data.imagesPerPrompt)}`);
}

const imagesPerPrompt = z.object({ imagesPerPrompt: z.number().int().positive() });

/** Base, up to two between, kept, last; in order. */
function columnSteps(steps: readonly number[], kept: number): number[] {
  const [first, last] = [steps[0], steps.at(-1)];
  if (first === undefined || last === undefined) return [];
  const chosen = new Set([first, last, ...(steps.includes(kept) ? [kept] : [])]);
  const others = steps.filter((step) => !chosen.has(step));
  for (let i = 1; i <= MOST_BETWEEN; i++) {
    const step = others[Math.floor((i * others.length) / (MOST_BETWEEN + 1))];
    if (step !== undefined) chosen.add(step);
  }
  return [...chosen].sort((a, b) => a - b);
}

async function readColumn(root: string, step: number, places: readonly GridPlace[]): Promise<GridColumn> {
  const folder = join(root, "validation", String(step));
  const names = new Set(await readdir(folder).catch(() => []));
  const there = places.filter(({ index }) => names.has(`${index}.png`)).slice(0, MOST_PLACES);
  const images = await Promise.all(
    there.map(async ({ index }): Promise<[number, EmbeddedImage]> => {
      const path = join(folder, `${index}.png`);
      const size = await decodeRgb(await readBytes(path, { expected: "a picture", as: UsageError, limit: 256 << 20 }), path); // prettier-ignore
      return [index, await embed(path, size, true)];
    }),
  );
  return { step, images: new Map(images) };
}

function resultOf(files: readonly string[], folder: string): { kind: "lora" | "model"; path: string } | null {
  const lora = "pytorch_lora_weights.safetensors";
  if (files.includes(lora)) return { kind: "lora", path: `${folder}/${lora}` };
  return files.includes("model") ? { kind: "model", path: `${folder}/model` } : null;
}
