/** @file Files of rows: a text with one a line, JSON lines, a list in JSON, CSV. Each row knows its place. */

import { basename, extname } from "node:path";
import { CsvError, parse as parseCsv } from "csv-parse/sync";
import { UsageError } from "../errors.js";
import { parseJson, readText } from "./read-file.js";
import { parseStrictJson } from "./strict-json.js";
import { DocumentError, type Fault, type Place } from "./yaml/located.js";

/** A row before it is understood. */
export interface Row {
  readonly value: unknown;
  readonly place: Place;
}

/** Largest file of rows. */
const MAXIMUM_BYTES = 256 << 20;
const FORMATS = { ".txt": "txt", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json" } as const;

/** How rows are written. */
export type RowFormat = (typeof FORMATS)[keyof typeof FORMATS];

/**
 * Reads the rows of a file; empty lines are none.
 * @param what are in it, for errors: `prompts`
 * @throws UsageError when it cannot be read or is of another form; DocumentError with the lines that are no JSON
 */
export async function readRows(file: string, what: string, format = formatOf(file)): Promise<Row[]> {
  const options = { expected: `a file of ${what}`, limit: MAXIMUM_BYTES, as: UsageError };
  return READERS[format](await readText(file, options), file, what);
}

const READERS: Readonly<Record<RowFormat, (text: string, file: string, what: string) => Row[]>> = {
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
  json: (text, file, what) => {
    const list = parseList(text, file);
    if (!Array.isArray(list)) throw new UsageError(`${file}: expected a list of ${what}, got ${kindOf(list)}`);
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

function formatOf(file: string): RowFormat {
  const ending = extname(file).toLowerCase();
  if (Object.hasOwn(FORMATS, ending)) return FORMATS[ending as keyof typeof FORMATS];
  throw new UsageError(
    `${basename(file)}: expected a file ending in ${Object.keys(FORMATS).join(", ")}, or a format beside it, got ${ending === "" ? "no ending" : ending}`,
  );
}

/** Lines that hold something. */
function lines(text: string, file: string): { readonly value: string; readonly place: Place }[] {
  return text
    .split(/\r?\n/)
    .flatMap((value, i) => (value.trim() === "" ? [] : [{ value, place: { file, line: i + 1, column: 1 } }]));
}

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

/** What a value of JSON is, for messages. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "a list" : typeof value === "object" ? "an object" : `a ${typeof value}`;
}
