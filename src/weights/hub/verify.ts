/** @file Hashes what lies in the cache: a blob's name is the hash that its bytes must have. */

import { createReadStream } from "node:fs";
import { open, readdir, readlink, realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { CancelledError } from "../../errors.js";
import { readInto } from "../../util/files.js";
import { HEAD_BYTES, recogniseForeign } from "../../util/foreign.js";
import { describeSystemError } from "../../util/read-file.js";
import type { HubCache, Snapshot } from "./cache.js";
import { digestOfEtag, startHash } from "./transfer.js";

/** A file of a snapshot that was looked at. */
export interface VerifiedFile {
  /** In the snapshot. */
  readonly path: string;
  readonly bytes: number;
  /** What is wrong with it; null when its bytes are right, or when nothing says what they should be. */
  readonly problem: string | null;
  /** False when its blob's name is no hash, or it is a copy. */
  readonly hashed: boolean;
}

/** How a check works, and who hears of it. */
export interface VerifyOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called after each file. */
  readonly onFile?: ((file: VerifiedFile) => void) | undefined;
}

/** Looks at every file of a snapshot; links to nothing are among them. */
export async function verifySnapshot(
  snapshot: Snapshot,
  { signal, onFile }: VerifyOptions = {},
): Promise<VerifiedFile[]> {
  const entries = await readdir(snapshot.path, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const verified: VerifiedFile[] = [];
  for (const path of paths) {
    const there = await stat(path).catch(() => undefined);
    const etag = await etagOf(path);
    const problem = (await blobFault(path, signal)) ?? null;
    const file = {
      path: path.slice(snapshot.path.length + 1).replaceAll("\\", "/"),
      bytes: there?.size ?? 0,
      problem,
      hashed: etag !== undefined && digestOfEtag(etag) !== null,
    };
    verified.push(file);
    onFile?.(file);
  }
  return verified;
}

/** What is wrong with a blob, or a link to one; undefined when nothing is, or nothing is known. @throws CancelledError */
export async function blobFault(path: string, signal?: AbortSignal): Promise<string | undefined> {
  const there = await stat(path).catch(() => undefined);
  if (there === undefined) return "expected a file, got a link to nothing";
  const digest = digestOfEtag((await etagOf(path)) ?? "");
  const foreign = await foreignOf(path).catch((error: unknown) => describeSystemError(error));
  if (digest === null)
    return /web page|LFS pointer/.test(foreign ?? "") ? `expected a file, got ${foreign}` : undefined;
  const hash = startHash(digest, there.size);
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
      if (signal?.aborted === true) throw new CancelledError("the check was cancelled", { cause: signal.reason });
      hash.update(chunk as Buffer);
    }
  } catch (error) {
    if (error instanceof CancelledError) throw error;
    return `expected a readable file, got ${describeSystemError(error)}`;
  }
  const actual = hash.digest("hex");
  if (actual === digest.hex) return undefined;
  const seems = foreign === undefined ? "" : `, ${foreign}`;
  return `expected ${digest.algorithm === "sha256" ? "sha256" : "git's sha1"} ${digest.hex}, got ${actual} (${there.size} bytes${seems})`;
}

/** The etag of a blob, or of the blob that a link names; undefined for a copy. */
async function etagOf(path: string): Promise<string | undefined> {
  const target = await readlink(path).catch(() => undefined);
  const blob = target === undefined ? path : await realpath(path).catch(() => undefined);
  return blob !== undefined && basename(dirname(blob)) === "blobs" ? basename(blob) : undefined;
}

async function foreignOf(path: string): Promise<string | undefined> {
  const handle = await open(path, "r");
  try {
    const head = Buffer.alloc(HEAD_BYTES);
    return recogniseForeign(head.subarray(0, await readInto(handle, head, 0)));
  } finally {
    await handle.close();
  }
}

/** All snapshots of a repository that lie in the cache. */
export async function snapshotsOf(cache: HubCache, id: string): Promise<Snapshot[]> {
  const folder = join(cache.repository(id), "snapshots");
  const commits = await readdir(folder).catch(() => []);
  return commits.sort().map((commit) => ({ commit, path: join(folder, commit) }));
}
