/** @file Models and rewards by name: what `--model` and `--reward` may say instead of a path. */

import { stat } from "node:fs/promises";
import { basename, resolve, sep } from "node:path";
import { UsageError } from "../errors.js";
import { closest } from "../util/closest.js";
import { type Environment, hubCacheFolder, laurelCacheFolder } from "../util/user-folders.js";
import { catalogueNames, findModel, findReward } from "../weights/hub/catalogue.js";
import {
  type InstalledReward,
  installedModel,
  installedRepository,
  installedReward,
} from "../weights/hub/installed.js";
import { parseRepository } from "../weights/hub/repository.js";

/**
 * The path that a model's name stands for. A path that exists stays as it is; a name of the catalogue (`sd-1.5`) or of the hub
 * (`org/repo[@revision][:file]`) is looked for in the cache, without a network.
 * @returns what was given, when it is neither there nor a name: whoever opens it says what is wrong
 * @throws ModelError when the model was not fetched, UsageError for the name of a reward or one that is nearly right
 */
export async function resolveModel(nameOrPath: string, environment: Environment = process.env): Promise<string> {
  if (await exists(nameOrPath)) return nameOrPath;
  const entry = await findModel(nameOrPath);
  if (entry !== undefined) return installedModel(entry, environment);
  if (catalogueNames("reward").includes(nameOrPath)) {
    throw new UsageError(`${nameOrPath}: expected a model that draws, got a reward`);
  }
  return resolveOther(nameOrPath, "model", environment);
}

/**
 * The parts of the reward of the catalogue with this name (`image-reward-v1.0`), looked for in the cache, without a network. The path of such a
 * reward's weights in the cache, as a run's manifest records it, stands for the reward as well.
 * @returns undefined for any other path, and for what is no name of the catalogue
 * @throws ModelError when the reward was not fetched
 */
export async function resolveReward(
  name: string,
  environment: Environment = process.env,
): Promise<InstalledReward | undefined> {
  if (await exists(name)) return rewardOfWeights(name, environment);
  const entry = await findReward(name);
  return entry === undefined ? undefined : installedReward(entry, environment);
}

/** The reward whose weights lie at `path`, with the parts that lie elsewhere. */
async function rewardOfWeights(path: string, environment: Environment): Promise<InstalledReward | undefined> {
  const places = [hubCacheFolder(environment), laurelCacheFolder(environment)].map((folder) => resolve(folder) + sep);
  const file = resolve(path);
  if (!places.some((place) => file.startsWith(place))) return undefined;
  for (const name of catalogueNames("reward")) {
    const weights = (await findReward(name))?.parts["weights"];
    if (weights === undefined || basename(file) !== ("file" in weights ? weights.file : undefined)) continue;
    const reward = await resolveReward(name, environment);
    return reward === undefined ? undefined : { ...reward, parts: { ...reward.parts, weights: file } };
  }
  return undefined;
}

/**
 * As {@link resolveModel}, for a reward that is no name of the catalogue: a path, or `org/repo[@revision][:file]` on the hub.
 * @throws ModelError when it was not fetched
 */
export async function resolveRewardPath(nameOrPath: string, environment: Environment = process.env): Promise<string> {
  return (await exists(nameOrPath)) ? nameOrPath : resolveOther(nameOrPath, "reward", environment);
}

async function resolveOther(nameOrPath: string, sort: "model" | "reward", environment: Environment): Promise<string> {
  const repository = parseRepository(nameOrPath);
  if (repository !== undefined) return installedRepository(repository, environment);
  const near = /[\\/]/.test(nameOrPath) ? undefined : closest(nameOrPath, catalogueNames(sort));
  if (near === undefined) return nameOrPath;
  throw new UsageError(`${nameOrPath}: expected a path or the name of a ${sort}, got neither; did you mean ${near}?`);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
