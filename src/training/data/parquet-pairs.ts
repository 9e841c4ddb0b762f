/** @file Pairs in parquet files with the columns of Pick-a-Pic: `jpg_0`, `jpg_1`, `label_0`, `caption`. Pictures are read when asked for. */

import { stat } from "node:fs/promises";
import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { LaurelError, UsageError } from "../../errors.js";
import { decodeRgb } from "../../image/decode.js";
import { promptFault } from "../../prompts/prompt-file.js";
import { readRange } from "../../util/files.js";
import { describeSystemError, statusFault } from "../../util/read-file.js";
import type { PreferencePair, PreferencePairs } from "./contract.js";
import { sampleAt } from "./picture-rows.js";

const PICTURES = ["jpg_0", "jpg_1"] as const;
const COLUMNS = [...PICTURES, "caption"];
/** Bytes of row groups that stay decoded: those that must be read whole, because their file does not say where their pages are. */
const KEPT_BYTES = 512 << 20;

/** A pair in its file. */
interface PairPlace {
  readonly file: ParquetFile;
  readonly row: number;
  /** Whether `jpg_0` was preferred. */
  readonly first: boolean;
}

/** Opens pairs in parquet files. @throws UsageError naming the file that is no parquet, or lacks a column; or when no file has a pair */
export async function openParquetPairs(paths: readonly string[]): Promise<PreferencePairs> {
  const pairs: PairPlace[] = [];
  const warnings: string[] = [];
  const cache = new GroupCache();
  for (const path of paths) {
    const file = await ParquetFile.open(path, cache);
    const left = { ties: 0, unlabelled: 0 };
    for (const [row, label] of (await file.labels()).entries()) {
      if (label === 0 || label === 1) pairs.push({ file, row, first: label === 1 });
      else if (label === 0.5) left.ties++;
      else left.unlabelled++;
    }
    if (left.ties > 0) warnings.push(`${path}: ${left.ties} pairs without a preference (label_0 is 0.5) were left out`);
    if (left.unlabelled > 0)
      warnings.push(`${path}: ${left.unlabelled} pairs whose label_0 is not 0, 0.5 or 1 were left out`);
  }
  const where = paths.join(", ");
  if (pairs.length === 0) throw new UsageError(`${where}: expected pairs with a preference, got none`);
  return {
    length: pairs.length,
    warnings,
    at: async (index) => {
      const { file, row, first } = sampleAt(pairs, index, where);
      return file.pair(row, first);
    },
  };
}

/** Cells of a row as they are stored: bytes, or a text where the file says that it is one. */
type Cells = readonly unknown[];

/** One parquet file. */
class ParquetFile {
  private constructor(
    private readonly path: string,
    private readonly buffer: AsyncBuffer,
    private readonly metadata: FileMetaData,
    private readonly cache: GroupCache,
  ) {}

  static async open(path: string, cache: GroupCache): Promise<ParquetFile> {
    const expected = "a parquet file with the columns of Pick-a-Pic";
    const status = await stat(path).catch((error: unknown) => {
      throw new UsageError(`${path}: expected ${expected}, got ${describeSystemError(error)}`, { cause: error });
    });
    const fault = statusFault(status);
    if (fault !== undefined) throw new UsageError(`${path}: expected ${expected}, got ${fault}`);
    const buffer = {
      byteLength: status.size,
      slice: async (start: number, end = status.size) =>
        (await readRange(path, start, end - start)).buffer as ArrayBuffer,
    };
    const metadata = await guarded(path, () => parquetMetadataAsync(buffer));
    const names = metadata.schema.slice(1).map(({ name }) => name);
    const missing = [...COLUMNS, "label_0"].filter((name) => !names.includes(name));
    if (missing.length > 0)
      throw new UsageError(`${path}: expected the columns ${missing.join(", ")}, got ${names.slice(0, 20).join(", ")}`);
    return new ParquetFile(path, buffer, metadata, cache);
  }

