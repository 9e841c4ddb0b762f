/** @file Prompts from files: text, CSV, JSON lines, and lists in JSON such as ImageReward's `refl_data.json`. */

import { basename, extname } from "node:path";
import { CsvError, parse as parseCsv } from "csv-parse/sync";
import { UsageError } from "../errors.js";
import { closest } from "../util/closest.js";
import { parseJson, readText } from "../util/read-file.js";
import { parseStrictJson } from "../util/strict-json.js";
import { DocumentError, type Fault, type Place } from "../util/yaml/located.js";

/** Longest prompt, in characters; the longest of ImageReward's data set has 1,364. */
export const MAXIMUM_PROMPT = 10_000;
/** Longest name of a prompt. */
export const MAXIMUM_ID = 200;

/** One prompt with what its file says beside it. */
export interface PromptEntry {
  /** Names it in files and reports; undefined when the source gives no name. */
  readonly id: string | undefined;
  readonly prompt: string;
  readonly negative: string | undefined;
  /** Other columns, for `${item.<column>}`. */
  readonly fields: Readonly<Record<string, string>>;
}

/** Which prompts of which file. */
export interface PromptFile {
  readonly file: string;
  readonly format?: "txt" | "csv" | "jsonl" | "json" | undefined;
  readonly column?: string | undefined;
  readonly offset?: number | undefined;
  readonly limit?: number | undefined;
}

/** Largest file of prompts. */
const MAXIMUM_BYTES = 256 << 20;
/** Rows without a prompt that are listed. */
const MAXIMUM_FAULTS = 20;
/** Columns that are taken for the prompt when none is named, in this order. */
const PROMPT_COLUMNS = ["prompt", "text", "caption"];

/** A prompt, and where its file has it. */
export interface PlacedPrompt {
  readonly entry: PromptEntry;
  readonly place: Place;
}

/** Reads prompts. @throws as {@link readPlacedPrompts} */
export async function readPrompts(source: PromptFile): Promise<PromptEntry[]> {
  return (await readPlacedPrompts(source)).map(({ entry }) => entry);
}

/**
 * Reads prompts with their places.
 * @throws UsageError when the file cannot be read or is of another form; DocumentError naming every row that has no prompt, or one that is too long
 */
export async function readPlacedPrompts(source: PromptFile): Promise<PlacedPrompt[]> {
  const { file, column, offset = 0 } = source;
  const format = source.format ?? formatOf(file);
  const options = { expected: "a file of prompts", limit: MAXIMUM_BYTES, as: UsageError };
  const rows = READERS[format](await readText(file, options), file);
  const chosen = rows.slice(offset, offset + (source.limit ?? rows.length));
  if (chosen.length === 0) {
    const before = rows.length === 0 ? "none" : `${rows.length} before that`;
    throw new UsageError(`${file}: expected prompts${offset > 0 ? ` from number ${offset} on` : ""}, got ${before}`);
  }
  const faults: Fault[] = [];
  const entries: PlacedPrompt[] = [];
  for (const { value, place } of chosen) {
    const entry = entryOf(value, column);
    if (typeof entry !== "string") entries.push({ entry, place });
    else if (faults.push({ place, message: entry }) >= MAXIMUM_FAULTS) break;
  }
  if (faults.length > 0) throw new DocumentError(faults);
  return entries;
}

/** What is wrong with a prompt, or undefined: it is some text of bearable length without a null character. */
export function promptFault(prompt: string): string | undefined {
  if (prompt.trim() === "") return "expected a prompt, got an empty text";
  if (prompt.length > MAXIMUM_PROMPT)
    return `expected a prompt of at most ${MAXIMUM_PROMPT} characters, got ${prompt.length}`;
  return prompt.includes("\u0000") ? "expected a prompt, got one with a null character" : undefined;
}

/** A row before it is understood. */
interface Row {
  readonly value: unknown;
  readonly place: Place;
}

type Reader = (text: string, file: string) => Row[];

