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
 * The cache of the Hugging Face hub: `$HF_HUB_CACHE`, `$HUGGINGFACE_HUB_CACHE`, else `hub` in {@link hubHomeFolder}; `~` and `$NAME` are expanded.
 * Source: huggingface_hub v1.0, constants.py.
 */
export function hubCacheFolder(environment: Environment = process.env): string {
  const given = environment["HF_HUB_CACHE"] ?? environment["HUGGINGFACE_HUB_CACHE"];
  if (given !== undefined && given !== "") return expandPath(given, environment);
  return join(hubHomeFolder(environment), "hub");
}

/** What programs of Hugging Face keep: `$HF_HOME`, else `huggingface` in the folder of caches. */
export function hubHomeFolder(environment: Environment = process.env): string {
  const home = environment["HF_HOME"] ?? "";
  return home === "" ? join(userCacheFolder(environment), "huggingface") : expandPath(home, environment);
}

/** A path with `~`, `$NAME` and `${NAME}` replaced; a name without a value stays. */
export function expandPath(path: string, environment: Environment = process.env): string {
  return path
    .replace(/^~(?=\/|$)/, homeFolder(environment))
    .replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, plain: string | undefined, braced: string | undefined) => {
      return environment[plain ?? braced ?? ""] ?? whole;
    });
}

/** Where the Python package ImageReward downloads to: it knows no variable. Source: ImageReward 1.5, utils.py. */
export function imageRewardCacheFolder(environment: Environment = process.env): string {
  return join(homeFolder(environment), ".cache", "ImageReward");
}

function homeFolder(environment: Environment): string {
  const home = environment["HOME"] ?? "";
  return home === "" ? homedir() : home;
}
