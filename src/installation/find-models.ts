/** @file Finds what may be a model: inside the package, in folders, in the caches of the Hugging Face hub and of ImageReward. */

import { type Dirent } from "node:fs";
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, join, relative, resolve } from "node:path";
import { UsageError } from "../errors.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import { type Environment, hubCacheFolder, imageRewardCacheFolder } from "../util/user-folders.js";

/** How deep below a folder models are looked for. */
const MAX_DEPTH = 6;
/** Folders that are looked into at most, so that a wrong folder does not take minutes. */
const MAX_FOLDERS = 20_000;
/** Hidden folders, packages, and what a hub's cache holds beside models. */
const NOT_SEARCHED = /^(\.|node_modules$|datasets--|spaces--)/;
/** Files that hold weights, or claim to. */
export const WEIGHT_FILE = /\.(safetensors|ckpt|pt|pth|bin|gguf)$/i;

/** Where a model was found. */
export type ModelSource = "embedded" | "folder" | "hub-cache" | "image-reward-cache";

/** What may be a model. */
export interface FoundModel {
  readonly source: ModelSource;
  /** `demo/clip`, a repository's name, or the path below the folder that was searched. */
  readonly name: string;
  /** A folder or a file, absolute. */
  readonly path: string;
  /** The commit and its names, in a hub's cache. */
  readonly revision?: { readonly commit: string; readonly refs: readonly string[] };
  /** What is wrong with the place itself. */
  readonly problems: readonly string[];
}

/** What was searched, and what not. */
export interface Search {
  readonly found: readonly FoundModel[];
  /** Places that were to be searched. */
  readonly places: readonly { readonly path: string; readonly source: ModelSource; readonly exists: boolean }[];
  readonly warnings: readonly string[];
}

/**
 * Looks for models in the package, in `folders` and in the caches that `environment` names. Nothing is opened yet.
 * @throws UsageError for a folder or file of `folders` that does not exist
 */
export async function findModels(folders: readonly string[], environment: Environment = process.env): Promise<Search> {
  const walk = new Walk();
  for (const path of Object.values(EMBEDDED_MODELS)) {
    await walk.add({ source: "embedded", name: `demo/${basename(path)}`, path, problems: [] });
  }
  const places: Search["places"][number][] = [];
  for (const folder of folders) {
    const path = resolve(folder);
    const kind = await stat(path).catch(() => undefined);
    if (kind === undefined) throw new UsageError(`${folder}: expected a folder or a model file, got none`);
    places.push({ path, source: "folder", exists: true });
    if (kind.isDirectory()) await walk.search(path, path, "folder");
    else await walk.add({ source: "folder", name: basename(path), path, problems: [] });
  }
  const caches = [
    { path: hubCacheFolder(environment), source: "hub-cache" },
    { path: imageRewardCacheFolder(environment), source: "image-reward-cache" },
  ] as const;
  for (const { path, source } of caches) {
    const exists = await stat(path).then(
      (kind) => kind.isDirectory(),
      () => false,
    );
    places.push({ path, source, exists });
    if (exists) await walk.search(path, path, source);
  }
  return { found: walk.found, places, warnings: walk.warnings };
}

/** One search; a place that is reached twice counts once. */
class Walk {
  readonly found: FoundModel[] = [];
  readonly warnings: string[] = [];
  readonly #seen = new Set<string>();
  #folders = 0;

  async add(model: FoundModel): Promise<void> {
    if (await this.#isNew("model", model.path)) this.found.push(model);
  }

  /** Adds the models in `path` and below; inside a model nothing is searched. */
  async search(path: string, root: string, source: ModelSource, depth = 0): Promise<void> {
    // A link may lead back to where the search came from.
    if (!(await this.#isNew("folder", path))) return;
    const name = path === root ? basename(path) : relative(root, path);
    let entries: Dirent[];
    try {
      entries = (await readdir(path, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
    } catch (error) {
      this.found.push({ source, name, path, problems: [`expected a readable folder, got ${codeOf(error)}`] });
      return;
    }
    this.#folders++;
    if (this.#folders === MAX_FOLDERS + 1) {
      this.warnings.push(`${root}: only ${MAX_FOLDERS} folders were searched; name a folder nearer to the model`);
    }
    if (this.#folders > MAX_FOLDERS) return;
    const names = new Set(entries.map((entry) => entry.name));
    if (basename(path).startsWith("models--")) return this.#addRepository(path, names, source);
    if (isModelFolder(names)) return this.add({ source, name, path, problems: [] });
    for (const entry of entries) {
      if (NOT_SEARCHED.test(entry.name)) continue;
      const below = join(path, entry.name);
      const kind = entry.isSymbolicLink() ? await stat(below).catch(() => undefined) : entry;
      if (kind?.isDirectory() === true) {
        if (depth < MAX_DEPTH) await this.search(below, root, source, depth + 1);
      } else if (WEIGHT_FILE.test(entry.name)) {
        const problems = kind === undefined ? ["expected a file, got a link to nothing"] : [];
        await this.add({ source, name: relative(root, below), path: below, problems });
      }
    }
  }

  /** One repository of a hub's cache: `models--owner--name/{refs,snapshots,blobs}`, a model for each snapshot. */
  async #addRepository(path: string, names: ReadonlySet<string>, source: ModelSource): Promise<void> {
    const name = basename(path).slice("models--".length).replaceAll("--", "/");
    const commits = names.has("snapshots") ? await list(join(path, "snapshots")) : [];
    if (commits.length === 0) {
      return this.add({ source, name, path, problems: ["expected a snapshot, got none (a download cut short?)"] });
    }
    const refs = await readRefs(join(path, "refs"));
    const partial = (await list(join(path, "blobs"))).filter((blob) => blob.endsWith(".incomplete")).length;
    for (const commit of commits) {
      const own = refs.filter((ref) => ref.commit === commit).map((ref) => ref.name);
      const problems = partial === 0 ? [] : [`${partial} of its files are not downloaded to the end`];
      await this.add({
        source,
        name,
        path: join(path, "snapshots", commit),
        revision: { commit, refs: own },
        problems,
      });
    }
  }

  async #isNew(what: "model" | "folder", path: string): Promise<boolean> {
    const key = `${what} ${await realpath(path).catch(() => path)}`;
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    return true;
  }
}

/** A folder of diffusers (also one that lost its index), of transformers, or ImageReward's. */
function isModelFolder(names: ReadonlySet<string>): boolean {
  if (names.has("model_index.json") || (names.has("unet") && names.has("vae"))) return true;
  if ([...names].some(isImageRewardFile)) return true;
  return names.has("config.json") && [...names].some((name) => WEIGHT_FILE.test(name) || name.endsWith(".index.json"));
}

/** The names under which ImageReward's weights are published. */
export function isImageRewardFile(name: string): boolean {
  return /^ImageReward(\.(fp16|bf16))?\.(pt|safetensors)$/.test(name);
}

/** Names of commits; a name with slashes is a folder. */
async function readRefs(folder: string): Promise<{ name: string; commit: string }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(
    files.map(async (file) => ({
      name: relative(folder, file),
      commit: (await readFile(file, "utf8").catch(() => "")).trim(),
    })),
  );
}

async function list(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [])).filter((name) => !name.startsWith(".")).sort();
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? (error as Error).message;
}
