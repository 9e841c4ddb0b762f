/** @file How a command declares itself as data: arguments, options, examples. The types of its flags follow from the options. */

import { InvalidArgumentError } from "commander";
import { UsageError } from "../errors.js";

/** What a shell may offer for a value. */
export type Completion = "file" | "directory" | "nothing" | readonly string[];

/** One option. Its long name is its key in the table: `rewardModel` is `--reward-model`. */
export interface Option<Value, Default extends Value | undefined = Value | undefined> {
  readonly help: string;
  /** One letter for `-x`. */
  readonly short?: string;
  /** Name of the value in the help, without brackets; a switch has none. */
  readonly value?: string;
  /** A switch that is on until `--no-...` is given. */
  readonly negated?: true;
  /** It may be given again. */
  readonly repeated?: true;
  /** Turns the text given into the value; an option given again gets the value so far. @throws InvalidArgumentError */
  readonly parse?: (text: string, before?: unknown) => Value;
  readonly default: Default;
  readonly completion: Completion;
}

/** Options by the name a command's code knows them by. */
export type OptionTable = Readonly<Record<string, Option<unknown>>>;

type ValueOf<One> = One extends Option<infer Value> ? Value : never;
type Optional<Table extends OptionTable> = {
  [Name in keyof Table]: undefined extends Table[Name]["default"] ? Name : never;
}[keyof Table];

/** What the options of a table are parsed to: present where there is a default. */
export type FlagsOf<Table extends OptionTable> = {
  readonly [Name in Exclude<keyof Table, Optional<Table>>]: ValueOf<Table[Name]>;
} & { readonly [Name in Optional<Table>]?: ValueOf<Table[Name]> };

/** A positional argument. */
export interface Argument {
  readonly name: string;
  readonly help: string;
  /** What must be there, for the error when it is blank. */
  readonly what: string;
  readonly optional?: boolean;
  /** Takes all that follows. */
  readonly variadic?: boolean;
  readonly completion: Completion;
}

/** Parts of the list of commands. */
export type Heading = "Pictures" | "Pipelines" | "Machines" | "Training" | "Installation" | "Demo models";

/** Commands that are named by two words, the first of which they share. */
export interface GroupDeclaration {
  /** Where the help of the whole program lists it; a command of a group has none. */
  readonly heading?: Heading;
  readonly summary: string;
  /** Command lines that work, shown in the help. */
  readonly examples: readonly string[];
  /** What else the help says, below the examples. */
  readonly notes?: string;
  /** The command of a group that runs when none is named. */
  readonly fallback?: string;
}

/** One command, without what it does. */
export interface CommandDeclaration<Table extends OptionTable = OptionTable> extends GroupDeclaration {
  readonly arguments: readonly Argument[];
  readonly options: Table;
}

/** Declares a command, keeping the types of its options. */
export function declare<const Table extends OptionTable>(
  declaration: CommandDeclaration<Table>,
): CommandDeclaration<Table> {
  return declaration;
}

/** What is typed for the option `key` of a table: `--reward-model` for `rewardModel`. */
export function longName(key: string, option: Option<unknown>): string {
  const words = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return `--${option.negated === true ? "no-" : ""}${words}`;
}

/** A switch: true when given. */
export function toggle(help: string, short?: string): Option<true, undefined> {
  return { help, ...(short === undefined ? {} : { short }), default: undefined, completion: "nothing" };
}

/** A switch that takes away what is there otherwise: `digest` is true until `--no-digest` is given. */
export function without(help: string): Option<boolean, true> {
  return { help, negated: true, default: true, completion: "nothing" };
}

/** An option with a value that is not blank. `what` names it in the error. */
export function textual(
  help: string,
  value: string,
  what: string,
  completion: Completion = "nothing",
): Option<string, undefined> {
  return { help, value, parse: filled(what), default: undefined, completion };
}

/** One of a few words. */
export function choice<const Word extends string>(
  help: string,
  value: string,
  words: readonly Word[],
): Option<Word, undefined> {
  const parse = (text: string): Word => {
    const found = words.find((word) => word === text);
    if (found === undefined) {
      throw new InvalidArgumentError(`Expected ${words.join(" or ")}, got ${JSON.stringify(text)}.`);
    }
    return found;
  };
  return { help, value, parse, default: undefined, completion: words };
}

/** The same option, to be given as often as one likes. */
export function several<Word extends string>(option: Option<Word, undefined>): Option<readonly Word[], undefined> {
  const { parse = (text) => text as Word } = option;
  return { ...option, repeated: true, parse: (text, before = []) => [...(before as readonly Word[]), parse(text)] };
}

/** A folder. */
export function folder(help: string): Option<string, undefined> {
  return textual(help, "dir", "a folder", "directory");
}

/** A file, or where `help` says so a folder. */
export function file(help: string, value = "file", what = "a file"): Option<string, undefined> {
  return textual(help, value, what, "file");
}

/** A whole number in decimal digits, from `minimum` to `maximum`. */
export function whole(help: string, minimum: number, maximum: number, value = "n"): Option<number, undefined> {
  return numeric(help, value, /^[+-]?\d{1,15}$/, `a whole number from ${minimum} to ${maximum}`, minimum, maximum);
}

/** A decimal number from `minimum` to `maximum`. */
export function decimal(help: string, minimum: number, maximum: number, value = "x"): Option<number, undefined> {
  const form = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
  return numeric(help, value, form, `a number from ${minimum} to ${maximum}`, minimum, maximum);
}

/** The same option with a letter. */
export function short<One extends Option<unknown>>(letter: string, option: One): One {
  return { ...option, short: letter };
}

/** The same option with a value for when it is not given. */
export function otherwise<Value>(fallback: Value, option: Option<Value, undefined>): Option<Value, Value> {
  return { ...option, default: fallback };
}

/** The one of `names` that an argument is. @throws UsageError when it is none */
export function chosen<Name extends string>(what: string, names: readonly Name[], value: string | undefined): Name {
  const name = names.find((one) => one === value);
  if (name === undefined) throw new UsageError(`${what}: expected ${names.join(", ")}, got ${JSON.stringify(value)}`);
  return name;
}

/** Text that is not blank. */
export function filled(what: string): (value: string) => string {
  return (value) => {
    if (value.trim() === "") throw new InvalidArgumentError(`Expected ${what}, got an empty text.`);
    return value;
  };
}

function numeric(
  help: string,
  value: string,
  form: RegExp,
  what: string,
  minimum: number,
  maximum: number,
): Option<number, undefined> {
  const parse = (text: string): number => {
    const parsed = form.test(text) ? Number(text) : Number.NaN;
    if (!(parsed >= minimum && parsed <= maximum)) {
      throw new InvalidArgumentError(`Expected ${what}, got ${JSON.stringify(text)}.`);
    }
    return parsed;
  };
  return { help, value, parse, default: undefined, completion: "nothing" };
}
