/** @file What jobs leave in a storage: pictures and files by the hash of their content, values by the hash of their request. */

import { mkdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { z } from "zod";
import { decodeRgb } from "../image/decode.js";
import { encodePng, packedPicture } from "../image/png.js";
import type { RgbImage } from "../image/types.js";
import type { Json } from "../queue/contract.js";
import type { Storage, StorageOptions } from "../storage/contract.js";
import { StorageError } from "../storage/contract.js";
import { sha256, sha256File, writeFileAtomic } from "../util/files.js";
import { kept } from "../util/kept.js";
import { canonical, type StoredPicture } from "./protocol.js";

/** `ab/abcdef...`: so many objects do not lie in one folder. */
function sharded(name: string): string {
  return `${name.slice(0, 2)}/${name}`;
}

/** The artefacts of a storage. Writing the same again is harmless: equal content has an equal key. */
export class Artefacts {
  /** Keys of the files that this process knows to be there. */
  readonly #files = new Map<string, Promise<{ readonly name: string; readonly sha256: string }>>();

  /** Where the pictures of this process lie: what was read from the storage need not be stored again. */
  readonly #pictures = new WeakMap<RgbImage, Promise<StoredPicture>>();

  constructor(readonly storage: Storage) {}

  /** Stores a picture as PNG, once. Throws as `Storage.put` does. */
  putPicture(image: RgbImage, options: StorageOptions = {}): Promise<StoredPicture> {
    return kept(this.#pictures, image, () => this.#store(image, options));
  }

  /** Stores a picture again that is not there any more. Throws as `Storage.put` does. */
  async restorePicture(image: RgbImage, options: StorageOptions = {}): Promise<void> {
    this.#pictures.delete(image);
    await this.putPicture(image, options);
  }

  async #store(image: RgbImage, options: StorageOptions): Promise<StoredPicture> {
    const png = await encodePng(image);
    const digest = sha256(png);
    const key = `images/${sharded(digest)}.png`;
    await this.storage.put(key, png, options);
    return { key, sha256: digest, bytes: png.byteLength };
  }

  /** Reads a picture; undefined where it is not there, or not whole. Throws as `Storage.get` does. */
  async picture({ key, sha256: expected }: StoredPicture, options: StorageOptions = {}): Promise<RgbImage | undefined> {
    const png = await this.storage.get(key, options);
    if (png === undefined || sha256(png) !== expected) return undefined;
    const image = packedPicture(png, key) ?? (await decodeRgb(png, key));
    this.#pictures.set(image, Promise.resolve({ key, sha256: expected, bytes: png.byteLength }));
    return image;
  }

  /** Stores what a job gave. Throws as `Storage.put` does. */
  async putValue(job: string, value: Json, options: StorageOptions = {}): Promise<void> {
    await this.storage.put(valueKey(job), Buffer.from(canonical(value)), options);
  }

  /** What a job gave; undefined where there is nothing yet, or nothing that its schema allows. Throws as `Storage.get` does. */
  async value<T>(job: string, schema: z.ZodType<T>, options: StorageOptions = {}): Promise<T | undefined> {
    const bytes = await this.storage.get(valueKey(job), options);
    if (bytes === undefined) return undefined;
    try {
      return schema.safeParse(JSON.parse(Buffer.from(bytes).toString("utf8"))).data;
    } catch {
      return undefined;
    }
  }

  /** Forgets what a job gave. Throws as `Storage.delete` does. */
  forget(job: string, options: StorageOptions = {}): Promise<void> {
    return this.storage.delete(valueKey(job), options);
  }

  /** Stores a file that requests name, an embedding or a LoRA, once. Throws as `Storage.put` does. */
  putFile(path: string, options: StorageOptions = {}): Promise<{ readonly name: string; readonly sha256: string }> {
    return kept(this.#files, path, async () => {
      const digest = await sha256File(path);
      const key = fileKey(digest);
      if (!(await this.storage.has(key, options))) await this.storage.put(key, await readFile(path), options);
      return { name: basename(path), sha256: digest };
    });
  }

  /**
   * A file of the storage as one of this machine, below `folder`.
   * @throws StorageError when it is not there or not whole; as `Storage.get` does
   */
  async file(
    { name, sha256: expected }: { readonly name: string; readonly sha256: string },
    folder: string,
    options: StorageOptions = {},
  ): Promise<string> {
    const path = join(folder, expected, basename(name));
    // it was whole when it was renamed to this name
    if ((await stat(path).catch(() => undefined))?.isFile() === true) return path;
    const bytes = await this.storage.get(fileKey(expected), options);
    if (bytes === undefined || sha256(bytes) !== expected) {
      const got = bytes === undefined ? "none" : "another content";
      throw new StorageError(`${this.storage.address}: expected the file ${name} (${expected}), got ${got}`, "invalid");
    }
    await mkdir(dirname(path), { recursive: true });
    await writeFileAtomic(path, bytes);
    return path;
  }
}

function valueKey(job: string): string {
  const [, digest = job] = /-([0-9a-f]{64})$/.exec(job) ?? [];
  return `values/${digest.slice(0, 2)}/${job}.json`;
}

function fileKey(digest: string): string {
  return `files/${sharded(digest)}`;
}
