/** @file A model's digest: one SHA-256 over the names and contents of the files that it can be made of. */

import { mkdir, readdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, dirname, extname, join, relative, sep } from "node:path";
import { ModelError } from "../errors.js";
import { sha256, sha256File, writeFileAtomic } from "../util/files.js";
import { laurelCacheFolder } from "../util/user-folders.js";

/** Formats of other programs, and what only describes the model: Laurel reads none of them. */
const NOT_READ: readonly string[] = [
  ".onnx",
  ".pb",
  ".msgpack",
  ".h5",
  ".ot",
  ".tflite",
  ".md",
  ".png",
  ".jpg",
  ".webp",
];
/** Formats that hold the same tensors again where there is a safetensors file beside them. */
const OTHER_WEIGHTS: readonly string[] = [".bin", ".pt", ".pth", ".ckpt"];

/** Digests of files of this size and more are remembered. */
const LARGE_BYTES = 64 * 2 ** 20;

/** Where digests of large files are remembered. */
export interface DigestOptions {
  /** A JSON file. @default digests.json in Laurel's cache folder ($XDG_CACHE_HOME/laurel) */
  readonly cache?: string | undefined;
}

/**
 * SHA-256 (hex) over `name NUL size NUL sha256 LF` of the files under `path`, in the order of the names; of a single file, over its own line.
 * Hidden files, formats Laurel does not read, and weights that are there a second time in another format are left out. A large file that has
 * the size, time and place it had before is not read again. @throws ModelError when `path` does not exist.
 */
export async function digestModel(path: string, options: DigestOptions = {}): Promise<string> {
  const root = await realpath(path).catch((error: unknown) => {
    throw new ModelError(`${path}: expected a model folder or file, got none`, { cause: error });
  });
  const files = (await stat(root)).isDirectory() ? await modelFiles(root) : [root];
  const remembered = new RememberedDigests(options.cache ?? join(laurelCacheFolder(), "digests.json"));
  const lines = await Promise.all(
    files.map(async (file) => {
      const name = file === root ? basename(file) : relative(root, file).split(sep).join("/");
      const { size, mtimeMs, ino } = await stat(file);
      const small = size < LARGE_BYTES;
      const digest = small ? await sha256File(file) : await remembered.of(file, `${size} ${mtimeMs} ${ino}`);
      return `${name}\0${size}\0${digest}\n`;
    }),
  );
  await remembered.save();
  return sha256(lines.join(""));
}

async function modelFiles(root: string): Promise<string[]> {
  const files: string[] = [];
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    const hidden = relative(root, file)
      .split(sep)
      .some((part) => part.startsWith("."));
    // Files of a hub's cache are links.
    if (!hidden && !NOT_READ.includes(extname(file)) && (await stat(file)).isFile()) files.push(file);
  }
  const withSafetensors = new Set(
    files.filter((file) => extname(file) === ".safetensors").map((file) => dirname(file)),
  );
  return files
    .filter((file) => !(OTHER_WEIGHTS.includes(extname(file)) && withSafetensors.has(dirname(file))))
    .sort((a, b) => (a < b ? -1 : Number(a > b)));
}

/** Digests by path, each with the facts it was computed under. A cache that cannot be read or written costs time only. */
class RememberedDigests {
  #entries: Promise<Record<string, { facts: string; sha256: string }>> | undefined;
  #changed = false;

  constructor(private readonly path: string) {}

  async of(file: string, facts: string): Promise<string> {
    this.#entries ??= readFile(this.path, "utf8")
      .then((text) => JSON.parse(text) as Record<string, { facts: string; sha256: string }>)
      .catch(() => ({}));
    const entries = await this.#entries;
    const known = entries[file];
    if (known?.facts === facts && /^[0-9a-f]{64}$/.test(known.sha256)) return known.sha256;
    const digest = await sha256File(file);
    entries[file] = { facts, sha256: digest };
    this.#changed = true;
    return digest;
  }

  async save(): Promise<void> {
    if (!this.#changed) return;
    try {
      await mkdir(dirname(this.path), { recursive: true });
      await writeFileAtomic(this.path, `${JSON.stringify(await this.#entries, null, 2)}\n`);
    } catch {
      // A read-only home: the next run computes it again.
    }
  }
}
