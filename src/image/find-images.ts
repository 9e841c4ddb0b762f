/** @file Image files from what a user names: files, folders and glob patterns. */

import { readdir, stat } from "node:fs/promises";
import { join, parse, relative, resolve, sep } from "node:path";
import { UsageError } from "../errors.js";

/** Files that a folder or a pattern without an extension contributes. */
export const IMAGE_EXTENSIONS = /\.(png|jpe?g|webp|gif|tiff?|avif)$/i;
const SPECIAL = /[*?[\]{}]/;

/**
 * Absolute paths in the order of `names`, each once. A folder gives all images below it, sorted as people count (`2.png` before `10.png`);
 * a name with `*`, `?`, `[...]` or `{a,b}` that is no existing file is a pattern (`**` crosses folders); any other name is kept as it is, so that a
 * missing file is reported in its place. Hidden files are left out of folders and patterns.
 * @throws UsageError when a folder or a pattern contributes nothing.
 */
export async function findImages(names: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  for (const name of names) {
    const kind = await stat(name).catch(() => undefined);
    if (kind?.isDirectory() === true) {
      const files = (await walk(resolve(name))).filter((file) => IMAGE_EXTENSIONS.test(file));
      if (files.length === 0) throw new UsageError(`${name}: expected a folder with images, got none in it`);
      for (const file of files) found.add(file);
    } else if (kind === undefined && isPattern(name)) {
      const { base, matches } = imagePattern(name);
      const all = await walk(base).catch(() => []);
      const files = all.filter((file) => matches(relative(base, file)));
      if (files.length === 0) throw noMatch(name);
      for (const file of files) found.add(file);
    } else {
      found.add(resolve(name));
    }
  }
  return [...found];
}

/** Whether a name that is no file's is to be read as a pattern. */
export function isPattern(name: string): boolean {
  return SPECIAL.test(name);
}

/** What a pattern with no match is answered with. */
export function noMatch(pattern: string): UsageError {
  return new UsageError(`${pattern}: expected a pattern that matches images, got no match`);
}

/** A pattern taken apart. */
export interface ImagePattern {
  /** The folder that all matches are below, absolute. */
  readonly base: string;
  /** Folders below it that a match may be in, one in the other. */
  readonly depth: number;
  /** @param path below `base` */
  readonly matches: (path: string) => boolean;
}

/** Takes a pattern apart. `folder/*` matches image files alone; an explicit extension is taken at its word. */
export function imagePattern(pattern: string): ImagePattern {
  const parts = resolve(pattern).split(sep);
  const first = parts.findIndex((part) => SPECIAL.test(part));
  const rest = parts.slice(first).join("/");
  const expression = globExpression(rest);
  const anyKind = /\.\w+$/.test(pattern);
  return {
    base: parts.slice(0, first).join(sep) || parse(resolve(pattern)).root,
    depth: /\*\*|\{/.test(rest) ? Infinity : parts.length - first - 1,
    matches: (path) => expression.test(path.split(sep).join("/")) && (anyKind || IMAGE_EXTENSIONS.test(path)),
  };
}

/** `*` and `?` stay inside a name, `**` crosses folders, `[abc]` and `[!abc]` are sets, `{a,b}` are alternatives. */
export function globExpression(pattern: string): RegExp {
  let source = "";
  let depth = 0;
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i] as string;
    if (character === "*") {
      if (pattern[i + 1] === "*") {
        const wholeName = (i === 0 || pattern[i - 1] === "/") && pattern[i + 2] === "/";
        source += wholeName ? "(?:[^/]+/)*" : ".*";
        i += wholeName ? 2 : 1;
      } else {
        source += "[^/]*";
      }
    } else if (character === "?") {
      source += "[^/]";
    } else if (character === "[" && pattern.indexOf("]", i + 2) > 0) {
      const end = pattern.indexOf("]", i + 2);
      const set = pattern
        .slice(i + 1, end)
        .replace(/^!/, "^")
        .replace(/[\\\]]/g, "\\$&");
      source += `[${set}]`;
      i = end;
    } else if (character === "{" && pattern.includes("}", i)) {
      source += "(?:";
      depth++;
    } else if (character === "}" && depth > 0) {
      source += ")";
      depth--;
    } else if (character === "," && depth > 0) {
      source += "|";
    } else {
      source += character.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
    }
  }
  return new RegExp(`^${source}$`, "u");
}

/** All files below a folder, hidden ones left out, each folder's names sorted as people count. */
async function walk(directory: string): Promise<string[]> {
  const order = new Intl.Collator("en", { numeric: true });
  const entries = await readdir(directory, { withFileTypes: true });
  const files: string[] = [];
  for (const entry of entries.sort((a, b) => order.compare(a.name, b.name) || (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith(".")) continue;
    const path = join(directory, entry.name);
    if (entry.isDirectory()) for (const file of await walk(path)) files.push(file);
    else files.push(path);
  }
  return files;
}
