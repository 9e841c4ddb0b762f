/** @file Prompts from files: text, CSV, JSON lines, and lists in JSON such as ImageReward's `refl_data.json`. */

import { readFile, stat } from "node:fs/promises";
import { basename, extname } from "node:path";
import { CsvError, parse as parseCsv } from "csv-parse/sync";
import { UsageError } from "../../errors.js";
import { closest } from "../../util/closest.js";

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

/** Longest prompt, in characters; the longest of ImageReward's data set has 1,364. */
export const MAXIMUM_PROMPT = 10_000;
/** Largest file of prompts. */
const MAXIMUM_BYTES = 256 << 20;
/** Columns that are taken for the prompt when none is named, in this order. */
const PROMPT_COLUMNS = ["prompt", "text", "caption"];

/** Reads prompts. @throws UsageError naming file and line when it cannot be read, is of another form, or a prompt is empty or too long */
export async function readPrompts(source: PromptFile): Promise<PromptEntry[]> {
  const { file } = source;
  const format = source.format ?? formatOf(file);
  const text = await readText(file);
  const rows = READERS[format](text, file);
  const { offset = 0, limit = rows.length } = source;
  const entries = rows.slice(offset, offset + limit).map(({ value, where }) => entryOf(value, source.column, where));
  if (entries.length === 0) {
    throw new UsageError(
      `${file}: expected prompts${offset > 0 ? ` from number ${offset} on` : ""}, got ${rows.length === 0 ? "none" : `${rows.length} before that`}`,
    );
  }
  return entries;
}

/** @throws UsageError unless the prompt is some text of bearable length without a null character */
export function checkPrompt(prompt: string, where: string): void {
  if (prompt.trim() === "") throw new UsageError(`${where}: expected a prompt, got an empty text`);
  if (prompt.length > MAXIMUM_PROMPT)
    throw new UsageError(`${where}: expected a prompt of at most ${MAXIMUM_PROMPT} characters, got ${prompt.length}`);
  if (prompt.includes("\u0000")) throw new UsageError(`${where}: expected a prompt, got one with a null character`);
}

/** A row before it is understood. */
interface Row {
  readonly value: unknown;
  /** `file:line`, or the file with the row's number. */
  readonly where: string;
}

const READERS: Readonly<Record<NonNullable<PromptFile["format"]>, (text: string, file: string) => Row[]>> = {
  txt: (text, file) =>
    lines(text).flatMap((line, i) => (line.trim() === "" ? [] : [{ value: line.trim(), where: `${file}:${i + 1}` }])),
  jsonl: (text, file) =>
    lines(text).flatMap((line, i) => {
      const where = `${file}:${i + 1}`;
      return line.trim() === "" ? [] : [{ value: parseJson(line, where), where }];
    }),
  json: (text, file) => {
    const list = parseJson(text, file);
    if (!Array.isArray(list)) throw new UsageError(`${file}: expected a list of prompts, got ${kindOf(list)}`);
    return list.map((value: unknown, i) => ({ value, where: `${file}: entry ${i}` }));
  },
  csv: (text, file) => {
    try {
      const rows = parseCsv(text, { columns: true, bom: true, info: true, skip_empty_lines: true, trim: true }) as {
        record: Record<string, string>;
        info: { lines: number };
      }[];
      return rows.map(({ record, info }) => ({ value: record, where: `${file}:${info.lines}` }));
    } catch (cause) {
      if (!(cause instanceof CsvError)) throw cause;
      throw new UsageError(`${file}: expected CSV with a line of column names, got ${cause.message}`, { cause });
    }
  },
};

function entryOf(value: unknown, column: string | undefined, where: string): PromptEntry {
  if (typeof value === "string") {
    checkPrompt(value, where);
    return { id: undefined, prompt: value, negative: undefined, fields: {} };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError(`${where}: expected a text or an object with a prompt, got ${kindOf(value)}`);
  }
  const row = value as Record<string, unknown>;
  const names = Object.keys(row);
  const found = column ?? PROMPT_COLUMNS.find((name) => Object.hasOwn(row, name));
  const prompt = found === undefined || !Object.hasOwn(row, found) ? undefined : row[found];
  if (found === undefined || typeof prompt !== "string") {
    const near = column === undefined ? undefined : closest(column, names);
    const hint = near === undefined ? "" : `; did you mean ${near}?`;
    throw new UsageError(
      `${where}: expected a text under ${found ?? PROMPT_COLUMNS.join(", ")}, got ${names.length === 0 ? "nothing" : names.slice(0, 8).join(", ")}${hint}`,
    );
  }
  checkPrompt(prompt, where);
  const fields: Record<string, string> = {};
  for (const name of names) {
    const field = row[name];
    if (name !== found && (typeof field === "string" || typeof field === "number" || typeof field === "boolean"))
      fields[name] = String(field);
  }
  const { id, negative } = fields;
  return { id, prompt, negative, fields };
}

function formatOf(file: string): NonNullable<PromptFile["format"]> {
  const ending = extname(file).toLowerCase();
  const formats = { ".txt": "txt", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json" } as const;
  if (Object.hasOwn(formats, ending)) return formats[ending as keyof typeof formats];
  throw new UsageError(
    `${basename(file)}: expected a file ending in ${Object.keys(formats).join(", ")}, or a format beside it, got ${ending === "" ? "no ending" : ending}`,
  );
}

async function readText(file: string): Promise<string> {
  try {
    const facts = await stat(file);
    if (!facts.isFile())
      throw new UsageError(
        `${file}: expected a file of prompts, got ${facts.isDirectory() ? "a folder" : "no regular file"}`,
      );
    if (facts.size > MAXIMUM_BYTES)
      throw new UsageError(`${file}: expected at most ${MAXIMUM_BYTES >> 20} MiB of prompts, got ${facts.size} bytes`);
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(file));
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    const actual =
      code === "ENOENT"
        ? "no such file"
        : cause instanceof TypeError
          ? "bytes that are no UTF-8"
          : (code ?? String(cause));
    throw new UsageError(`${file}: expected a file of prompts, got ${actual}`, { cause });
  }
}

function lines(text: string): string[] {
  return text.split(/\r?\n/);
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new UsageError(`${where}: expected JSON, got ${(cause as Error).message}`, { cause });
  }
}

function kindOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "a list" : typeof value;
}
