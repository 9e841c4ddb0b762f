/** @file Names of files on a server, as users write them. */

import { UsageError } from "../errors.js";
import { closest } from "../util/closest.js";

/** A LoRA that lies on a server. */
export interface ServerLora {
  /** The file's name there, with or without folder and ending. */
  readonly name: string;
  /** @default 1 */
  readonly scale?: number | undefined;
}

/** The one of `choices` that a user means: its whole name, or its file's name without folder and ending. @throws UsageError */
export function named(name: string, choices: readonly string[], where: string): string {
  if (choices.includes(name)) return name;
  const short = (path: string): string => path.replace(/^.*[\\/]/, "").replace(/\.[^.]*$/, "");
  const meant = choices.filter((choice) => short(choice) === name || choice.replace(/^.*[\\/]/, "") === name);
  if (meant.length === 1) return meant[0]!;
  if (meant.length > 1) throw new UsageError(`${where}: expected one file, got ${name}, which may be ${listed(meant)}`);
  const near = closest(name, choices);
  throw new UsageError(
    `${where}: expected one of ${listed(choices)}, got ${name}${near === undefined ? "" : `; did you mean ${near}?`}`,
  );
}

/** Names for a message, the first of many. */
export function listed(names: readonly string[]): string {
  const shown = names.slice(0, 20).join(", ");
  return names.length > 20 ? `${shown} and ${names.length - 20} more` : shown || "none";
}
