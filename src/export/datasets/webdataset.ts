/** @file Datasets as tar shards: the fields of a sample are files that stand together under one key, which has no dot. */

import { join, resolve } from "node:path";
import { packTar, type TarEntry } from "modern-tar";
import { throwIfAborted } from "../../util/abort.js";
import { writeFileAtomic } from "../../util/files.js";
import {
  betterFirst,
  type DatasetImage,
  imageFacts,
  pictureBytes,
  type PreferenceRow,
  type WriteOptions,
  type WrittenDataset,
} from "./rows.js";
import { writeFilesAtomic } from "./staging.js";

/** How shards are made. */
export interface ShardOptions extends WriteOptions {
  /** A shard is ended before it would be larger, bytes; one sample may be. @default 1 GB */
  readonly shardBytes?: number | undefined;
}

const DEFAULT_SHARD_BYTES = 1e9;
/** A tar file is made of blocks: one before each file, and two at the end. */
const BLOCK = 512;

/** Files of one sample: extension (from the first dot of the name on) to content. */
type Fields = Readonly<Record<string, Uint8Array>>;

/** Shards `<split>-000000.tar`, ... in `folder`, each sample with `png`, `txt` (the prompt) and `json`. @throws as {@link writePreferenceShards} */
export function writeImageShards(
  images: readonly DatasetImage[],
  folder: string,
  split: string,
  options: ShardOptions = {},
): Promise<WrittenDataset> {
  return writeShards(images, folder, split, options, 1, async (image) => ({
    json: json({ prompt: image.prompt, prompt_id: image.promptId, ...imageFacts(image) }),
    png: await pictureBytes(image),
    txt: Buffer.from(image.prompt),
  }));
}

/**
 * Shards of pairs, each sample with `jpg_0.png`, `jpg_1.png`, `txt` (the prompt) and `json`, whose `label_0` and `label_1` are 1 for the better one.
 * @throws UsageError when a shard of the split is there already, or a picture is not what its run recorded
 */
export function writePreferenceShards(
  rows: readonly PreferenceRow[],
  folder: string,
  split: string,
  options: ShardOptions = {},
): Promise<WrittenDataset> {
  return writeShards(rows, folder, split, options, 2, async (row) => {
    const first = betterFirst(row);
    const [one, other] = first ? [row.better, row.worse] : [row.worse, row.better];
    const labels = { label_0: first ? 1 : 0, label_1: first ? 0 : 1 };
    const facts = { prompt_id: one.promptId, ...labels, image_0: imageFacts(one), image_1: imageFacts(other) };
    return {
      "jpg_0.png": await pictureBytes(one),
      "jpg_1.png": await pictureBytes(other),
      json: json({ caption: row.prompt, ...facts }),
      txt: Buffer.from(row.prompt),
    };
  });
}

async function writeShards<Row>(
  rows: readonly Row[],
  folder: string,
  split: string,
  { force = false, signal, onRow, shardBytes = DEFAULT_SHARD_BYTES }: ShardOptions,
  picturesPerRow: number,
  fieldsOf: (row: Row) => Promise<Fields>,
): Promise<WrittenDataset> {
  const target = resolve(folder);
  const pattern = new RegExp(`^${split}-\\d{6}\\.tar$`);
  return writeFilesAtomic(target, { force, own: (name) => pattern.test(name) }, async (staged) => {
    const samples = async function* (): AsyncGenerator<Uint8Array> {
      for (const [i, row] of rows.entries()) {
        throwIfAborted(signal, "the export");
        yield await sampleBlocks(String(i).padStart(9, "0"), await fieldsOf(row));
        onRow?.(i + 1);
      }
    };
    const files: string[] = [];
    let bytes = 0;
    for await (const shard of shards(samples(), shardBytes)) {
      const name = `${split}-${String(files.length).padStart(6, "0")}.tar`;
      await writeFileAtomic(
        join(staged, name),
        counted(shard, (count) => (bytes += count)),
      );
      files.push(join(target, name));
    }
    return { files, rows: rows.length, pictures: picturesPerRow * rows.length, bytes };
  });
}

/** The samples of one shard after those of another; each must be read to its end before the next is asked for. */
async function* shards(samples: AsyncGenerator<Uint8Array>, limit: number): AsyncGenerator<AsyncGenerator<Uint8Array>> {
  let next = await samples.next();
  const shard = async function* (): AsyncGenerator<Uint8Array> {
    let size = 2 * BLOCK;
    do {
      const sample = next.value as Uint8Array;
      size += sample.byteLength;
      yield sample;
      next = await samples.next();
    } while (next.done !== true && size + next.value.byteLength <= limit);
    yield new Uint8Array(2 * BLOCK);
  };
  while (next.done !== true) yield shard();
}

async function* counted(pieces: AsyncIterable<Uint8Array>, count: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    count(piece.byteLength);
    yield piece;
  }
}

/** A sample's part of a tar file: its files without the end of an archive. The same content gives the same bytes. */
async function sampleBlocks(key: string, fields: Fields): Promise<Uint8Array> {
  const entries = Object.entries(fields).map(([extension, body]): TarEntry => ({
    header: { name: `${key}.${extension}`, size: body.byteLength, type: "file", mode: 0o644, mtime: new Date(0) },
    body,
  }));
  const archive = await packTar(entries);
  return archive.subarray(0, archive.byteLength - 2 * BLOCK);
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}
