/** @file Scored pictures put into folders: what is chosen is copied, moved, linked or only listed; what is not chosen stays, or goes when that is asked for. */

import { access, constants, lstat, mkdir, realpath, stat, unlink } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import { LaurelError } from "../../errors.js";
import { roundStep } from "../../evaluation/explain.js";
import { sidecarNames } from "../../image/sidecar.js";
import { throwIfAborted } from "../../util/abort.js";
import { isMissing, writeFault } from "../../util/read-file.js";
import { MovePlan } from "./move-plan.js";
import { isPlaced, placeFile, type PlaceMode } from "./place-file.js";
import { PlacedBefore } from "./placed-before.js";
import type { PictureChoice, RankedPicture, ScoredPictures } from "./scored-pictures.js";
import { sortedName, type SortFolders } from "./sorted-names.js";

/** What is done with a chosen picture. */
export const SORT_MODES = ["copy", "move", "link", "list"] as const;
/** One of `SORT_MODES`; a link is a symbolic one. */
export type SortMode = (typeof SORT_MODES)[number];

/** How pictures are sorted. */
export interface SortPicturesOptions {
  /** The folder they go to; it is made. Not needed to list. */
  readonly to?: string | undefined;
  /** @default "copy" */
  readonly mode?: SortMode | undefined;
  /** Folders below `to`. @default "prompt" */
  readonly by?: SortFolders | undefined;
  /** Width of a range of scores, for folders by score; {@link scoreBucket} gives one for a reward. @default 0.5 */
  readonly bucket?: number | undefined;
  /** @default all with a score */
  readonly choice?: PictureChoice | undefined;
  /** Says what would be done, and does nothing. @default false */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What became of a picture. */
export interface SortedPicture {
  readonly picture: RankedPicture;
  /** `before`: it was put there by an earlier sorting. `failed`: it stays where it is. */
  readonly done: "copied" | "moved" | "linked" | "listed" | "before" | "failed" | "deleted";
  /** Where it is now, absolute; null where it went nowhere. In a dry run where it would be, unless that is taken. */
  readonly to: string | null;
  readonly error?: string | undefined;
}

const DONE = { copy: "copied", move: "moved", link: "linked" } as const;
/** Names that are tried where one is taken: `name-2.png`, ... */
const MOST_NAMES = 10_000;

/** Width of folders by score for a reward of this usual range: a round tenth of it. */
export function scoreBucket([low, high]: readonly [number, number]): number {
  return high > low ? roundStep((high - low) / 10) : 1;
}

/**
 * Puts the chosen pictures into `to`, with the files beside them that hold their prompts, one after the other. Nothing is overwritten: where a name is taken by another file, a number is added. What an earlier
 * sorting put there is not put there again, so that interrupted work goes on; a picture that another of them is a link to is not moved; a move that was interrupted goes on with what it had chosen; between two pictures everything is consistent, and at every other moment no picture is lost.
 * @throws UsageError when another process sorts into the folder, or nothing can be written there; CancelledError when `signal` aborts
 */
export async function* sortPictures(
  set: ScoredPictures,
  options: SortPicturesOptions,
): AsyncGenerator<SortedPicture, void> {
  const { mode = "copy", choice = {}, dryRun = false, signal } = options;
  const to = resolve(options.to ?? ".");
  if (mode === "list" || dryRun) {
    const named = mode === "list" ? undefined : namer(set, options);
    for await (const picture of set.rows(choice, "chosen")) {
      throwIfAborted(signal, "sorting");
      const { folder, stem, ending } = named?.(picture) ?? { folder: "", stem: "", ending: "" };
      const place = named === undefined ? null : join(to, folder, stem + ending);
      yield { picture, done: mode === "list" ? "listed" : DONE[mode], to: place };
    }
    return;
  }
  const named = namer(set, options);
  const before = await PlacedBefore.open(to);
  try {
    const plan = mode === "move" ? await MovePlan.open(to, set, options) : undefined;
    let [moved, left] = [0, 0];
    for await (const picture of plan?.pictures(set) ?? set.rows(choice, "chosen")) {
      throwIfAborted(signal, "sorting");
      if (before.has(picture.path, picture.digest)) {
        yield { picture, done: "before", to: null };
        continue;
      }
      const placed = await placePicture(picture, named(picture), { to, mode, set });
      if (placed.to !== null) await before.add(picture.path, picture.digest, placed.to);
      if (placed.to === null) left++;
      else moved++;
      yield placed;
    }
    // what could not be moved now may be after a full disk was cleared
    if (left === 0 || moved === 0) await plan?.done();
  } finally {
    await before.close();
  }
}

/**
 * Deletes the scored pictures that are not chosen, with the files beside them. One that was changed since it was scored stays, and so does one that another of them is a link to.
 * @throws CancelledError when `signal` aborts
 */
export async function* deleteRest(
  set: ScoredPictures,
  { choice = {}, signal }: Pick<SortPicturesOptions, "choice" | "signal">,
): AsyncGenerator<SortedPicture, void> {
  for await (const picture of set.rows(choice, "rest")) {
    throwIfAborted(signal, "deleting");
    try {
      await expectUnchanged(picture);
      await expectNoLink(picture.path, set);
      const sidecars = await ownSidecars(picture.path);
      await unlink(picture.path);
      for (const { path, shared } of sidecars) if (!shared) await unlink(path);
      yield { picture, done: "deleted", to: null };
    } catch (error) {
      yield failed(picture, error, "deleted");
    }
  }
}

type Name = ReturnType<typeof sortedName>;

function namer(
  set: ScoredPictures,
  { by = "prompt", bucket = 0.5 }: SortPicturesOptions,
): (one: RankedPicture) => Name {
  const digits = Math.max(4, String(set.size).length);
  return (picture) => sortedName(picture, by, bucket, digits);
}

async function placePicture(
  picture: RankedPicture,
  { folder, stem, ending }: Name,
  { to, mode, set }: { readonly to: string; readonly mode: PlaceMode; readonly set: ScoredPictures },
): Promise<SortedPicture> {
  const directory = join(to, folder);
  try {
    await expectUnchanged(picture);
    if (mode === "move") {
      await expectNoLink(picture.path, set);
      // a copy of what cannot be taken away would be no move
      await access(dirname(picture.path), constants.W_OK);
    }
    await mkdir(directory, { recursive: true });
    const sidecars = await ownSidecars(picture.path);
    for (let number = 1; number <= MOST_NAMES; number++) {
      const own = number === 1 ? stem : `${stem}-${number}`;
      const place = join(directory, own + ending);
      if ((await exists(place)) && !(await isPlaced(mode, picture.path, place))) continue;
      // the text first, as a copy: a picture never stands without its prompt, in the old place or in the new one
      for (const { path, after } of sidecars) {
        const beside = join(directory, `${own}${after}`);
        if (!(await isPlaced("copy", path, beside))) await placeFile(mode === "link" ? "link" : "copy", path, beside);
      }
      const there = await isPlaced(mode, picture.path, place);
      if (!there && !(await placeFile(mode, picture.path, place))) continue;
      if (mode === "move") {
        // an earlier move that was cut short has copied it already
        if (there) await unlink(picture.path);
        for (const { path, shared } of sidecars) if (!shared) await unlink(path).catch(() => undefined);
      }
      return { picture, done: DONE[mode], to: place };
    }
    return {
      picture,
      done: "failed",
      to: null,
      error: `${picture.path}: expected a free name in ${directory}, got none`,
    };
  } catch (error) {
    return failed(picture, error, DONE[mode]);
  }
}

function failed(picture: RankedPicture, error: unknown, wanted: string): SortedPicture {
  const told =
    error instanceof LaurelError
      ? error.message
      : `${picture.path}: expected a picture that can be ${wanted}, got ${writeFault(error)}; it stays`;
  if (!(error instanceof LaurelError) && (error as NodeJS.ErrnoException).code === undefined) throw error;
  return { picture, done: "failed", to: null, error: told };
}

/** @throws LaurelError for a picture that is another by now */
async function expectUnchanged({ path, bytes, modified }: RankedPicture): Promise<void> {
  const now = await stat(path).catch((error: unknown) => {
    throw new LaurelError(
      `${path}: expected the picture that was scored, got ${isMissing(error) ? "no such file" : writeFault(error)}`,
    );
  });
  if (now.size === bytes && now.mtimeMs === modified) return;
  throw new LaurelError(`${path}: expected the picture that was scored, got a file that was changed since`);
}

/** @throws LaurelError for a file that a link among the pictures leads to: without it the link would lead nowhere */
async function expectNoLink(path: string, set: ScoredPictures): Promise<void> {
  if ((await lstat(path)).isSymbolicLink() || !set.isTarget(await realpath(path))) return;
  throw new LaurelError(`${path}: expected a picture that no other of them is a link to, got one; it stays`);
}

/** A file beside a picture. */
interface Sidecar {
  readonly path: string;
  /** What follows the stem of the picture's name: `.txt`, `.png.txt`. */
  readonly after: string;
  /** Another picture has the same name but for its ending, and needs it too. */
  readonly shared: boolean;
}

const PICTURE_ENDINGS = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".avif"];

async function ownSidecars(picture: string): Promise<Sidecar[]> {
  const folder = dirname(picture);
  const stem = basename(picture, extname(picture));
  const found: Sidecar[] = [];
  for (const name of sidecarNames(basename(picture))) {
    const path = join(folder, name);
    if (!(await exists(path))) continue;
    const after = name.slice(stem.length);
    const isPlain = after === extname(name);
    found.push({ path, after, shared: isPlain && (await hasTwin(folder, stem, basename(picture))) });
  }
  return found;
}

async function hasTwin(folder: string, stem: string, own: string): Promise<boolean> {
  for (const ending of PICTURE_ENDINGS)
    if (stem + ending !== own && (await exists(join(folder, stem + ending)))) return true;
  return false;
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}
