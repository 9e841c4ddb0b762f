/** @file What a repository of the hub is called: `organisation/name`, a revision, a file in it. */

import { UsageError } from "../../errors.js";

/** A repository at a revision. */
export interface Repository {
  /** `organisation/name`, or the bare name of an old one. */
  readonly id: string;
  /** A branch, a tag, `refs/pr/1`, or a commit in 40 hex digits. */
  readonly revision: string;
}

/** The revision of a repository when none is named. */
export const MAIN = "main";

const PART = /^(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?$/;
const REVISION = /^(?!.*(?:\.\.|\/\/))[\w.](?:[\w./-]{0,198}[\w-])?$/;
const COMMIT = /^[0-9a-f]{40}$/;

/** True for a commit's whole hash, which never changes its meaning. */
export function isCommit(revision: string): boolean {
  return COMMIT.test(revision);
}

/** True for `organisation/name`, and for a bare name where `bare` allows it. Source: huggingface_hub, validate_repo_id. */
export function isRepositoryId(id: string, bare = false): boolean {
  const parts = id.split("/");
  return parts.length <= 2 && (bare || parts.length === 2) && parts.every((part) => PART.test(part));
}

/** True for what may name a branch, a tag or a commit. */
export function isRevision(revision: string): boolean {
  return REVISION.test(revision);
}

/** A repository, and the file in it that was named. */
export interface NamedRepository extends Repository {
  readonly file: string | undefined;
}

/** `ORG/REPO[@REVISION][:FILE]` in its parts; undefined when `text` does not have that form. */
export function parseRepository(text: string): NamedRepository | undefined {
  const match = /^([^@:]+)(?:@([^:]+))?(?::(.+))?$/.exec(text);
  const [id = "", revision = MAIN, file] = match?.slice(1) ?? [];
  if (!isRepositoryId(id) || !isRevision(revision) || (file !== undefined && !isFilePath(file))) return undefined;
  return { id, revision, file };
}

/** As {@link parseRepository}. @throws UsageError when `text` has another form */
export function expectRepository(text: string): NamedRepository {
  const parsed = parseRepository(text);
  if (parsed !== undefined) return parsed;
  throw new UsageError(`model: expected ORG/REPO, ORG/REPO@REVISION or ORG/REPO:FILE, got ${JSON.stringify(text)}`);
}

/** True for a path inside a repository: relative, with slashes, never leading out of it. */
export function isFilePath(path: string): boolean {
  if (path.length > 1024 || /[\u0000-\u001f\\:]/.test(path)) return false;
  return path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

/** The folder of a repository in a cache: `models--organisation--name`. */
export function repositoryFolder(id: string): string {
  return `models--${id.replaceAll("/", "--")}`;
}

/** How a person would type it: the revision is left out when it is the usual one. */
export function formatRepository({ id, revision }: Repository): string {
  return revision === MAIN ? id : `${id}@${revision}`;
}
