/** @file Image files from what a user names: files, folders and glob patterns. */

import { readdir, stat } from "node:fs/promises";
import { join, parse, resolve, sep } from "node:path";
import { UsageError } from "../errors.js";

/** Files that a folder or a pattern without an extension contributes. */
export const IMAGE_EXTENSIONS = /\.(png|jpe?g|webp|gif|tiff?|avif)$/i;

/**
 * Absolute paths in the order of `names`, each once. A folder gives all images below it, sorted as people count (`2.png` before `10.png`);
 * a name with `*`, `?`, `[...]` or `{a,b}` that is no existing file is a pattern (`**` crosses folders); any other name is kept as it is, so that a
 * missing file is reported in its place. Hidden files are left out of folders and patterns.
 * @throws UsageError when a folder or a pattern contributes nothing.
 */
export async function findImages(names: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const name of names) {
    const kind = await stat(name).catch(() => undefined);
    if (kind?.isDirectory() === true) {
      const files = (await walk(resolve(name))).filter((file) => IMAGE_EXTENSIONS.test(file));
      if (files.length === 0) throw new UsageError(`${name}: expected a folder with images, got none in it`);
      found.push(...files);
    } else if (kind === undefined && /[*?[\]{}]/.test(name)) {
      const files = await matchingFiles(name);
      if (files.length === 0) throw new UsageError(`${name}: expected a pattern that matches images, got no match`);
      found.push(...files);
    } else {
      found.push(resolve(name));
    }
  }
  return [...new Set(found)];
}

async function matchingFiles(pattern: string): Promise<string[]> {
  const absolute = resolve(pattern).split(sep).join("/");
  const parts = absolute.split("/");
  const firstSpecial = parts.findIndex((part) => /[*?[\]{}]/.test(part));
  const base = parts.slice(0, firstSpecial).join("/") || parse(absolute).root;
  const expression = globExpression(absolute);
  const files = await walk(resolve(base)).catch(() => []);
  const matches = files.filter((file) => expression.test(file.split(sep).join("/")));
  // `folder/*` also matches text files; an explicit extension is taken at its word.
  return /\.\w+$/.test(pattern) ? matches : matches.filter((file) => IMAGE_EXTENSIONS.test(file));
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
    if (entry.isDirectory()) files.push(...(await walk(path)));
    else files.push(path);
  }
  return files;
}
