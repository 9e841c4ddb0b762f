/** @file Datasets as JSON lines that name pictures where their runs have them, by absolute path and digest. */

import { resolve } from "node:path";
import { throwIfAborted } from "../../util/abort.js";
import { writeFileAtomic } from "../../util/files.js";
import { type DatasetImage, imageFacts, type PreferenceRow, type WriteOptions, type WrittenDataset } from "./rows.js";
import { checkFilePlace, withParent } from "./staging.js";

/** One object a picture. @param path of the file @throws UsageError when it is there already */
export function writeImageLines(
  images: readonly DatasetImage[],
  path: string,
  options: WriteOptions = {},
): Promise<WrittenDataset> {
  return writeLines(images, path, options, (image) => ({
    prompt: image.prompt,
    prompt_id: image.promptId,
    image: image.path,
    ...imageFacts(image),
  }));
}

/** One object a pair, with the names that preference data have elsewhere: `prompt`, `chosen`, `rejected`. @throws as {@link writeImageLines} */
export function writePreferenceLines(
  rows: readonly PreferenceRow[],
  path: string,
  options: WriteOptions = {},
): Promise<WrittenDataset> {
  return writeLines(rows, path, options, ({ prompt, better, worse }) => ({
    prompt,
    prompt_id: better.promptId,
    margin: better.score - worse.score,
    chosen: { image: better.path, ...imageFacts(better) },
    rejected: { image: worse.path, ...imageFacts(worse) },
  }));
}

async function writeLines<Row>(
  rows: readonly Row[],
  path: string,
  { force = false, signal, onRow }: WriteOptions,
  line: (row: Row) => Record<string, unknown>,
): Promise<WrittenDataset> {
  await checkFilePlace(path, force);
  let bytes = 0;
  const pieces = function* (): Generator<Uint8Array> {
    for (const [i, row] of rows.entries()) {
      throwIfAborted(signal, "the export");
      const piece = Buffer.from(`${JSON.stringify(line(row))}\n`);
      bytes += piece.byteLength;
      yield piece;
      onRow?.(i + 1);
    }
  };
  await withParent(path, () => writeFileAtomic(path, pieces()));
  return { files: [resolve(path)], rows: rows.length, pictures: 0, bytes };
}
