/** @file Pairs as parquet with the columns of Pick-a-Pic, which Diffusion-DPO's own script and that of diffusers read. */

import { resolve } from "node:path";
import { throwIfAborted } from "../../util/abort.js";
import { writeFileAtomic } from "../../util/files.js";
import { type ParquetCell, type ParquetColumn, parquetPieces, type ParquetRow } from "../parquet-rows.js";
import { betterFirst, pictureBytes, type PreferenceRow, type WriteOptions, type WrittenDataset } from "./rows.js";
import { checkFilePlace, withParent } from "./staging.js";

/** Rows and bytes of pictures after which a row group ends: a reader holds one at a time, and so does the writer. */
const GROUP = { rows: 100, bytes: 64 << 20 } as const;

/** Columns in the order of the file. Pictures are stored as they are: they hardly shrink, and a reader can take one alone. */
const COLUMNS: readonly ParquetColumn[] = [
  { name: "jpg_0", type: "BYTE_ARRAY", encoding: "PLAIN", codec: "UNCOMPRESSED" },
  { name: "jpg_1", type: "BYTE_ARRAY", encoding: "PLAIN", codec: "UNCOMPRESSED" },
  { name: "label_0", type: "DOUBLE" },
  { name: "label_1", type: "DOUBLE" },
  { name: "caption", type: "STRING" },
  { name: "are_different", type: "BOOLEAN" },
  { name: "has_label", type: "BOOLEAN" },
  { name: "image_0_uid", type: "STRING" },
  { name: "image_1_uid", type: "STRING" },
  { name: "model_0", type: "STRING" },
  { name: "model_1", type: "STRING" },
  { name: "score_0", type: "DOUBLE" },
  { name: "score_1", type: "DOUBLE" },
  { name: "seed_0", type: "INT64" },
  { name: "seed_1", type: "INT64" },
];

/**
 * Writes pairs into one parquet file. `jpg_0` and `jpg_1` hold the bytes of the pictures' files, which are PNG; readers tell the format from the bytes.
 * @param path of the file
 * @throws UsageError when it is there already, or a picture is not what its run recorded
 */
export async function writePickapic(
  rows: readonly PreferenceRow[],
  path: string,
  { force = false, signal, onRow }: WriteOptions = {},
): Promise<WrittenDataset> {
  await checkFilePlace(path, force);
  const file = { bytes: 0 };
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    for await (const piece of parquetPieces(COLUMNS, cellRows(rows, signal, onRow), GROUP)) {
      file.bytes += piece.byteLength;
      yield piece;
    }
  };
  await withParent(path, () => writeFileAtomic(path, pieces()));
  return { files: [resolve(path)], rows: rows.length, pictures: 2 * rows.length, bytes: file.bytes };
}

/** Rows of cells, as they are asked for. */
async function* cellRows(
  rows: readonly PreferenceRow[],
  signal: AbortSignal | undefined,
  onRow: WriteOptions["onRow"],
): AsyncGenerator<ParquetRow> {
  for (const [i, row] of rows.entries()) {
    throwIfAborted(signal, "the export");
    yield { cells: await cellsOf(row), bytes: row.better.bytes + row.worse.bytes };
    onRow?.(i + 1);
  }
}

async function cellsOf(row: PreferenceRow): Promise<ParquetCell[]> {
  const first = betterFirst(row);
  const sides = first ? [row.better, row.worse] : [row.worse, row.better];
  const [one, other] = sides as [PreferenceRow["better"], PreferenceRow["worse"]];
  return [
    await pictureBytes(one),
    await pictureBytes(other),
    first ? 1 : 0,
    first ? 0 : 1,
    row.prompt,
    true,
    true,
    one.sha256,
    other.sha256,
    one.model,
    other.model,
    one.score,
    other.score,
    BigInt(one.seed),
    BigInt(other.seed),
  ];
}
