/** @file `use: file`: a mapping takes what another file says, and changes what it says itself. */

import { existsSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { PACKAGE_FOLDER } from "../package-info.js";
import {
  DocumentError,
  type Located,
  type LocatedEntry,
  type LocatedMap,
  type Place,
} from "../../util/yaml/located.js";
import { readLocated } from "../../util/yaml/parse.js";

const MAXIMUM_FILES = 100;

/**
 * Replaces every `use: path` (or list of paths) by the mapping in that file; keys beside it win, mappings under the same key are merged. A path is
 * relative to the file it stands in, or names a file that ships with Laurel (`configs/...`).
 * @throws DocumentError for a file that needs itself, is none, or holds no mapping
 */
export async function includeFragments(document: Located): Promise<Located> {
  let files = 0;
  const include = async (located: Located, above: readonly string[]): Promise<Located> => {
    if (located.kind === "scalar") return located;
    if (located.kind === "list") {
      const items: Located[] = [];
      for (const item of located.items) items.push(await include(item, above));
      return { ...located, items };
    }
    let merged: LocatedMap | undefined;
    const own = new Map<string, LocatedEntry>();
    for (const [key, entry] of located.entries) {
      if (key !== "use") {
        own.set(key, { ...entry, value: await include(entry.value, above) });
        continue;
      }
      for (const { path, place } of pathsOf(entry.value)) {
        const file = locate(path, place);
        if (above.includes(file))
          fail(
            place,
            `${path} needs itself: ${[...above, file].map((one) => relative(process.cwd(), one)).join(" -> ")}`,
          );
        if (++files > MAXIMUM_FILES) fail(place, `expected at most ${MAXIMUM_FILES} fragments, got more`);
        const fragment = await include(await readLocated(file), [...above, file]);
        if (fragment.kind !== "map") fail(fragment.place, "expected a mapping, since another file uses it");
        else merged = merged === undefined ? fragment : merge(merged, fragment);
      }
    }
    const rest: LocatedMap = { ...located, entries: own };
    return merged === undefined ? rest : merge(merged, rest);
  };
  return include(document, [resolve(document.place.file)]);
}

function merge(below: LocatedMap, above: LocatedMap): LocatedMap {
  const entries = new Map(below.entries);
  for (const [key, entry] of above.entries) {
    const existing = entries.get(key)?.value;
    const value = existing?.kind === "map" && entry.value.kind === "map" ? merge(existing, entry.value) : entry.value;
    entries.set(key, { ...entry, value });
  }
  return { ...above, entries };
}

function pathsOf(located: Located): { path: string; place: Place }[] {
  if (located.kind === "list") return located.items.flatMap(pathsOf);
  if (located.kind === "scalar" && typeof located.value === "string" && located.value !== "")
    return [{ path: located.value, place: located.place }];
  return fail(located.place, "use: expected the path of a YAML file, or a list of them");
}

function locate(path: string, place: Place): string {
  const beside = resolve(dirname(place.file), path);
  if (existsSync(beside)) return beside;
  const shipped = join(PACKAGE_FOLDER, path);
  if (shipped.startsWith(join(PACKAGE_FOLDER, "configs", sep)) && existsSync(shipped)) return shipped;
  return fail(place, `use: expected an existing file, got ${path} (no ${beside})`);
}

function fail(place: Place, message: string): never {
  throw new DocumentError([{ place, message }]);
}
