/** @file Finds models and rewards of the catalogue that have been fetched, without a network. */

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { ModelError } from "../../errors.js";
import { sha256 } from "../../util/files.js";
import { type Environment, hubCacheFolder, laurelCacheFolder } from "../../util/user-folders.js";
import { HubCache, type Snapshot } from "./cache.js";
import type { AddressPart, ModelEntry, RewardEntry, RewardKind, RewardPart } from "./catalogue.js";
import { isLiteral, matchesAny } from "./globs.js";
import { formatRepository, type NamedRepository, type Repository } from "./repository.js";

/** A repository with the files that are wanted of it. */
interface Wanted extends Repository {
  readonly formerly: readonly string[];
  readonly files: readonly string[];
}

/** A reward that has been fetched: what opens it, and where its parts lie. */
export interface InstalledReward {
  readonly kind: RewardKind;
  /** Files, and folders where a part is several files. */
  readonly parts: Readonly<Record<string, string>>;
}

/** Where a file that lies on no hub is kept: by its address, in Laurel's own cache. */
export function addressFile({ url, file }: AddressPart, environment: Environment = process.env): string {
  return join(laurelCacheFolder(environment), "downloads", sha256(url).slice(0, 16), file);
}

/** The folder of a named model. @throws ModelError naming what is not there, and how to get it */
export async function installedModel(entry: ModelEntry, environment: Environment = process.env): Promise<string> {
  return (await findSnapshot(entry.name, wantedOf(entry), environment)).path;
}

/** The parts of a named reward. @throws ModelError naming what is not there, and how to get it */
export async function installedReward(
  entry: RewardEntry,
  environment: Environment = process.env,
): Promise<InstalledReward> {
  const parts: Record<string, string> = {};
  for (const [name, part] of Object.entries(entry.parts)) parts[name] = await installedPart(entry, part, environment);
  return { kind: entry.kind, parts };
}

/** The folder of a repository, or the file in it that was named. @throws ModelError when it was not fetched */
export async function installedRepository(
  named: NamedRepository,
  environment: Environment = process.env,
): Promise<string> {
  const files = named.file === undefined ? [] : [named.file];
  const spec = `${formatRepository(named)}${named.file === undefined ? "" : `:${named.file}`}`;
  const { path } = await findSnapshot(spec, { ...named, formerly: [], files }, environment);
  return named.file === undefined ? path : join(path, ...named.file.split("/"));
}

async function installedPart(entry: RewardEntry, part: RewardPart, environment: Environment): Promise<string> {
  if ("url" in part) {
    const path = addressFile(part, environment);
    const there = await stat(path).catch(() => undefined);
    if (there?.isFile() === true) return path;
    throw notCached(entry.name, `expected ${part.file} of ${new URL(part.url).host} at ${path}, got none`);
  }
  const { path } = await findSnapshot(entry.name, wantedOf(part), environment);
  return "file" in part ? join(path, ...part.file.split("/")) : path;
}

/** The first snapshot, under any of the repository's names, that has all files wanted. */
async function findSnapshot(name: string, wanted: Wanted, environment: Environment): Promise<Snapshot> {
  const cache = new HubCache(hubCacheFolder(environment));
  let incomplete: { id: string; lacking: readonly string[] } | undefined;
  for (const id of [wanted.id, ...wanted.formerly]) {
    const snapshot = await cache.snapshot({ id, revision: wanted.revision });
    if (snapshot === undefined) continue;
    const present = await cache.files(snapshot);
    const lacking = wanted.files.filter((file) => !present.some((path) => matchesAny(path, [file])));
    if (lacking.length === 0 && present.length > 0) return snapshot;
    incomplete ??= { id, lacking };
  }
  const what = formatRepository(wanted);
  if (incomplete === undefined) throw notCached(name, `expected ${what} in ${cache.folder}, got none`);
  const { id, lacking } = incomplete;
  const absent: string[] = [];
  for (const file of lacking.filter(isLiteral)) {
    if ((await cache.file({ id, revision: wanted.revision }, file)) === "absent") absent.push(file);
  }
  if (absent.length > 0) {
    throw new ModelError(`${name}: expected ${absent.join(", ")} in ${what}, got a repository without`);
  }
  throw notCached(name, `expected all its files in ${cache.folder}, got none of ${lacking.join(", ")}`);
}

function notCached(name: string, what: string): ModelError {
  return new ModelError(`${name}: ${what}: not cached; run laurel models pull ${name}`);
}

/** What is wanted of a repository: a model's files, or those of a part of a reward. */
export function wantedOf(source: ModelEntry | Exclude<RewardPart, AddressPart>): Wanted {
  const { repository: id, revision, formerly } = source;
  return { id, revision, formerly, files: "file" in source ? [source.file] : source.files };
}
