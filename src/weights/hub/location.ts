/** @file What a text that names a model stands for, before anything is opened: a path, or a name to be looked up. */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { catalogueNames } from "./catalogue.js";
import { parseRepository } from "./repository.js";

/**
 * The absolute path of a model that is given as a path, or its name as it stands (`sd-1.5`, `org/repo@revision`). What exists is a path.
 * @param folder what a relative path is relative to
 */
export function modelLocation(text: string, folder = "."): string {
  const path = resolve(folder, text);
  const named = catalogueNames().includes(text) || parseRepository(text) !== undefined;
  return named && !existsSync(path) ? text : path;
}
