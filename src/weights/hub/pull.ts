/** @file Fetches a repository's files into the cache. What is visible there is whole at every moment. */

import { mkdir, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import PQueue from "p-queue";
import { LaurelError, ModelError, UsageError } from "../../errors.js";
import { closest } from "../../util/closest.js";
import { withBlobLock } from "./blob-lock.js";
import { HubCache } from "./cache.js";
import type { HubClient, RemoteFile } from "./client.js";
import { RepositoryAbsent, RevisionAbsent } from "./failure.js";
import { formatRepository, type Repository } from "./repository.js";
import { absentFiles, selectFiles, usualFiles } from "./selection.js";
import { blobLock, linkBlob, markAbsent, prepareCache, writeRef } from "./store.js";
import { digestOfEtag, transfer, unfinishedBytes } from "./transfer.js";
import { blobFault } from "./verify.js";

/** What is fetched. */
export interface PullRequest extends Repository {
  /** Paths or patterns. @default what Laurel would read */
  readonly include?: readonly string[] | undefined;
}

/** How a pull works, and who hears of it. */
export interface PullOptions {
  readonly signal?: AbortSignal | undefined;
  /** Files fetched at once. @default 4 */
  readonly parallel?: number | undefined;
  /** Hashes what is there already, and fetches again what is damaged. @default false */
  readonly check?: boolean | undefined;
  /** Names that the user may have meant, for the error about a name that is none. */
  readonly known?: readonly string[] | undefined;
  /** Free bytes at a path. @default as the system says */
  readonly freeBytes?: ((path: string) => Promise<number>) | undefined;
  /** Told when bytes came, or a file is whole. */
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

/** How far a pull is. */
export interface PullProgress {
  /** Of what had to be fetched. */
  readonly bytes: number;
  readonly totalBytes: number;
  readonly files: number;
  readonly totalFiles: number;
}

/** What a pull left in the cache. */
export interface Pulled {
  readonly id: string;
  readonly revision: string;
  readonly commit: string;
  /** The snapshot's folder. */
  readonly path: string;
  readonly files: readonly PulledFile[];
  /** Files of the repository that were not asked for. */
  readonly others: number;
}

/** A file of a pull. */
export interface PulledFile {
  readonly path: string;
  readonly bytes: number;
  /** False when it was there already. */
  readonly fetched: boolean;
}

interface Missing extends RemoteFile {
  /** Bytes of it that an earlier attempt left. */
  readonly left: number;
}

const PARALLEL = 4;
/** Questions about files at once: their answers are small. */
const QUESTIONS = 8;

/**
 * Fetches files of a repository at a revision. The commit is asked for once, every file is of that commit, and the revision names it only
 * when all are there.
 * @throws UsageError offline, ModelError for what does not exist or is not for this user, LaurelError for a disk without room
 */
export async function pullRepository(
  client: HubClient,
  request: PullRequest,
  options: PullOptions = {},
): Promise<Pulled> {
  const { settings } = client;
  const { id, revision } = request;
  const what = formatRepository(request);
  if (settings.offline) {
    throw new UsageError(`${what}: expected to be let onto the network, got HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE`);
  }
  const cache = new HubCache(settings.cache);
  const { commit, files } = await client.commit(request, options.signal).catch(async (error: unknown) => {
    const known = error instanceof RevisionAbsent ? await client.revisions(id) : (options.known ?? []);
    throw withNames(error, request, known);
  });
  const usual = request.include === undefined;
  const chosen = usual ? { files: usualFiles(files), absent: [] } : selectFiles(what, files, request.include);
  await prepareCache(cache);
  for (const path of chosen.absent) await markAbsent(cache, id, commit, path);
  if (chosen.absent.length > 0) throw absentFiles(what, files, chosen.absent);
  const present = await presentFiles(cache, { id, commit, files: chosen.files }, options.check === true);
  const missing = await describeMissing(client, cache, { id, commit, files: chosen.files.filter((path) => !present.has(path)) }, options.signal); // prettier-ignore
  await expectRoom(cache.folder, what, missing, options);
  await fetchAll(client, cache, { id, commit, missing }, options);
  await writeRef(cache, id, revision, commit);
  const fetched = new Map(missing.map((file) => [file.path, file.size]));
  return {
    id,
    revision,
    commit,
    path: cache.snapshotFolder(id, commit),
    files: chosen.files.map((path) => ({
      path,
      bytes: fetched.get(path) ?? present.get(path) ?? 0,
      fetched: fetched.has(path),
    })),
    others: files.length - chosen.files.length,
  };
}

interface Files {
  readonly id: string;
  readonly commit: string;
  readonly files: readonly string[];
}

/** Sizes of the files that the snapshot has; a commit's files never change. */
async function presentFiles(
  cache: HubCache,
  { id, commit, files }: Files,
  check: boolean,
): Promise<Map<string, number>> {
  const present = new Map<string, number>();
  for (const path of files) {
    const file = join(cache.snapshotFolder(id, commit), ...path.split("/"));
    const there = await stat(file).catch(() => undefined);
    if (there?.isFile() !== true) continue;
    if (check && (await blobFault(file)) !== undefined) continue;
    present.set(path, there.size);
  }
  return present;
}

async function describeMissing(
  client: HubClient,
  cache: HubCache,
  { id, commit, files }: Files,
  signal: AbortSignal | undefined,
): Promise<Missing[]> {
  return together(files, QUESTIONS, signal, async (path, inner) => {
    const file = await client.file(id, commit, path, inner);
    const blob = cache.blob(id, file.etag);
    const whole = (await stat(blob).catch(() => undefined))?.size === file.size;
    return { ...file, left: whole ? file.size : await unfinishedBytes(blob) };
  });
}

/** @throws LaurelError when the disk has less room than the files need */
async function expectRoom(
  folder: string,
  what: string,
  missing: readonly Missing[],
  options: PullOptions,
): Promise<void> {
  const blobs = new Map(missing.map((file) => [file.etag, Math.max(0, file.size - file.left)]));
  const needed = [...blobs.values()].reduce((sum, bytes) => sum + bytes, 0);
  const free = await (options.freeBytes ?? freeBytes)(folder);
  if (needed <= free) return;
  throw new LaurelError(
    `${what}: expected ${gigabytes(needed)} of room in ${folder}, got ${gigabytes(free)}; make room, or set HF_HUB_CACHE to a folder on another disk`,
  );
}

/** Bytes that a user may still write where `path` is. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

async function fetchAll(
  client: HubClient,
  cache: HubCache,
  { id, commit, missing }: { id: string; commit: string; missing: readonly Missing[] },
  { signal, parallel = PARALLEL, check = false, onProgress }: PullOptions,
): Promise<void> {
  const received = new Map(missing.map(({ path, left }) => [path, left]));
  const totalBytes = missing.reduce((sum, { size }) => sum + size, 0);
  let finished = 0;
  const report = (): void => {
    const bytes = [...received.values()].reduce((sum, one) => sum + one, 0);
    onProgress?.({ bytes, totalBytes, files: finished, totalFiles: missing.length });
  };
  report();
  const largestFirst = [...missing].sort((a, b) => b.size - a.size);
  await together(largestFirst, parallel, signal, async ({ path, etag, size }, inner) => {
    const onBytes = (bytes: number): void => {
      received.set(path, bytes);
      report();
    };
    await fetchFile(client, cache, { id, commit, file: { path, etag, size }, check }, inner, onBytes);
    onBytes(size);
    finished++;
    report();
  });
}

/** One file: its blob, then its link. Both under the blob's lock, so that whoever removes what nothing refers to does not see it in between. */
async function fetchFile(
  client: HubClient,
  cache: HubCache,
  { id, commit, file, check }: { id: string; commit: string; file: RemoteFile; check: boolean },
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const { path, etag, size } = file;
  const destination = cache.blob(id, etag);
  await mkdir(dirname(destination), { recursive: true });
  await withBlobLock(blobLock(cache, id, etag), signal, async (alone) => {
    const there = await stat(destination).catch(() => undefined);
    const whole = there?.size === size && (!check || (await blobFault(destination)) === undefined);
    const what = `${id}: ${path}`;
    const url = client.address(id, commit, path);
    if (!whole) await transfer(client, { url, what, size, digest: digestOfEtag(etag), destination, alone, signal, onBytes }); // prettier-ignore
    await linkBlob(cache, { id, commit, path, etag }, client.settings.symlinks);
  });
}

/** Works on all items, a few at a time; the first failure stops the others. */
async function together<In, Out>(
  items: readonly In[],
  concurrency: number,
  signal: AbortSignal | undefined,
  work: (item: In, signal: AbortSignal) => Promise<Out>,
): Promise<Out[]> {
  const stop = new AbortController();
  const inner = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const queue = new PQueue({ concurrency });
  let failure: { readonly error: unknown } | undefined;
  const outcomes = items.map((item) =>
    queue.add(async () => {
      if (failure !== undefined) return undefined;
      try {
        return await work(item, inner);
      } catch (error) {
        failure ??= { error };
        stop.abort();
        return undefined;
      }
    }),
  );
  const results = await Promise.all(outcomes);
  if (failure !== undefined) throw failure.error;
  return results as Out[];
}

/** The error of a repository or a revision that the hub does not have, with the name that was probably meant. */
function withNames(error: unknown, { id, revision }: Repository, known: readonly string[]): unknown {
  if (error instanceof RevisionAbsent) {
    const near = closest(revision, known) ?? known.slice(0, 8).join(", ");
    return near === "" ? error : new ModelError(`${error.message}; there is ${near}`, { cause: error });
  }
  if (!(error instanceof RepositoryAbsent)) return error;
  const near = closest(id, known);
  return near === undefined ? error : new ModelError(`${error.message}; did you mean ${near}?`, { cause: error });
}

function gigabytes(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
