/** @file From an address to a storage. */

import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "../errors.js";
import type { Environment } from "../util/user-folders.js";
import type { Storage } from "./contract.js";
import { openFileStorage } from "./file.js";
import { parseS3Address } from "./s3-address.js";

/** What opening a storage takes. */
export interface OpenStorageOptions {
  /** Where an endpoint, a region and credentials are looked for. @default process.env */
  readonly environment?: Environment | undefined;
}

const FORMS = "a folder, file:///folder or s3://bucket/prefix";

/**
 * Opens the storage at `address`: a folder as a path or `file:///folder`, or `s3://bucket/prefix?endpoint=https://host&region=eu-west-1&path-style=true`, all
 * settings optional. It asks nothing of the storage; `probe()` does.
 * @throws UsageError for another form, or when the package that speaks S3 is not installed
 */
export async function openStorage(address: string, options: OpenStorageOptions = {}): Promise<Storage> {
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(address)?.[1]?.toLowerCase();
  if (address.trim() === "") throw new UsageError(`storage: expected ${FORMS}, got an empty text`);
  if (scheme === undefined) return openFileStorage(resolve(address));
  const url = URL.canParse(address) && address.includes("://") ? new URL(address) : undefined;
  // it may hold a key: nothing of it is repeated
  if (url === undefined) throw new UsageError(`storage: expected ${FORMS}, got ${scheme}: and something else`);
  if (url.username !== "" || url.password !== "") {
    throw new UsageError(
      `storage: expected ${FORMS}, got ${scheme}:// with credentials in it; give them in the environment`,
    );
  }
  if (scheme === "file") return openFileStorage(folderOf(url));
  if (scheme === "s3") {
    const { openS3Storage } = await import("./s3.js");
    return openS3Storage(parseS3Address(url), options.environment ?? process.env);
  }
  const hint = scheme === "gs" ? "; Google's is s3://bucket?endpoint=https://storage.googleapis.com" : "";
  throw new UsageError(`storage: expected ${FORMS}, got ${scheme}://${hint}`);
}

function folderOf(url: URL): string {
  try {
    if (url.search !== "" || url.hash !== "") throw new Error("settings, which a folder has none of");
    return resolve(fileURLToPath(url));
  } catch (cause) {
    throw new UsageError(`storage: expected file:///folder, got ${url.href}: ${(cause as Error).message}`, { cause });
  }
}
