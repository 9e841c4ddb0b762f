/** @file A model as a folder or a single file, whichever lies at a path. */

import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { type ModelFolder, type ModelFolderOptions, readModelFolder } from "./model-folder.js";
import { readSingleFileModel } from "./single-file.js";

/**
 * Reads what a model says about itself: a diffusers folder, or a single-file checkpoint of Stable Diffusion 1.x, 2.x or XL.
 * @throws ModelError when it is incomplete, damaged or of another kind
 */
export async function readModel(path: string, options: ModelFolderOptions = {}): Promise<ModelFolder> {
  const found = await stat(resolve(path)).catch(() => undefined);
  // what is not there is a folder to the message
  return found === undefined || found.isDirectory()
    ? readModelFolder(path, options)
    : readSingleFileModel(path, options);
}
