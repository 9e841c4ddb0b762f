/** @file Rows of a dataset that name picture files: metadata of image folders, JSON lines, and texts beside pictures. */

import { stat } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import { UsageError } from "../../errors.js";
import { toRgb } from "../../image/convert.js";
import { decodeImageFile } from "../../image/decode.js";
import { findImages } from "../../image/find-images.js";
import type { RgbImage } from "../../image/types.js";
import { promptEntry, promptFault } from "../../prompts/prompt-file.js";
import { readText, statusFault } from "../../util/read-file.js";
import { readRows } from "../../util/rows.js";
import { DocumentError, type Fault } from "../../util/yaml/located.js";

/** A prompt with the absolute paths of its pictures, as many as were asked for. */
export interface PictureRow {
  readonly prompt: string;
  readonly pictures: readonly string[];
  readonly score: number | null;
}

/** Names that the columns of pictures may have, the first that a row has counts; one list for each picture of a row. */
export type PictureColumns = readonly (readonly string[])[];

/** Names of metadata in a folder. */
const METADATA = ["metadata.jsonl", "metadata.csv"];
/** Parts of a dataset that are looked for when a folder has no metadata of its own. */
const SPLITS = [".", "train"];
/** Faults that are listed. */
const MAXIMUM_FAULTS = 20;
/** Largest text beside a picture. */
const MAXIMUM_SIDECAR_BYTES = 1 << 20;

/** The metadata file of a folder or of the split `train` in it, or undefined. */
export async function findMetadata(folder: string): Promise<string | undefined> {
  for (const split of SPLITS) {
    for (const name of METADATA) {
      const path = join(folder, split, name);
      if ((await stat(path).catch(() => undefined))?.isFile() === true) return path;
    }
  }
  return undefined;
}

/**
 * Reads rows that name pictures; relative names are relative to the file's folder.
 * @throws UsageError when the file cannot be read or has no rows; DocumentError naming every row without a prompt, or with a picture that is not there
 */
export async function readPictureRows(file: string, columns: PictureColumns): Promise<PictureRow[]> {
  const rows = await readRows(file, "pictures with prompts");
  if (rows.length === 0) throw new UsageError(`${file}: expected pictures with prompts, got none`);
  const faults: Fault[] = [];
  const found: PictureRow[] = [];
  for (const { value, place } of rows) {
    const row = await pictureRow(value, columns, dirname(resolve(file)));
    if (typeof row !== "string") found.push(row);
    else if (faults.push({ place, message: row }) >= MAXIMUM_FAULTS) break;
  }
  if (faults.length > 0) throw new DocumentError(faults);
  return found;
}

/** A row that is sound, or what is wrong with it. */
async function pictureRow(value: unknown, columns: PictureColumns, folder: string): Promise<PictureRow | string> {
  const entry = promptEntry(value, undefined);
  if (typeof entry === "string") return entry;
  const row = (typeof value === "object" ? value : {}) as Record<string, unknown>;
  const pictures: string[] = [];
  for (const names of columns) {
    const name = names.find((one) => Object.hasOwn(row, one));
    const path = name === undefined ? undefined : pathIn(row[name]);
    if (name === undefined || path === undefined)
      return `expected the name of a picture under ${names.join(", ")}, got none`;
    const absolute = resolve(folder, path);
    const status = await stat(absolute).catch(() => undefined);
    const fault = status === undefined ? "no such file" : statusFault(status);
    if (fault !== undefined) return `${name}: expected a picture, got ${fault}: ${path}`;
    pictures.push(absolute);
  }
  const score = scoreIn(row);
  return typeof score === "string" ? score : { prompt: entry.prompt, pictures, score };
}

/** A path, alone or as `image` of an object. */
function pathIn(value: unknown): string | undefined {
  if (typeof value === "string") return value === "" ? undefined : value;
  return typeof value === "object" && value !== null && "image" in value ? pathIn(value.image) : undefined;
}

/** The score of a row: `score`, or the only one of `scores`; null where there is none, or several. Otherwise what is wrong with it. */
function scoreIn(row: Readonly<Record<string, unknown>>): number | null | string {
  const { score = onlyValue(row["scores"]) } = row;
  if (score === null || score === undefined || score === "") return null;
  const number = typeof score === "string" ? Number(score) : score;
  return typeof number === "number" && Number.isFinite(number)
    ? number
    : `score: expected a number, got ${JSON.stringify(score)}`;
}

function onlyValue(scores: unknown): unknown {
  const values = typeof scores === "object" && scores !== null ? Object.values(scores) : [];
  return values.length === 1 ? values[0] : undefined;
}

/** The pictures below a folder with the prompts in the texts beside them: `a.png` and `a.txt`. @throws UsageError, DocumentError naming every picture without one */
export async function readSidecars(folder: string): Promise<PictureRow[]> {
  const rows: PictureRow[] = [];
  const faults: Fault[] = [];
  for (const path of await findImages([folder])) {
    const text = join(dirname(path), `${basename(path, extname(path))}.txt`);
    const options = { expected: "the prompt of the picture beside it", limit: MAXIMUM_SIDECAR_BYTES, as: UsageError };
    const place = { file: text, line: 0, column: 0 };
    try {
      const prompt = (await readText(text, options)).trim();
      const fault = promptFault(prompt);
      if (fault === undefined) rows.push({ prompt, pictures: [path], score: null });
      else faults.push({ place, message: fault });
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      faults.push({ place, message: error.message.slice(`${text}: `.length) });
    }
    if (faults.length >= MAXIMUM_FAULTS) break;
  }
  if (faults.length > 0) throw new DocumentError(faults);
  return rows;
}

/** A picture's pixels. @throws UsageError naming the file */
export async function readPicture(path: string): Promise<RgbImage> {
  return toRgb(await decodeImageFile(path));
}

/** The sample at `index`. @throws UsageError when there is none */
export function sampleAt<Sample>(samples: ArrayLike<Sample>, index: number, where: string): Sample {
  const sample = samples[index];
  if (sample === undefined)
    throw new UsageError(`${where}: expected a sample from 0 to ${samples.length - 1}, got ${index}`);
  return sample;
}
