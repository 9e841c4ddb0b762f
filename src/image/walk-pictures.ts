/** @file Pictures below folders, one after the other: of a folder only its names are held, of the rest nothing. */

import { lstat, opendir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import { describeSystemError } from "../util/read-file.js";
import { findImages, IMAGE_EXTENSIONS } from "./find-images.js";
import { SIDECAR_EXTENSION, sidecarNames } from "./sidecar.js";

/** A picture that was found; it may be gone when it is opened. */
export interface FoundPicture {
  readonly kind: "picture";
  /** Absolute. */
  readonly path: string;
  /** The file beside it that may hold its prompt, absolute; null where there is none. */
  readonly sidecar: string | null;
}

/** What was passed over, and why. */
export interface PassedOver {
  readonly kind: "passed over";
  readonly path: string;
  /** In words: `no permission to read it`. */
  readonly reason: string;
  /** Nothing was missed that was asked for: a link to a folder, or to no picture. */
  readonly harmless: boolean;
}

/** How folders are walked. */
export interface WalkOptions {
  /** Folders that are not entered, absolute. */
  readonly exclude?: readonly string[] | undefined;
  /** Called with the number of pictures of each folder that was listed. */
  readonly onListed?: ((pictures: number) => void) | undefined;
}

/** Names that a folder may have before they are sorted; a few dozen bytes each. */
const BUFFER = 512;

/**
 * The pictures that `names` stand for: files, folders (searched through) and patterns, as {@link findImages} has them, without a list of all. A folder's names
 * come by the digits and letters in them (`2.png` before `10.png`), whatever the language of the machine. Hidden files are left out. Links to files are followed,
 * links to folders are passed over, so that a circle of them is walked once; so are folders that cannot be read, and names that are no UTF-8.
 * @throws UsageError for a pattern that matches nothing
 */
export async function* walkPictures(
  names: readonly string[],
  options: WalkOptions = {},
): AsyncGenerator<FoundPicture | PassedOver, void> {
  const exclude = new Set(await Promise.all((options.exclude ?? []).map(realOf)));
  const folders: string[] = [];
  const seen = new Set<string>();
  const walk: Walk = { exclude, seen, onListed: options.onListed };
  for (const name of names) {
    const status = await stat(name).catch(() => undefined);
    if (status?.isDirectory() === true) {
      const folder = await realOf(name);
      // a folder that stands twice, or inside another that was walked, is walked once
      if (folders.some((one) => folder.startsWith(one + sep))) continue;
      yield* walkFolder(resolve(name), walk);
      folders.push(folder);
      exclude.add(folder);
      continue;
    }
    const files = status === undefined && /[*?[\]{}]/.test(name) ? await findImages([name]) : [resolve(name)];
    walk.onListed?.(files.length);
    for (const path of files) {
      if (seen.has(path) || (await wasFound(path, folders))) continue;
      seen.add(path);
      yield { kind: "picture", path, sidecar: await sidecarBeside(path) };
    }
  }
}

/** Whether the walk through a folder has found a file: one that is missing, hidden or of another ending is still to be reported. */
async function wasFound(path: string, folders: readonly string[]): Promise<boolean> {
  const folder = folders.find((one) => path.startsWith(one + sep));
  if (folder === undefined || !IMAGE_EXTENSIONS.test(path)) return false;
  const isHidden = path.slice(folder.length).includes(`${sep}.`);
  return !isHidden && (await stat(path).catch(() => undefined)) !== undefined;
}

/** What a walk knows. */
interface Walk extends Pick<WalkOptions, "onListed"> {
  readonly exclude: ReadonlySet<string>;
  /** Files that were named. */
  readonly seen: ReadonlySet<string>;
}

async function* walkFolder(folder: string, walk: Walk): AsyncGenerator<FoundPicture | PassedOver, void> {
  if (walk.exclude.size > 0 && walk.exclude.has(await realOf(folder))) return;
  const listed = await listFolder(folder);
  if (listed instanceof Error) {
    const reason = describeSystemError(listed);
    yield { kind: "passed over", path: folder, reason, harmless: false };
    return;
  }
  const { names, folders, sidecars } = listed;
  walk.onListed?.(names.length - folders.size);
  for (const name of names) {
    const path = join(folder, name);
    if (folders.has(name)) yield* walkFolder(path, walk);
    else if (!walk.seen.has(path)) yield (await faultOf(path, name, listed.links)) ?? picture(folder, name, sidecars);
  }
}

function picture(folder: string, name: string, sidecars: ReadonlySet<string>): FoundPicture {
  const sidecar = sidecars.size === 0 ? undefined : sidecarNames(name).find((one) => sidecars.has(one));
  return { kind: "picture", path: join(folder, name), sidecar: sidecar === undefined ? null : join(folder, sidecar) };
}

/** What a folder holds. */
interface Listing {
  /** Of pictures and folders, sorted. */
  readonly names: readonly string[];
  readonly folders: ReadonlySet<string>;
  readonly links: ReadonlySet<string>;
  readonly sidecars: ReadonlySet<string>;
}

async function listFolder(folder: string): Promise<Listing | Error> {
  const names: string[] = [];
  const folders = new Set<string>();
  const links = new Set<string>();
  const sidecars = new Set<string>();
  try {
    for await (const entry of await opendir(folder, { bufferSize: BUFFER })) {
      const { name } = entry;
      if (name.startsWith(".")) continue;
      if (entry.isDirectory()) folders.add(name);
      else if (SIDECAR_EXTENSION.test(name)) sidecars.add(name);
      else if (entry.isSymbolicLink()) links.add(name);
      if (folders.has(name) || links.has(name) || IMAGE_EXTENSIONS.test(name)) names.push(name);
    }
  } catch (error) {
    return error as Error;
  }
  return { names: names.sort(compareNames), folders, links, sidecars };
}

/** Why a name of a folder is passed over: a link to a folder or to nothing, a name whose bytes are no text. */
async function faultOf(path: string, name: string, links: ReadonlySet<string>): Promise<PassedOver | undefined> {
  const passed = (reason: string, harmless = false): PassedOver => ({ kind: "passed over", path, reason, harmless });
  if (name.includes("\ufffd") && (await lstat(path).catch(() => undefined)) === undefined)
    return passed("a name that is no UTF-8; rename it");
  if (!links.has(name)) return undefined;
  const target = await stat(path).catch((error: unknown) => error as Error);
  if (target instanceof Error) return passed(`a link that leads to ${describeSystemError(target)}`);
  if (target.isDirectory()) return passed("a link to a folder; name it to have it walked", true);
  return IMAGE_EXTENSIONS.test(name) ? undefined : passed("a link to no picture", true);
}

/** The first of the names a sidecar may have that is there. */
async function sidecarBeside(path: string): Promise<string | null> {
  for (const name of sidecarNames(basename(path))) {
    const beside = join(dirname(path), name);
    if ((await stat(beside).catch(() => undefined))?.isFile() === true) return beside;
  }
  return null;
}

async function realOf(path: string): Promise<string> {
  return realpath(path).catch(() => resolve(path));
}

/** Digits count as whole numbers, everything else by its code units: an order that no locale and no version of Node changes. */
export function compareNames(a: string, b: string): number {
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(j)];
    if (isDigit(x) && isDigit(y)) {
      const [endA, endB] = [digitsEnd(a, i), digitsEnd(b, j)];
      const [startA, startB] = [zerosEnd(a, i, endA), zerosEnd(b, j, endB)];
      const length = endA - startA - (endB - startB);
      if (length !== 0) return length;
      for (let k = 0; startA + k < endA; k++) {
        const difference = a.charCodeAt(startA + k) - b.charCodeAt(startB + k);
        if (difference !== 0) return difference;
      }
      [i, j] = [endA, endB];
    } else if (x !== y) return x - y;
    else [i, j] = [i + 1, j + 1];
  }
  return a.length - i - (b.length - j) || (a < b ? -1 : a > b ? 1 : 0);
}

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;

function digitsEnd(text: string, start: number): number {
  let end = start;
  while (end < text.length && isDigit(text.charCodeAt(end))) end++;
  return end;
}

function zerosEnd(text: string, start: number, end: number): number {
  let at = start;
  while (at < end - 1 && text.charCodeAt(at) === 0x30) at++;
  return at;
}
