/**
 * @file The cache of the Hugging Face hub on disk, as Python's huggingface_hub reads and writes it: `blobs/<etag>`,
 * `snapshots/<commit>/<path>` as links to them, `refs/<revision>`, `.no_exist/<commit>/<path>`.
 */

import { readdir, readFile, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { isCommit, isFilePath, type Repository, repositoryFolder } from "./repository.js";

/** A commit of a repository that lies in a cache. */
export interface Snapshot {
  readonly commit: string;
  /** Its folder, absolute where the cache's is. */
  readonly path: string;
}

/** A cache; nothing is created by looking into it. */
export class HubCache {
  readonly folder: string;

  /** @param folder as `hubCacheFolder` gives it */
  constructor(folder: string) {
    this.folder = folder;
  }

  /** Where everything of a repository lies. */
  repository(id: string): string {
    return join(this.folder, repositoryFolder(id));
  }

  /** The content with this etag. */
  blob(id: string, etag: string): string {
    return join(this.repository(id), "blobs", etag);
  }

  /** The folder of a commit. */
  snapshotFolder(id: string, commit: string): string {
    return join(this.repository(id), "snapshots", commit);
  }

  /** The file that says which commit a branch or tag was at. */
  ref(id: string, revision: string): string {
    return join(this.repository(id), "refs", ...revision.split("/"));
  }

  /** The mark of a file that a commit is known not to have. */
  absence(id: string, commit: string, path: string): string {
    return join(this.repository(id), ".no_exist", commit, ...path.split("/"));
  }

  /** The commit that a revision was at when it was fetched; undefined when it never was. A commit is itself. */
  async commitOf({ id, revision }: Repository): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    const text = await readFile(this.ref(id, revision), "utf8").catch(() => "");
    const commit = text.trim();
    return isCommit(commit) ? commit : undefined;
  }

  /** The snapshot of a revision, found without a network; undefined when there is none. */
  async snapshot(repository: Repository): Promise<Snapshot | undefined> {
    const commit = await this.commitOf(repository);
    if (commit === undefined) return undefined;
    const path = this.snapshotFolder(repository.id, commit);
    return (await isFolder(path)) ? { commit, path } : undefined;
  }

  /** Paths of a snapshot's files, with slashes, in order; links to nothing are left out. */
  async files(snapshot: Snapshot): Promise<string[]> {
    const entries = await readdir(snapshot.path, { recursive: true, withFileTypes: true }).catch(() => []);
    const paths: string[] = [];
    for (const entry of entries) {
      if (entry.isDirectory()) continue;
      const path = join(entry.parentPath, entry.name);
      if (await isFile(path)) paths.push(relative(snapshot.path, path).split(sep).join("/"));
    }
    return paths.sort();
  }

  /**
   * One file of a revision: its path, `absent` when the repository is known not to have it, undefined when it was not fetched.
   */
  async file(repository: Repository, path: string): Promise<{ readonly path: string } | "absent" | undefined> {
    const commit = await this.commitOf(repository);
    if (commit === undefined || !isFilePath(path)) return undefined;
    const file = join(this.snapshotFolder(repository.id, commit), ...path.split("/"));
    if (await isFile(file)) return { path: file };
    return (await isFile(this.absence(repository.id, commit, path))) ? "absent" : undefined;
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (kind) => kind.isFile(),
    () => false,
  );
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (kind) => kind.isDirectory(),
    () => false,
  );
}
