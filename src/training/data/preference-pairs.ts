/** @file Preference pairs from a parquet file, an image folder or JSON lines. */

import { readdir, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { UsageError } from "../../errors.js";
import { describeSystemError } from "../../util/read-file.js";
import type { PreferencePairs } from "./contract.js";
import { openParquetPairs } from "./parquet-pairs.js";
import { findMetadata, readPicture, readPictureRows, sampleAt } from "./picture-rows.js";

/** Columns of the better and the worse picture: those of image folders, and of JSON lines. */
const COLUMNS = [
  ["chosen_file_name", "chosen"],
  ["rejected_file_name", "rejected"],
];

/**
 * Opens preference pairs: what `laurel export preferences` writes as `pickapic`, `imagefolder` or `jsonl`, and Pick-a-Pic itself.
 * @param path a `.parquet` file or a folder of them, a `.jsonl` file, or a folder with `metadata.jsonl` or `metadata.csv` in it or in its folder `train`
 * @throws UsageError when there is no such dataset; DocumentError naming every row of metadata that is wrong
 */
export async function readPreferencePairs(path: string): Promise<PreferencePairs> {
  const status = await stat(path).catch((error: unknown) => {
    throw new UsageError(`${path}: expected preference pairs, got ${describeSystemError(error)}`, { cause: error });
  });
  if (!status.isDirectory()) return extname(path) === ".parquet" ? openParquetPairs([path]) : fromRows(path);
  const metadata = await findMetadata(path);
  if (metadata !== undefined) return fromRows(metadata);
  const parquet = (await readdir(path)).filter((name) => extname(name) === ".parquet").sort();
  if (parquet.length > 0) return openParquetPairs(parquet.map((name) => join(path, name)));
  throw new UsageError(`${path}: expected preference pairs (metadata.jsonl, metadata.csv or parquet files), got none`);
}

async function fromRows(file: string): Promise<PreferencePairs> {
  const rows = await readPictureRows(file, COLUMNS);
  return {
    length: rows.length,
    warnings: [],
    at: async (index) => {
      const { prompt, pictures } = sampleAt(rows, index, file);
      const [better, worse] = await Promise.all([readPicture(pictures[0]!), readPicture(pictures[1]!)]);
      return { prompt, better, worse };
    },
  };
}
