/** @file Objects as files in a folder that several machines mount. */

import { constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, readdir, realpath, stat, unlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { LaurelError } from "../errors.js";
import { isTemporaryName, readInto, temporaryName, writeFileAtomic } from "../util/files.js";
import { isMissing, OPEN_FLAGS, statusFault } from "../util/read-file.js";
import { type ListOptions, type Storage, StorageError, type StorageOptions, type StoredObject } from "./contract.js";
import { within } from "./deadline.js";
import { fileFault } from "./file-fault.js";
import { checkKey, checkPrefix, checkSize, isKey, MAXIMUM_OBJECT_BYTES } from "./keys.js";
import { probeStorage } from "./probe.js";

/** How a folder is used. */
export interface FileStorageOptions {
  /** Milliseconds for one operation: a network file system that does not answer would hold it for ever. @default 120000 */
  readonly timeoutMs?: number | undefined;
}

/** Where objects lie that are being written; a rename within one file system shows them whole. */
const PARTIAL = ".partial";
const DAY_MS = 24 * 3600 * 1000;
/** Links are refused: one could lead out of the folder. Windows has no such flag. */
const NO_LINK = (constants as Partial<typeof constants>).O_NOFOLLOW ?? 0;
const STATS_AT_ONCE = 32;

/** A storage in the folder `path`, which must be there: one that is missing may be a file system that is not mounted. */
export function openFileStorage(path: string, options: FileStorageOptions = {}): Storage {
  return new FileStorage(path, options.timeoutMs ?? 120_000);
}

class FileStorage implements Storage {
  readonly address: string;
  readonly #timeoutMs: number;
  /** Inode of the folder when it was first used: an empty mount point in its place has another. */
  #inode: bigint | undefined;
  #swept = false;

  constructor(path: string, timeoutMs: number) {
    this.address = path;
    this.#timeoutMs = timeoutMs;
  }

  async get(key: string, options?: StorageOptions): Promise<Uint8Array | undefined> {
    checkKey(key, this.address);
    return this.#do("to read it", key, () => this.#get(key), options);
  }

  async has(key: string, options?: StorageOptions): Promise<boolean> {
    checkKey(key, this.address);
    return this.#do("to look for it", key, () => this.#has(key), options);
  }

  async put(key: string, bytes: Uint8Array, options?: StorageOptions): Promise<void> {
    checkKey(key, this.address);
    checkSize(bytes.byteLength, join(this.address, key));
    await this.#do("to write it", key, () => this.#put(key, bytes), options);
  }

  async delete(key: string, options?: StorageOptions): Promise<void> {
    checkKey(key, this.address);
    await this.#do("to remove it", key, () => this.#delete(key), options);
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<StoredObject, void> {
    checkPrefix(prefix, this.address);
    yield* this.#list("", prefix, isKey, options);
  }

  async probe(options: StorageOptions = {}): Promise<void> {
    await probeStorage(
      {
        address: this.address,
        get: (key) => this.#do("to read it", key, () => this.#get(key), options),
        put: (key, bytes) => this.#do("to write it", key, () => this.#put(key, bytes), options),
        delete: (key) => this.#do("to remove it", key, () => this.#delete(key), options),
        list: (key) => this.#list("", key, (name) => name === key, options),
      },
      options,
    );
  }

  async close(): Promise<void> {}

  /** Does `work` within the time there is; what fails is told as a fault of this storage. */
  async #do<T>(goal: string, key: string, work: () => Promise<T>, options: StorageOptions = {}): Promise<T> {
    const where = join(this.address, key);
    const late = (seconds: number): StorageError =>
      new StorageError(
        `${where}: expected ${goal} within ${seconds} s, got no answer of the file system`,
        "unavailable",
      );
    const bounds = { timeoutMs: this.#timeoutMs, signal: options.signal, address: this.address, late };
    try {
      return await within(bounds, work);
    } catch (error) {
      if (error instanceof LaurelError) throw error;
      const [fault, actual] = fileFault(error);
      throw new StorageError(`${where}: expected ${goal}, got ${actual}`, fault, { cause: error });
    }
  }

  async #get(key: string): Promise<Uint8Array | undefined> {
    const path = await this.#find(key);
    if (path === undefined) return undefined;
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, OPEN_FLAGS | NO_LINK);
      const { size, isFile } = this.#regular(path, await handle.stat());
      if (!isFile) return undefined;
      if (size > MAXIMUM_OBJECT_BYTES) {
        throw this.#invalid(path, `at most ${MAXIMUM_OBJECT_BYTES} bytes`, String(size));
      }
      const bytes = new Uint8Array(size);
      const count = await readInto(handle, bytes, 0);
      if (count === size) return bytes;
      throw new StorageError(`${path}: expected ${size} bytes, got ${count}: it became shorter`, "unavailable");
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    } finally {
      await handle?.close();
    }
  }

  async #has(key: string): Promise<boolean> {
    const path = await this.#find(key);
    if (path === undefined) return false;
    const status = await lstat(path).catch(undefinedIfMissing);
    return status !== undefined && this.#regular(path, status).isFile;
  }

  async #put(key: string, bytes: Uint8Array): Promise<void> {
    const words = key.split("/");
    const root = await this.#root();
    const partial = (await this.#folder(root, [PARTIAL], "make"))!;
    if (!this.#swept) await sweep(partial);
    this.#swept = true;
    const folder = (await this.#folder(root, words.slice(0, -1), "make"))!;
    const path = join(folder, words.at(-1)!);
    try {
      const temporary = temporaryName(join(partial, basename(path)));
      await writeFileAtomic(path, bytes, { durable: true, temporary });
    } catch (error) {
      const status = await lstat(path).catch(() => undefined);
      if (status?.isDirectory() === true)
        throw this.#invalid(path, "a file", "a folder: other keys begin with this one");
      throw error;
    }
  }

  async #delete(key: string): Promise<void> {
    const path = await this.#find(key);
    const status = path === undefined ? undefined : await lstat(path).catch(undefinedIfMissing);
    if (path === undefined || status === undefined || status.isDirectory()) return;
    await unlink(path).catch(undefinedIfMissing);
  }

  /** Files below the folder `within` ("" or a name that ends with `/`) whose names `wanted` takes. */
  async *#list(
    within: string,
    prefix: string,
    wanted: (key: string) => boolean,
    options: ListOptions,
  ): AsyncGenerator<StoredObject, void> {
    const { after = "" } = options;
    const entries = await this.#do("to list it", within, () => this.#entries(within), options);
    const files = [];
    // "a-b" comes before "a/b": a folder's place is that of its name with the slash
    for (const { name, folder } of entries) {
      const key = within + name;
      const here = folder
        ? (key.startsWith(prefix) || prefix.startsWith(key)) && (key >= after || after.startsWith(key))
        : key.startsWith(prefix) && key > after && wanted(key);
      if (!here) continue;
      if (!folder) files.push(key);
      if (folder || files.length === STATS_AT_ONCE) yield* await this.#sizes(files.splice(0), options);
      if (folder) yield* this.#list(key, prefix, wanted, options);
    }
    yield* await this.#sizes(files, options);
  }

  /** What is in a folder, in order of keys; nothing where it is gone. Links and special files are left out. */
  async #entries(within: string): Promise<{ readonly name: string; readonly folder: boolean }[]> {
    const path = await this.#folder(await this.#root(), within.split("/").slice(0, -1), "find");
    if (path === undefined) return [];
    const entries = (await readdir(path, { withFileTypes: true }).catch(undefinedIfMissing)) ?? [];
    return entries
      .filter((entry) => entry.isFile() || (entry.isDirectory() && isKey(entry.name)))
      .map((entry) => ({ name: entry.isFile() ? entry.name : `${entry.name}/`, folder: entry.isDirectory() }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The objects of these keys that are still there. */
  async #sizes(keys: readonly string[], options: StorageOptions): Promise<StoredObject[]> {
    if (keys.length === 0) return [];
    const statuses = await this.#do(
      "its size",
      keys[0]!,
      () => Promise.all(keys.map((key) => lstat(join(this.address, key)).catch(undefinedIfMissing))),
      options,
    );
    return keys.flatMap((key, i) => {
      const status = statuses[i];
      return status?.isFile() === true ? [{ key, bytes: status.size }] : [];
    });
  }

  /** The folder itself, links in its own path resolved; never another one than at first. */
  async #root(): Promise<string> {
    const gone = (actual: string): StorageError =>
      new StorageError(`${this.address}: expected a folder, got ${actual}; is it mounted?`, "unavailable");
    const path = await realpath(this.address).catch(undefinedIfMissing);
    const status = path === undefined ? undefined : await stat(path, { bigint: true }).catch(undefinedIfMissing);
    if (path === undefined || status === undefined) throw gone("no such folder");
    if (!status.isDirectory()) throw this.#invalid(this.address, "a folder", "a file");
    this.#inode ??= status.ino;
    if (status.ino !== this.#inode) throw gone("another one than at first");
    return path;
  }

  /** The path of a key, undefined where its folder is not there. */
  async #find(key: string): Promise<string | undefined> {
    const words = key.split("/");
    const folder = await this.#folder(await this.#root(), words.slice(0, -1), "find");
    return folder === undefined ? undefined : join(folder, words.at(-1)!);
  }

  /** A folder inside `root`, reached through no link; `make` makes what is not there. */
  async #folder(root: string, words: readonly string[], what: "find" | "make"): Promise<string | undefined> {
    let path = root;
    for (const word of words) {
      path = join(path, word);
      let status = await lstat(path).catch(undefinedIfMissing);
      if (status === undefined && what === "make") {
        // several may make it at once
        await mkdir(path).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== "EEXIST") throw error;
        });
        status = await lstat(path);
      }
      if (status === undefined) return undefined;
      if (status.isSymbolicLink()) throw this.#invalid(path, "a folder", "a symbolic link");
      if (status.isDirectory()) continue;
      if (what === "find") return undefined;
      throw this.#invalid(path, "a folder", "a file: one key is the beginning of another");
    }
    return path;
  }

  /** Whether it is a file; a folder is no object. @throws StorageError for a link or a special file */
  #regular(
    path: string,
    status: { size: number; isFile(): boolean; isDirectory(): boolean; isSymbolicLink(): boolean },
  ): { readonly isFile: boolean; readonly size: number } {
    if (status.isSymbolicLink()) throw this.#invalid(path, "a file", "a symbolic link");
    const actual = statusFault(status);
    if (actual !== undefined && !status.isDirectory()) throw this.#invalid(path, "a file", actual);
    return { isFile: status.isFile(), size: status.size };
  }

  #invalid(where: string, expected: string, actual: string): StorageError {
    return new StorageError(`${where}: expected ${expected}, got ${actual}`, "invalid");
  }
}

/** Removes what writers left behind more than a day ago; what cannot be removed stays. */
async function sweep(folder: string): Promise<void> {
  for (const name of (await readdir(folder)).filter(isTemporaryName)) {
    const path = join(folder, name);
    const status = await lstat(path).catch(() => undefined);
    if (status !== undefined && Date.now() - status.mtimeMs > DAY_MS) await unlink(path).catch(() => undefined);
  }
}

function undefinedIfMissing(error: unknown): undefined {
  if (isMissing(error)) return undefined;
  throw error;
}
