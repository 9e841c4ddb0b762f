/** @file Pictures with prompts from an image folder, JSON lines, or a folder of pictures with texts beside them. */

import { stat } from "node:fs/promises";
import { UsageError } from "../../errors.js";
import { describeSystemError } from "../../util/read-file.js";
import type { ImageSet } from "./contract.js";
import { findMetadata, type PictureRow, readPicture, readPictureRows, readSidecars, sampleAt } from "./picture-rows.js";

const COLUMNS = [["file_name", "image", "path"]];

/**
 * Opens pictures with prompts: what `laurel export images` writes as `imagefolder` or `jsonl`, image folders of Hugging Face, and folders in which
 * `a.txt` holds the prompt of `a.png`. A row's `score`, or the only one of its `scores`, is the picture's.
 * @param path a `.jsonl` or `.csv` file, or a folder; metadata in it or in its folder `train` goes before texts beside pictures
 * @throws UsageError when there is no such set; DocumentError naming every row, or text, that is wrong
 */
export async function readImageSet(path: string): Promise<ImageSet> {
  const status = await stat(path).catch((error: unknown) => {
    throw new UsageError(`${path}: expected pictures with prompts, got ${describeSystemError(error)}`, {
      cause: error,
    });
  });
  const metadata = status.isDirectory() ? await findMetadata(path) : path;
  const rows: readonly PictureRow[] =
    metadata === undefined ? await readSidecars(path) : await readPictureRows(metadata, COLUMNS);
  return {
    length: rows.length,
    warnings: [],
    facts: (index) => {
      const { prompt, score } = sampleAt(rows, index, path);
      return { prompt, score };
    },
    at: async (index) => {
      const { prompt, pictures, score } = sampleAt(rows, index, path);
      return { prompt, image: await readPicture(pictures[0]!), score };
    },
  };
}
