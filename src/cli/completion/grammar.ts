/** @file The command line's grammar as completion scripts need it: one list from the table of commands. */

import type { CommandDeclaration, Completion, GroupDeclaration } from "../declare.js";
import { longName } from "../declare.js";
import { DEBUG_OPTION } from "../options.js";

/** An option as it is typed. */
export interface GrammarOption {
  readonly long: string;
  readonly short?: string;
  readonly help: string;
  /** Name of its value; undefined for a switch. */
  readonly value: string | undefined;
  readonly completion: Completion;
  readonly repeated?: true;
}

/** A command, or the whole program where `words` is empty, or a group. */
export interface GrammarCommand {
  readonly words: readonly string[];
  readonly summary: string;
  readonly options: readonly GrammarOption[];
  readonly arguments: readonly { readonly name: string; readonly completion: Completion; readonly variadic: boolean }[];
  /** What may follow, with its summary; a command has none. */
  readonly subcommands: readonly { readonly name: string; readonly summary: string }[];
}

const HELP: GrammarOption = { long: "--help", short: "-h", help: "print this help", value: undefined, completion: "nothing" }; // prettier-ignore
const VERSION: GrammarOption = { ...HELP, long: "--version", short: "-V", help: "print the version" };

/** The program first, then groups, then commands. */
export function grammar(
  commands: Readonly<Record<string, CommandDeclaration>>,
  groups: Readonly<Record<string, GroupDeclaration>>,
): GrammarCommand[] {
  const leaves = Object.entries(commands).map(([name, declaration]) => leaf(name.split(" "), declaration));
  const below = (words: readonly string[]): GrammarCommand["subcommands"] =>
    leaves
      .filter((one) => one.words.length === words.length + 1 && words.every((word, i) => one.words[i] === word))
      .map((one) => ({ name: one.words.at(-1) as string, summary: one.summary }));
  const inner = Object.entries(groups).map(([name, { summary, fallback }]) => ({
    words: [name],
    summary,
    options: leaves.find(({ words }) => words[0] === name && words[1] === fallback)?.options ?? [HELP],
    arguments: [],
    subcommands: below([name]),
  }));
  const first = [...below([]), ...inner.map(({ words, summary }) => ({ name: words[0] as string, summary }))];
  const top: GrammarCommand = {
    words: [],
    summary: "",
    options: [HELP, VERSION],
    arguments: [],
    subcommands: [...first, { name: "help", summary: "print the help of a command" }],
  };
  const help: GrammarCommand = {
    words: ["help"],
    summary: "print the help of a command",
    options: [],
    arguments: [{ name: "command", completion: first.map(({ name }) => name), variadic: false }],
    subcommands: [],
  };
  return [top, ...inner, ...leaves, help];
}

function leaf(words: readonly string[], declaration: CommandDeclaration): GrammarCommand {
  const options = Object.entries({ ...declaration.options, ...DEBUG_OPTION }).map(([key, one]) => ({
    long: longName(key, one),
    ...(one.short === undefined ? {} : { short: `-${one.short}` }),
    help: one.help,
    value: one.value,
    completion: one.completion,
    ...(one.repeated === undefined ? {} : { repeated: one.repeated }),
  }));
  return {
    words,
    summary: declaration.summary,
    options: [...options, HELP],
    arguments: declaration.arguments.map(({ name, completion, variadic }) => ({
      name,
      completion,
      variadic: variadic === true,
    })),
    subcommands: [],
  };
}
