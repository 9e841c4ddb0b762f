/** @file Pictures below folders, one after the other: of a folder only its names are held, of the rest nothing. */

import { lstat, opendir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import { describeSystemError } from "../util/read-file.js";
import { IMAGE_EXTENSIONS, imagePattern, isPattern, noMatch } from "./find-images.js";
import { SIDECAR_EXTENSION, sidecarNames } from "./sidecar.js";

/** A picture that was found; it may be gone when it is opened. */
export interface FoundPicture {
  readonly kind: "picture";
  /** Absolute. */
  readonly path: string;
  /** The file beside it that may hold its prompt, absolute; null where there is none. */
  readonly sidecar: string | null;
  /** The file that this is a link to, absolute; null for a file itself. */
  readonly target: string | null;
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
  /** Folders that are not entered, absolute; files in them are found where they are named one by one. */
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
  const walked: Source[] = [];
  const seen = new Set<string>();
  for (const name of names) {
    const status = await stat(name).catch(() => undefined);
    if (status === undefined && isPattern(name)) {
      const { base, depth, matches } = imagePattern(name);
      const source = { real: await realOf(base), matches, everyLink: false };
      // inside a folder that was walked, it has nothing left to find
      let found = exclude.has(source.real);
      const onListed = (pictures: number): void => {
        found ||= pictures > 0;
        options.onListed?.(pictures);
      };
      yield* walkFolder(base, depth, { exclude, seen, walked, source, onListed });
      if (!found) throw noMatch(name);
      walked.push(source);
    } else if (status?.isDirectory() === true) {
      const real = await realOf(name);
      const source = { real, matches: (path: string) => IMAGE_EXTENSIONS.test(path), everyLink: true };
      yield* walkFolder(resolve(name), Infinity, { exclude, seen, walked, source, onListed: options.onListed });
      walked.push(source);
      exclude.add(real);
    } else {
      const path = resolve(name);
      const place = join(await realOf(dirname(path)), basename(path));
      const target = await realpath(path).catch(() => place);
      // what is missing was not found by the walk through its folder, and is still to be reported
      if (seen.has(place) || (status !== undefined && walked.some((source) => isFoundIn(source, place)))) continue;
      seen.add(place);
      options.onListed?.(1);
      yield { kind: "picture", path, sidecar: await sidecarBeside(path), target: target === place ? null : target };
    }
  }
}

/** A folder or a pattern that was named. */
interface Source {
  /** The folder that all of it is below, without links in its path. */
  readonly real: string;
  /** Whether a file is wanted. @param path below `real` */
  readonly matches: (path: string) => boolean;
  /** Links of any name are looked at, so that those to folders are told. */
  readonly everyLink: boolean;
}

/** Whether the walk through a source has found a file. @param place without links in the path of its folder */
function isFoundIn({ real, matches }: Source, place: string): boolean {
  const below = belowOf(real, place);
  return below !== undefined && !`${sep}${below}`.includes(`${sep}.`) && matches(below);
}

function belowOf(folder: string, path: string): string | undefined {
  const start = folder.endsWith(sep) ? folder : folder + sep;
  return path.startsWith(start) ? path.slice(start.length) : undefined;
}

/** What a walk knows. */
interface Walk extends Pick<WalkOptions, "onListed"> {
  readonly exclude: ReadonlySet<string>;
  /** Files that were named one by one, without links in the paths of their folders. */
  readonly seen: ReadonlySet<string>;
  /** What was walked before. */
  readonly walked: readonly Source[];
  readonly source: Source;
}

async function* walkFolder(folder: string, depth: number, walk: Walk): AsyncGenerator<FoundPicture | PassedOver, void> {
  const real = await realOf(folder);
  if (walk.exclude.has(real)) return;
  const below = belowOf(walk.source.real, real);
  const listed = await listFolder(folder, below === undefined ? "" : below + sep, depth, walk.source);
  if (listed instanceof Error) {
    const reason = describeSystemError(listed);
    yield { kind: "passed over", path: folder, reason, harmless: false };
    return;
  }
  const { names, folders } = listed;
  walk.onListed?.(names.length - folders.size);
  for (const name of names) {
    const [path, place] = [join(folder, name), join(real, name)];
    if (folders.has(name)) yield* walkFolder(path, depth - 1, walk);
    else if (!walk.seen.has(place) && !walk.walked.some((source) => isFoundIn(source, place)))
      yield (await faultOf(path, name, listed)) ?? (await picture(path, name, listed));
  }
}

async function picture(path: string, name: string, { links, sidecars }: Listing): Promise<FoundPicture> {
  const beside = sidecars.size === 0 ? undefined : sidecarNames(name).find((one) => sidecars.has(one));
  const sidecar = beside === undefined ? null : join(dirname(path), beside);
  return { kind: "picture", path, sidecar, target: links.has(name) ? await realOf(path) : null };
}

/** What a folder holds. */
interface Listing {
  /** Of pictures and folders, sorted. */
  readonly names: readonly string[];
  readonly folders: ReadonlySet<string>;
  readonly links: ReadonlySet<string>;
  readonly sidecars: ReadonlySet<string>;
}

/** @param below where the folder is in its source, with a separator at its end; nothing for the source's own */
async function listFolder(
  folder: string,
  below: string,
  depth: number,
  { matches, everyLink }: Source,
): Promise<Listing | Error> {
  const names: string[] = [];
  const folders = new Set<string>();
  const links = new Set<string>();
  const sidecars = new Set<string>();
  try {
    for await (const entry of await opendir(folder, { bufferSize: BUFFER })) {
      const { name } = entry;
      if (name.startsWith(".")) continue;
      if (entry.isDirectory()) {
        if (depth <= 0) continue;
        folders.add(name);
      } else {
        if (SIDECAR_EXTENSION.test(name)) sidecars.add(name);
        const isLink = entry.isSymbolicLink();
        if (isLink) links.add(name);
        if (!(isLink && everyLink) && !matches(below + name)) continue;
      }
      names.push(name);
    }
  } catch (error) {
    return error as Error;
  }
  return { names: names.sort(compareNames), folders, links, sidecars };
}

/** Why a name of a folder is passed over: a link to a folder or to nothing, a name whose bytes are no text. */
async function faultOf(path: string, name: string, { links }: Listing): Promise<PassedOver | undefined> {
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
