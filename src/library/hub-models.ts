/** @file Fetching, checking and removing models by name: what `laurel models pull`, `verify`, `path` and `rm` do. */

import { readdir, rm, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { ModelError, UsageError } from "../errors.js";
import { closest } from "../util/closest.js";
import { type Environment, hubCacheFolder } from "../util/user-folders.js";
import { addressFault, pullAddress } from "../weights/hub/address.js";
import { HubCache, type Snapshot } from "../weights/hub/cache.js";
import {
  type AddressPart,
  type CatalogueEntry,
  catalogueNames,
  findModel,
  findReward,
  type Licence,
} from "../weights/hub/catalogue.js";
import { HubClient } from "../weights/hub/client.js";
import { addressFile, installedReward, wantedOf } from "../weights/hub/installed.js";
import { type Pulled, type PulledFile, type PullOptions, pullRepository } from "../weights/hub/pull.js";
import { planRemoval, type Removal, type RemovalPlan, remove } from "../weights/hub/remove.js";
import { isRepositoryId, parseRepository, type Repository } from "../weights/hub/repository.js";
import { hubSettings } from "../weights/hub/settings.js";
import { snapshotsOf, type VerifiedFile, type VerifyOptions, verifySnapshot } from "../weights/hub/verify.js";

/** A repository that a model or reward is made of. */
export interface HubSource extends Repository {
  /** Names it had; empty for one that the user named. */
  readonly formerly: readonly string[];
  /** Paths or patterns; undefined for what Laurel would read. */
  readonly files: readonly string[] | undefined;
}

/** What a name stands for. */
export interface HubTarget {
  readonly name: string;
  /** For people; a repository's own name where it has no other. */
  readonly title: string;
  readonly licences: readonly Licence[];
  readonly notes: string | undefined;
  readonly sources: readonly HubSource[];
  readonly addresses: readonly AddressPart[];
  /** The revision was named, and is meant alone. */
  readonly pinned: boolean;
}

/** What fetching a model left on the disk. */
export interface PulledModel {
  readonly repositories: readonly Pulled[];
  /** Files that lie on no hub. */
  readonly addresses: readonly (PulledFile & { /** Absolute. */ readonly file: string })[];
}

/**
 * What a name of the catalogue, or `ORG/REPO[@REVISION][:FILE]`, stands for.
 * @throws UsageError for another text, with the closest name
 */
export async function hubTarget(text: string): Promise<HubTarget> {
  const entry = (await findModel(text)) ?? (await findReward(text));
  if (entry !== undefined) return targetOf(entry);
  const named = parseRepository(text);
  // repositories of an older time have no organisation
  const bare =
    named === undefined && isRepositoryId(text, true) ? { id: text, revision: "main", file: undefined } : named;
  if (bare === undefined || (named === undefined && closest(text, catalogueNames()) !== undefined)) throw unknown(text);
  const files = bare.file === undefined ? undefined : [bare.file];
  return {
    name: text,
    title: bare.id,
    licences: [],
    notes: undefined,
    sources: [{ id: bare.id, revision: bare.revision, formerly: [], files }],
    addresses: [],
    pinned: text.includes("@"),
  };
}

function unknown(text: string): UsageError {
  const near = closest(text, catalogueNames());
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  return new UsageError(
    `${text}: expected ${catalogueNames().join(", ")} or ORG/REPO[@REVISION], got another name${hint}`,
  );
}

function targetOf(entry: CatalogueEntry): HubTarget {
  const parts = "parts" in entry ? Object.values(entry.parts) : [entry];
  const sources = new Map<string, HubSource & { readonly files: readonly string[] }>();
  for (const part of parts) {
    if ("url" in part) continue;
    const wanted = wantedOf(part);
    const known = sources.get(`${wanted.id}@${wanted.revision}`);
    const files = [...new Set([...(known?.files ?? []), ...wanted.files])];
    sources.set(`${wanted.id}@${wanted.revision}`, { ...wanted, files });
  }
  return {
    name: entry.name,
    title: "model" in entry ? entry.model : entry.reward,
    licences: entry.licences,
    notes: entry.notes,
    sources: [...sources.values()],
    addresses: parts.filter((part) => "url" in part),
    pinned: false,
  };
}

/** How a model is fetched. */
export interface PullModelOptions extends PullOptions {
  /** Files that are wanted, too: paths or patterns. */
  readonly include?: readonly string[] | undefined;
  /** Where the hub is, where its cache is, and who asks. @default the process's */
  readonly environment?: Environment | undefined;
}

/**
 * Fetches a model or a reward by its name: one of the catalogue (`sd-1.5`), or `org/repo[@revision][:file]` on the Hugging Face hub. Its licence is
 * the caller's to look at.
 * @throws UsageError for a name that is none and offline; ModelError for what does not exist, or is not for this user; BackendError when the hub
 *   cannot be reached; LaurelError for a disk without room; CancelledError
 */
export async function pullModel(name: string, options: PullModelOptions = {}): Promise<PulledModel> {
  return pullTarget(await hubTarget(name), options);
}

/** As {@link pullModel}, for what a name was found to stand for. */
export async function pullTarget(target: HubTarget, options: PullModelOptions): Promise<PulledModel> {
  const { include = [], environment = process.env, ...rest } = options;
  const client = new HubClient(await hubSettings(environment));
  try {
    if (include.length > 0 && target.sources.length > 1) {
      throw new UsageError(
        `--include: expected a model of one repository, got ${target.name}, which is made of several`,
      );
    }
    const pulling = { ...rest, known: await knownRepositories() };
    const repositories: Pulled[] = [];
    const addresses: PulledModel["addresses"][number][] = [];
    for (const { id, revision, files } of target.sources) {
      const all = files === undefined && include.length === 0 ? undefined : [...(files ?? []), ...include];
      repositories.push(await pullRepository(client, { id, revision, include: all }, pulling));
    }
    for (const part of target.addresses) addresses.push(await pullAddress(client, part, pulling, environment));
    return { repositories, addresses };
  } finally {
    await client.close();
  }
}

async function knownRepositories(): Promise<string[]> {
  const entries = await allEntries();
  return [...new Set(entries.flatMap((entry) => targetOf(entry).sources.map(({ id }) => id)))];
}

async function allEntries(): Promise<CatalogueEntry[]> {
  const entries = catalogueNames().map(async (name) => (await findModel(name)) ?? (await findReward(name)));
  return (await Promise.all(entries)).filter((entry) => entry !== undefined);
}

/** A snapshot or a file that was checked. */
export interface VerifiedPlace {
  /** `org/repo@commit`, or what the file of an address is called. */
  readonly name: string;
  readonly path: string;
  readonly files: readonly VerifiedFile[];
}

/** Every target of the cache: its repositories, and the files of addresses that were fetched. */
export async function cachedTargets(environment: Environment = process.env): Promise<HubTarget[]> {
  const folders = await readdir(hubCacheFolder(environment)).catch(() => []);
  const ids = folders.filter((name) => name.startsWith("models--")).map((name) => name.slice(8).replaceAll("--", "/"));
  const known = ids
    .filter((id) => isRepositoryId(id, true))
    .map((id): HubTarget => ({
      name: id,
      title: id,
      licences: [],
      notes: undefined,
      sources: [{ id, revision: "main", formerly: [], files: undefined }],
      addresses: [],
      pinned: false,
    }));
  const entries = (await allEntries()).map(targetOf).filter(({ addresses }) => addresses.length > 0);
  return [...known, ...entries.map((target) => ({ ...target, sources: [] }))];
}

/** Hashes what lies in the cache of a target; of a repository that is not pinned, every snapshot. */
export async function verifyTarget(
  target: HubTarget,
  options: VerifyOptions = {},
  environment: Environment = process.env,
): Promise<VerifiedPlace[]> {
  const cache = new HubCache(hubCacheFolder(environment));
  const places: VerifiedPlace[] = [];
  for (const source of target.sources) {
    for (const { id, snapshot } of await cachedSnapshots(cache, source, target.pinned)) {
      const files = await verifySnapshot(snapshot, options);
      places.push({ name: `${id}@${snapshot.commit.slice(0, 8)}`, path: snapshot.path, files });
    }
  }
  for (const part of target.addresses) {
    const path = addressFile(part, environment);
    const there = await stat(path).catch(() => undefined);
    if (there === undefined) continue;
    const problem = (await addressFault(part, path)) ?? null;
    const file = { path: part.file, bytes: there.size, problem, hashed: part.sha256 !== null };
    options.onFile?.(file);
    places.push({ name: part.file, path, files: [file] });
  }
  return places;
}

async function cachedSnapshots(
  cache: HubCache,
  { id, revision, formerly }: HubSource,
  pinned: boolean,
): Promise<{ readonly id: string; readonly snapshot: Snapshot }[]> {
  const found: { id: string; snapshot: Snapshot }[] = [];
  for (const one of [id, ...formerly]) {
    const commit = pinned ? await cache.commitOf({ id: one, revision }) : undefined;
    const snapshots = await snapshotsOf(cache, one);
    const wanted = snapshots.filter((snapshot) => !pinned || snapshot.commit === commit);
    found.push(...wanted.map((snapshot) => ({ id: one, snapshot })));
  }
  return found;
}

/** What removing a target would take away. */
export interface TargetRemoval {
  readonly repositories: readonly RemovalPlan[];
  /** Files of addresses. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  /** Repositories that stay because another installed reward is made of them, too. */
  readonly kept: readonly { readonly id: string; readonly by: string }[];
}

/** What removing a target would take away. @throws ModelError when there is nothing of it */
export async function planTargetRemoval(
  target: HubTarget,
  environment: Environment = process.env,
): Promise<TargetRemoval> {
  const cache = new HubCache(hubCacheFolder(environment));
  const users = target.sources.length > 1 ? await usersOf(target.name, environment) : new Map<string, string>();
  const repositories: RemovalPlan[] = [];
  const kept: { id: string; by: string }[] = [];
  for (const source of target.sources) {
    const by = users.get(source.id);
    for (const id of [source.id, ...source.formerly]) {
      const snapshots = await cachedSnapshots(cache, { ...source, id, formerly: [] }, target.pinned);
      if (snapshots.length > 0 && by !== undefined) kept.push({ id, by });
      else if (snapshots.length > 0 || (!target.pinned && (await hasBlobs(cache, id)))) {
        repositories.push(await planRemoval(cache, id, snapshots.map(({ snapshot }) => snapshot.commit))); // prettier-ignore
      }
    }
  }
  const files: { path: string; bytes: number }[] = [];
  for (const part of target.addresses) {
    const path = addressFile(part, environment);
    const there = await stat(path).catch(() => undefined);
    if (there !== undefined) files.push({ path, bytes: there.size });
  }
  if (repositories.length + files.length + kept.length > 0) return { repositories, files, kept };
  throw new ModelError(`${target.name}: expected something of it in ${cache.folder}, got nothing`);
}

async function hasBlobs(cache: HubCache, id: string): Promise<boolean> {
  return (await readdir(dirname(cache.blob(id, "any"))).catch(() => [])).length > 0;
}

/** The repositories of the other rewards of the catalogue that are installed, with their names. */
async function usersOf(name: string, environment: Environment): Promise<Map<string, string>> {
  const users = new Map<string, string>();
  for (const entry of await allEntries()) {
    if (entry.name === name || !("parts" in entry)) continue;
    const installed = await installedReward(entry, environment).catch(() => undefined);
    if (installed !== undefined) for (const { id } of targetOf(entry).sources) users.set(id, entry.name);
  }
  return users;
}

/** Does what {@link planTargetRemoval} says. */
export async function removeTarget(
  { repositories, files }: TargetRemoval,
  environment: Environment = process.env,
): Promise<readonly Removal[]> {
  const cache = new HubCache(hubCacheFolder(environment));
  const removed: Removal[] = [];
  for (const plan of repositories) removed.push(await remove(cache, plan));
  for (const { path, bytes } of files) {
    await rm(path);
    removed.push({ id: basename(path), commits: [], blobs: 1, bytes, inUse: 0 });
  }
  return removed;
}
