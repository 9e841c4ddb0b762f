/** @file What a text that names a model stands for, before anything is opened: a path, or a name to be looked up. */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { catalogueNames, REWARD_KINDS } from "./catalogue.js";
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

/** What a reward is. */
export type RewardKindName = (typeof REWARD_KINDS)[number];

/** A reward's text without the kind that it may begin with: `pickscore:/models/pickscore`. */
export function splitKind(text: string): { readonly kind: RewardKindName | undefined; readonly rest: string } {
  const kind = REWARD_KINDS.find((one) => text.startsWith(`${one}:`));
  return kind === undefined ? { kind, rest: text } : { kind, rest: text.slice(kind.length + 1) };
}

/** As {@link modelLocation} for a reward: a kind alone is the name of one, and a path may stand behind `kind:`. */
export function rewardLocation(text: string, folder = "."): string {
  if (REWARD_KINDS.some((kind) => kind === text)) return text;
  const { kind, rest } = splitKind(text);
  return kind === undefined ? modelLocation(rest, folder) : `${kind}:${modelLocation(rest, folder)}`;
}