const READERS: Readonly<Record<NonNullable<PromptFile["format"]>, Reader>> = {
  txt: (text, file) => lines(text, file).map(({ value, place }) => ({ value: value.trim(), place })),
  jsonl: (text, file) => {
    const faults: Fault[] = [];
    const rows = lines(text, file).flatMap(({ value, place }) => {
      try {
        return [{ value: parseJson(value, "line", UsageError), place }];
      } catch (error) {
        faults.push({ place, message: (error as Error).message.replace(/^line: /, "") });
        return [];
      }
    });
    if (faults.length > 0) throw new DocumentError(faults);
    return rows;
  },
  json: (text, file) => {
    const list = parseList(text, file);
    if (!Array.isArray(list)) throw new UsageError(`${file}: expected a list of prompts, got ${kindOf(list)}`);
    return list.map((value: unknown, i) => ({ value, place: { file: `${file}: entry ${i}`, line: 0, column: 0 } }));
  },
  csv: (text, file) => {
    let names: readonly string[] = [];
    const columns = (header: string[]): string[] => {
      names = header;
      return header;
    };
    try {
      const options = { columns, info: true, skip_empty_lines: true, trim: true } as const;
      const rows = parseCsv(text, options) as unknown as { record: Record<string, string>; info: { lines: number } }[];
      const twice = names.find((name, i) => names.indexOf(name) < i);
      if (twice !== undefined)
        throw new UsageError(`${file}: expected each column once, got ${JSON.stringify(twice)} again`);
      return rows.map(({ record, info }) => ({ value: record, place: { file, line: info.lines, column: 1 } }));
    } catch (cause) {
      if (!(cause instanceof CsvError)) throw cause;
      throw new UsageError(`${file}: expected CSV with a line of column names, got ${cause.message}`, { cause });
    }
  },
};

/** JSON, with the line of what is wrong with it. */
function parseList(text: string, file: string): unknown {
  try {
    return parseJson(text, file, UsageError);
  } catch (error) {
    const at = faultPosition(text);
    if (at === undefined) throw error;
    const before = text.slice(0, at).split("\n");
    const place = { file, line: before.length, column: (before.at(-1) ?? "").length + 1 };
    const message = (error as Error).message.slice(`${file}: `.length);
    throw new DocumentError([{ place, message }], { cause: error });
  }
}

/** Where JSON goes wrong; undefined where it is merely empty or nested too deep. */
function faultPosition(text: string): number | undefined {
  if (text.trim() === "") return undefined;
  try {
    parseStrictJson(text);
    return undefined;
  } catch (error) {
    const position = /^at character (\d+):/.exec((error as Error).message)?.[1];
    return position === undefined ? undefined : Number(position);
  }
}

/** The entry of a row, or what is wrong with it. */
function entryOf(value: unknown, column: string | undefined): PromptEntry | string {
  if (typeof value === "string")
    return promptFault(value) ?? { id: undefined, prompt: value, negative: undefined, fields: {} };
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return `expected a text or an object with a prompt, got ${kindOf(value)}`;
  const row = value as Record<string, unknown>;
  const names = Object.keys(row);
  const found = column ?? PROMPT_COLUMNS.find((name) => Object.hasOwn(row, name));
  const prompt = found === undefined || !Object.hasOwn(row, found) ? undefined : row[found];
  if (found === undefined || typeof prompt !== "string") {
    const near = column === undefined ? undefined : closest(column, names);
    const hint = near === undefined ? "" : `; did you mean ${near}?`;
    return `expected a text under ${found ?? PROMPT_COLUMNS.join(", ")}, got ${names.length === 0 ? "nothing" : names.slice(0, 8).join(", ")}${hint}`;
  }
  const others = names.flatMap((name): [string, string][] => {
    const field = row[name];
    const plain = typeof field === "string" || typeof field === "number" || typeof field === "boolean";
    return plain && name !== found ? [[name, String(field)]] : [];
  });
  const fields = Object.fromEntries(others);
  const id = Object.hasOwn(fields, "id") && fields["id"] !== "" ? fields["id"] : undefined;
  const negative = Object.hasOwn(fields, "negative") ? fields["negative"] : undefined;
  if (id !== undefined && id.length > MAXIMUM_ID)
    return `expected an id of at most ${MAXIMUM_ID} characters, got ${id.length}`;
  return promptFault(prompt) ?? { id, prompt, negative, fields };
}

function formatOf(file: string): NonNullable<PromptFile["format"]> {
  const ending = extname(file).toLowerCase();
  const formats = { ".txt": "txt", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json" } as const;
  if (Object.hasOwn(formats, ending)) return formats[ending as keyof typeof formats];
  throw new UsageError(
    `${basename(file)}: expected a file ending in ${Object.keys(formats).join(", ")}, or a format beside it, got ${ending === "" ? "no ending" : ending}`,
  );
}

/** Lines that hold something. */
function lines(text: string, file: string): { readonly value: string; readonly place: Place }[] {
  return text
    .split(/\r?\n/)
    .flatMap((value, i) => (value.trim() === "" ? [] : [{ value, place: { file, line: i + 1, column: 1 } }]));
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "a list" : typeof value === "object" ? "an object" : `a ${typeof value}`;
}
