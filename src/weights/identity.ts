/** @file What a generator or a reward says of the weights behind it. */

/** Which weights a result came from. */
export interface ModelIdentity {
  /** As a person calls it: the name of its folder or file. */
  readonly name: string;
  /** Folder or file, absolute; undefined for a remote service, or for what has no weights. */
  readonly path: string | undefined;
  /** Files and folders beside `path` that results depend on: the CLIP under a head. */
  readonly also?: readonly string[] | undefined;
  /** SHA-256 over its files, where they are on another machine and it is known from there; null for what has none. */
  readonly digest?: string | null | undefined;
}