  /** `label_0` of every row. */
  async labels(): Promise<number[]> {
    const { buffer: file, metadata } = this;
    const rows = await guarded(this.path, () => parquetReadObjects({ file, metadata, columns: ["label_0"] }));
    return rows.map((row): number => (row["label_0"] === null ? Number.NaN : Number(row["label_0"])));
  }

  /** The pair of a row. @throws UsageError naming row and column */
  async pair(row: number, first: boolean): Promise<PreferencePair> {
    const [zero, one, caption] = await this.#cells(row);
    const where = `${this.path}: row ${row}`;
    const prompt = caption instanceof Uint8Array ? Buffer.from(caption).toString("utf8") : caption;
    if (typeof prompt !== "string") throw new UsageError(`${where}: caption: expected a text, got none`);
    const fault = promptFault(prompt);
    if (fault !== undefined) throw new UsageError(`${where}: caption: ${fault}`);
    const [better, worse] = first ? [0, 1] : [1, 0];
    const pictures = await Promise.all(
      [zero, one].map((bytes, i) => {
        if (!(bytes instanceof Uint8Array))
          throw new UsageError(`${where}: ${PICTURES[i]}: expected the bytes of a picture, got none`);
        return decodeRgb(bytes, `${where}: ${PICTURES[i]}`);
      }),
    );
    return { prompt, better: pictures[better]!, worse: pictures[worse]! };
  }

  async #cells(row: number): Promise<Cells> {
    let start = 0;
    for (const [i, group] of this.metadata.row_groups.entries()) {
      const end = start + Number(group.num_rows);
      if (row >= end) {
        start = end;
        continue;
      }
      const chunks = group.columns.filter((chunk) => COLUMNS.includes(chunk.meta_data?.path_in_schema[0] ?? ""));
      const paged = chunks.some(({ offset_index_offset }) => offset_index_offset !== undefined);
      if (paged) return (await this.#read(row, row + 1))[0]!;
      const bytes = chunks.reduce((sum, { meta_data }) => sum + Number(meta_data?.total_uncompressed_size ?? 0n), 0);
      const rows = await this.cache.get(`${this.path}\n${i}`, bytes, () => this.#read(start, end));
      return rows[row - start]!;
    }
    throw new UsageError(`${this.path}: expected row ${row}, got ${start} rows`);
  }

  async #read(rowStart: number, rowEnd: number): Promise<readonly Cells[]> {
    const { buffer: file, metadata } = this;
    const range = { columns: COLUMNS, rowStart, rowEnd, utf8: false, useOffsetIndex: true };
    const rows = await guarded(this.path, () => parquetReadObjects({ file, metadata, ...range }));
    return rows.map((row) => COLUMNS.map((name) => row[name]));
  }
}

/** Row groups that were read last. */
class GroupCache {
  readonly #groups = new Map<string, { readonly bytes: number; readonly rows: Promise<readonly Cells[]> }>();
  #bytes = 0;

  get(key: string, bytes: number, read: () => Promise<readonly Cells[]>): Promise<readonly Cells[]> {
    const known = this.#groups.get(key);
    if (known !== undefined) {
      // the one used last goes last
      this.#groups.delete(key);
      this.#groups.set(key, known);
      return known.rows;
    }
    const rows = read();
    rows.catch(() => this.#drop(key));
    this.#groups.set(key, { bytes, rows });
    this.#bytes += bytes;
    for (const other of this.#groups.keys()) {
      if (this.#bytes <= KEPT_BYTES || other === key) break;
      this.#drop(other);
    }
    return rows;
  }

  #drop(key: string): void {
    this.#bytes -= this.#groups.get(key)?.bytes ?? 0;
    this.#groups.delete(key);
  }
}

/** What the library says of a damaged file, as an error that names it. */
async function guarded<T>(path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof LaurelError) throw error;
    throw new UsageError(`${path}: expected a sound parquet file, got ${(error as Error).message}`, { cause: error });
  }
}
