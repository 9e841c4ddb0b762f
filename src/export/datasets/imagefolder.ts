/** @file Datasets as a folder of pictures with metadata.jsonl: what `load_dataset("imagefolder")` of Hugging Face and diffusers' training scripts read. */

import { open, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { throwIfAborted } from "../../util/abort.js";
import {
  type DatasetImage,
  imageFacts,
  pictureBytes,
  type PreferenceRow,
  type WriteOptions,
  type WrittenDataset,
} from "./rows.js";
import { writeFolderAtomic } from "./staging.js";

const METADATA = "metadata.jsonl";

/** Pictures of one split: `<folder>/<split>/` with `file_name` and `text` a line, the columns that diffusers takes when none is named. @throws as {@link writePreferenceFolder} */
export function writeImageFolder(
  images: readonly DatasetImage[],
  folder: string,
  split: string,
  options: WriteOptions = {},
): Promise<WrittenDataset> {
  return writeSplit(images, folder, split, options, async (image, store) => {
    const { scores, ...facts } = imageFacts(image);
    void scores;
    const row = { file_name: await store(image), text: image.prompt, score: image.score, reward: image.reward };
    return { ...row, prompt_id: image.promptId, ...facts };
  });
}

/**
 * Pairs of one split: `<folder>/<split>/` with `chosen_file_name` and `rejected_file_name`, which become the columns `chosen` and `rejected`. A picture
 * of several pairs is there once.
 * @throws UsageError when the split is there already, or a picture is not what its run recorded
 */
export function writePreferenceFolder(
  rows: readonly PreferenceRow[],
  folder: string,
  split: string,
  options: WriteOptions = {},
): Promise<WrittenDataset> {
  return writeSplit(rows, folder, split, options, async ({ prompt, better, worse }, store) => ({
    chosen_file_name: await store(better),
    rejected_file_name: await store(worse),
    prompt,
    prompt_id: better.promptId,
    reward: better.reward,
    ...sideFacts("chosen", better),
    ...sideFacts("rejected", worse),
  }));
}

function sideFacts(side: string, { score, seed, model, runId, sha256 }: DatasetImage): Record<string, unknown> {
  return {
    [`${side}_score`]: score,
    [`${side}_seed`]: seed,
    [`${side}_model`]: model,
    [`${side}_run_id`]: runId,
    [`${side}_sha256`]: sha256,
  };
}

async function writeSplit<Row>(
  rows: readonly Row[],
  folder: string,
  split: string,
  { force = false, signal, onRow }: WriteOptions,
  line: (row: Row, store: (image: DatasetImage) => Promise<string>) => Promise<Record<string, unknown>>,
): Promise<WrittenDataset> {
  const path = resolve(folder, split);
  return writeFolderAtomic(path, { force, mark: METADATA }, async (staged) => {
    const names = new Map<string, string>();
    let bytes = 0;
    const store = async (image: DatasetImage): Promise<string> => {
      const known = names.get(image.sha256);
      if (known !== undefined) return known;
      const name = `${String(names.size).padStart(6, "0")}.png`;
      await writeFile(join(staged, name), await pictureBytes(image));
      names.set(image.sha256, name);
      bytes += image.bytes;
      return name;
    };
    const metadata = await open(join(staged, METADATA), "wx");
    try {
      for (const [i, row] of rows.entries()) {
        throwIfAborted(signal, "the export");
        const text = `${JSON.stringify(await line(row, store))}\n`;
        await metadata.appendFile(text);
        bytes += Buffer.byteLength(text);
        onRow?.(i + 1);
      }
    } finally {
      await metadata.close();
    }
    const files = [...names.values(), METADATA].map((name) => join(path, name));
    return { files, rows: rows.length, pictures: names.size, bytes };
  });
}
