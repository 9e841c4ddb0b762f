/** @file Folders that programs keep in a user's home. */

import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/** The environment of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The folder of all caches: `$XDG_CACHE_HOME` where it is absolute (a relative one is to be ignored), else `~/.cache`. Source: XDG Base Directory 0.8. */
export function userCacheFolder(environment: Environment = process.env): string {
  const given = environment["XDG_CACHE_HOME"] ?? "";
  return isAbsolute(given) ? given : join(homeFolder(environment), ".cache");
}

/** Laurel's own cache. */
export function laurelCacheFolder(environment: Environment = process.env): string {
  return join(userCacheFolder(environment), "laurel");
}

/**
 * The cache of the Hugging Face hub: `$HF_HUB_CACHE`, `$HUGGINGFACE_HUB_CACHE`, `$HF_HOME/hub`, else `huggingface/hub` in the folder of caches;
 * `~` and `$NAME` are expanded. Source: huggingface_hub v1.0, constants.py.
 */
export function hubCacheFolder(environment: Environment = process.env): string {
  const expand = (path: string): string =>
    path
      .replace(/^~(?=\/|$)/, homeFolder(environment))
      .replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, plain: string | undefined, braced: string | undefined) => {
        return environment[plain ?? braced ?? ""] ?? whole;
      });
  const given = environment["HF_HUB_CACHE"] ?? environment["HUGGINGFACE_HUB_CACHE"];
  if (given !== undefined && given !== "") return expand(given);
  const home = environment["HF_HOME"] ?? "";
  return join(home === "" ? join(userCacheFolder(environment), "huggingface") : expand(home), "hub");
}

/** Where the Python package ImageReward downloads to: it knows no variable. Source: ImageReward 1.5, utils.py. */
export function imageRewardCacheFolder(environment: Environment = process.env): string {
  return join(homeFolder(environment), ".cache", "ImageReward");
}

function homeFolder(environment: Environment): string {
  const home = environment["HOME"] ?? "";
  return home === "" ? homedir() : home;
}
