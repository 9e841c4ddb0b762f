/** @file Tables of any length as CSV, JSON lines or parquet, written as they come. */

import { extname, resolve } from "node:path";
import { LaurelError, UsageError } from "../errors.js";
import { writeFileAtomic } from "../util/files.js";
import { describeSystemError } from "../util/read-file.js";
import { checkFilePlace, withParent } from "./datasets/staging.js";
import { type ParquetCell, parquetPieces } from "./parquet-rows.js";

/** A column of a table and where its values come from. */
export interface TableColumn<Row> {
  readonly name: string;
  readonly type: "STRING" | "DOUBLE" | "INT64" | "BOOLEAN";
  /** Whole numbers for INT64. */
  readonly value: (row: Row) => string | number | boolean | null;
}

/** What was written. */
export interface WrittenTable {
  /** Absolute. */
  readonly path: string;
  readonly rows: number;
  readonly bytes: number;
}

/** Endings of files that a table is written to. */
export const TABLE_ENDINGS = [".csv", ".jsonl", ".parquet"] as const;
/** Rows of a row group of parquet. */
const GROUP = { rows: 10_000, bytes: Infinity } as const;
/** Characters that are collected before they are written. */
const PIECE = 1 << 16;

/** Checks that a table can be written there, before there is one. @throws UsageError for another ending, or when something is there that may not be replaced */
export async function checkTablePlace(path: string, force: boolean): Promise<void> {
  if (!TABLE_ENDINGS.some((ending) => ending === extname(path).toLowerCase()))
    throw new UsageError(`${path}: expected the name of a file ending in ${TABLE_ENDINGS.join(", ")}, got another`);
  await checkFilePlace(path, force);
}

/**
 * Writes rows into a file of the kind that its ending says. It appears whole or not at all.
 * @throws UsageError as `checkTablePlace`; LaurelError when it cannot be written
 */
export async function writeTable<Row>(
  path: string,
  rows: AsyncIterable<Row>,
  columns: readonly TableColumn<Row>[],
  { force = false }: { readonly force?: boolean } = {},
): Promise<WrittenTable> {
  await checkTablePlace(path, force);
  const written = { rows: 0, bytes: 0 };
  const counted = async function* (): AsyncGenerator<Row> {
    for await (const row of rows) {
      written.rows++;
      yield row;
    }
  };
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    const made =
      extname(path).toLowerCase() === ".parquet" ? parquet(counted(), columns) : text(counted(), columns, path);
    for await (const piece of made) {
      written.bytes += piece.byteLength;
      yield piece;
    }
  };
  try {
    await withParent(path, () => writeFileAtomic(path, pieces()));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof LaurelError || code === undefined) throw error;
    const actual = code === "ENOSPC" ? "a full disk" : describeSystemError(error);
    throw new LaurelError(`${path}: expected a place to write the table, got ${actual}`, { cause: error });
  }
  return { path: resolve(path), ...written };
}

function parquet<Row>(rows: AsyncIterable<Row>, columns: readonly TableColumn<Row>[]): AsyncGenerator<Uint8Array> {
  const cells = async function* () {
    for await (const row of rows) {
      const values = columns.map(({ type, value }): ParquetCell => {
        const one = value(row);
        if (type !== "INT64" || typeof one !== "number") return one;
        return Number.isSafeInteger(one) ? BigInt(one) : null;
      });
      yield { cells: values, bytes: 0 };
    }
  };
  const described = columns.map(({ name, type }) => ({ name, type, nullable: true }));
  return parquetPieces(described, cells(), GROUP);
}

async function* text<Row>(
  rows: AsyncIterable<Row>,
  columns: readonly TableColumn<Row>[],
  path: string,
): AsyncGenerator<Uint8Array> {
  const isCsv = extname(path).toLowerCase() === ".csv";
  const line = (row: Row): string =>
    isCsv
      ? csvLine(columns.map(({ value }) => value(row)))
      : `${JSON.stringify(Object.fromEntries(columns.map(({ name, value }) => [name, value(row)])))}\n`;
  let held = isCsv ? csvLine(columns.map(({ name }) => name)) : "";
  for await (const row of rows) {
    held += line(row);
    if (held.length < PIECE) continue;
    yield Buffer.from(held);
    held = "";
  }
  yield Buffer.from(held);
}

/** A record as RFC 4180 has it. A name may hold line breaks and quotes. */
function csvLine(cells: readonly (string | number | boolean | null)[]): string {
  const quoted = cells.map((cell) => {
    const plain = cell === null ? "" : String(cell);
    return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  });
  return `${quoted.join(",")}\n`;
}
