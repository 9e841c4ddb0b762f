/** @file Checks of the folders Laurel reads and writes. */

import { constants } from "node:fs";
import { access, stat, statfs } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { hubCacheFolder, laurelCacheFolder, type Environment } from "../util/user-folders.js";
import type { Check } from "./check.js";
import { sizeOnDisk } from "./describe-model.js";

/** Less free than this is little: some thousand pictures of 512x512 pixels, as PNG does not compress photographs well. */
const LITTLE_SPACE = 1e9;

/** Laurel's cache, the cache of the Hugging Face hub, and the folder of runs `out`. */
export async function checkStorage(out: string, environment: Environment): Promise<Check[]> {
  return Promise.all([
    checkFolder("cache", laurelCacheFolder(environment), {
      unwritable: "warn",
      hint: "digests of large models are computed every time; set XDG_CACHE_HOME to a folder that can be written",
    }),
    checkFolder("hub cache", hubCacheFolder(environment), {
      unwritable: "ok",
      hint: "models are read from it; set HF_HUB_CACHE to another",
    }),
    checkFolder("outputs", resolve(out), {
      unwritable: "fail",
      hint: "name another folder with --out, or make space",
    }),
  ]);
}

/** One folder: whether it exists and can be written, how large it is and how much is free. `unwritable` is the status when it cannot be. */
export async function checkFolder(
  name: string,
  path: string,
  { unwritable, hint }: { readonly unwritable: Check["status"]; readonly hint: string },
): Promise<Check> {
  const place = await nearest(path);
  if (!(await stat(place)).isDirectory()) {
    return { name, status: "fail", detail: `${place}: expected a folder, got a file`, hint };
  }
  const exists = place === path;
  const writable = await access(place, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
  const bytes = exists ? await sizeOnDisk(path).catch(() => 0) : 0;
  const space = await statfs(place).catch(() => undefined);
  const free = space === undefined ? null : space.bavail * space.bsize;
  const little = free !== null && free < LITTLE_SPACE;
  const status = writable ? (little ? "warn" : "ok") : unwritable;
  const parts = [
    exists ? `${(bytes / 1e6).toFixed(1)} MB` : "not there yet",
    writable ? "writable" : "not writable",
    free === null ? "free space unknown" : `${(free / 1e9).toFixed(1)} GB free`,
  ];
  return {
    name,
    status,
    detail: `${path}: ${parts.join(", ")}`,
    facts: { path, exists, writable, bytes, free },
    ...(status === "ok" ? {} : { hint }),
  };
}

/** The path itself, or the nearest above it that exists. */
async function nearest(path: string): Promise<string> {
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  return exists || dirname(path) === path ? path : nearest(dirname(path));
}
