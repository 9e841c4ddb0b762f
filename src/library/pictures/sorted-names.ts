/** @file Names for sorted pictures: a folder for a prompt or a range of scores, and the rank before the name. */

import { basename, extname } from "node:path";
import { sha256 } from "../../util/files.js";
import type { RankedPicture } from "./scored-pictures.js";

/** Folders that sorted pictures are put into: one for each prompt, one for each range of scores, none. */
export const SORT_FOLDERS = ["prompt", "score", "none"] as const;
/** One of `SORT_FOLDERS`. */
export type SortFolders = (typeof SORT_FOLDERS)[number];

/** Letters of a prompt in its folder's name. */
const LETTERS = 48;
/** Bytes of a name before its rank and ending: file systems take 255 in all. */
const NAME_BYTES = 180;

/**
 * Where a picture goes below the folder: `a-red-circle-1f0c2a9e/0001-name.png`, `score_0.50/0012-name.png` or `0012-name.png`. The rank is that among the pictures of the prompt in folders of prompts,
 * else that among all. @param bucket width of a range of scores @param digits of the rank
 */
export function sortedName(
  { path, prompt, score, rank, rankOfAll }: RankedPicture,
  by: SortFolders,
  bucket: number,
  digits: number,
): { readonly folder: string; readonly stem: string; readonly ending: string } {
  const ending = extname(path);
  const place = String((by === "prompt" ? rank : rankOfAll) ?? 0).padStart(digits, "0");
  const stem = `${place}-${shortened(basename(path, ending))}`;
  if (by === "none") return { folder: "", stem, ending };
  const folder = by === "prompt" ? promptFolder(prompt ?? "") : scoreFolder(score ?? 0, bucket);
  return { folder, stem, ending };
}

/** The words of a prompt that a file name can hold, and the beginning of its digest, which keeps prompts apart that begin alike. */
export function promptFolder(prompt: string): string {
  const words =
    prompt
      .normalize("NFC")
      .toLowerCase()
      .match(/[\p{L}\p{N}]+/gu) ?? [];
  const cut = [...words.join("-")].slice(0, LETTERS).join("").replace(/-$/, "");
  return [cut, sha256(prompt).slice(0, 8)].filter((part) => part !== "").join("-");
}

/** `score_0.50` holds the scores from 0.5 up to the next folder. */
function scoreFolder(score: number, bucket: number): string {
  const lower = Math.floor(score / bucket) * bucket;
  const decimals = Math.max(0, Math.ceil(-Math.log10(bucket)) + 1);
  const text = lower.toFixed(decimals);
  return `score_${Number(text) === 0 ? text.replace("-", "") : text}`;
}

function shortened(name: string): string {
  let letters = [...name];
  while (Buffer.byteLength(letters.join("")) > NAME_BYTES) letters = letters.slice(0, -1);
  return letters.join("");
}
