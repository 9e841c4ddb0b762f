/** @file Builds the command line from the table of commands, and turns every outcome into an exit code. */

import { Argument, Command, CommanderError, Option } from "commander";
import { CancelledError, EXIT, LaurelError } from "../errors.js";
import { packageVersion } from "../pipeline/package-info.js";
import { unlessAborted } from "../util/abort.js";
import { DocumentError } from "../util/yaml/located.js";
import { ACTIONS } from "./actions.js";
import { type CommandName, COMMANDS, GROUPS } from "./commands.js";
import type { Action, CommandContext, SessionOptions } from "./context.js";
import { type CommandDeclaration, filled, type GroupDeclaration, longName } from "./declare.js";
import { DEBUG_OPTION } from "./options.js";
import { palette, printable, warnTo } from "./output.js";

const EXAMPLES = `
Examples:
  laurel generate "a red circle above a blue square"
  laurel score "a red circle above a blue square" images/
  laurel doctor
  laurel generate --help

Exit codes: 0 done, 1 unexpected error, 2 wrong usage, 3 backend unavailable, 4 part of it failed, 5 model missing or damaged,
6 result not as required, 130 cancelled with Ctrl-C, 143 ended by SIGTERM.`;

/** Runs the command line `args` (without node and script); resolves to the exit code. */
export async function runProgram(args: readonly string[], context: CommandContext): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = createProgram(context, (code) => (exitCode = code));
  try {
    if (args.length === 0) {
      program.outputHelp({ error: true });
      return EXIT.usage;
    }
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    // Commander has printed its own; help and version end with code 0.
    if (error instanceof CommanderError) {
      if (error.code === "commander.excessArguments") context.terminal.stderr.write("(Is the prompt in quotes?)\n");
      return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    }
    return report(error, args.includes("--debug"), context);
  }
}

function createProgram(context: CommandContext, setExitCode: (code: number) => void): Command {
  const { stdout, stderr, environment } = context.terminal;
  const program = new Command("laurel")
    .description("Generate images, score them with a reward model, keep the best.")
    .version(packageVersion(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .addHelpText("after", EXAMPLES)
    .exitOverride()
    .showSuggestionAfterError(true)
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({
      writeOut: (text) => void stdout.write(text),
      writeErr: (text) => void stderr.write(text),
      getOutHelpWidth: () => stdout.columns ?? 100,
      getErrHelpWidth: () => stderr.columns ?? 100,
      outputError: (text, write) => write(palette(stderr, environment).red(text.trimEnd()) + "\n"),
    });
  const groups = new Map<string, Command>();
  for (const [name, declaration] of Object.entries(GROUPS)) {
    const group = new Command(name).copyInheritedSettings(program);
    groups.set(name, describe(group, declaration));
  }
  for (const [name, declaration] of Object.entries(COMMANDS)) {
    const words = name.split(" ");
    const command = describe(new Command(words.at(-1)).copyInheritedSettings(program), declaration);
    addArgumentsAndOptions(command, declaration);
    command.action(async () => {
      const load: () => Promise<Action<never>> = ACTIONS[name as CommandName];
      const action = (await unlessAborted(load(), context.signal)) as Action<unknown>;
      const flags: SessionOptions = command.opts();
      setExitCode(await action(withSessionOptions(context, flags), command.args, flags));
    });
    const isDefault = words.length > 1 && GROUPS[words[0] as string]?.fallback === words[1];
    (groups.get(words[0] as string) ?? program).addCommand(command, { isDefault });
  }
  for (const group of groups.values()) program.addCommand(group);
  return program;
}

/** Sessions are opened as the options --device, --low-memory and --vae-tile say, where a command has them. */
function withSessionOptions(context: CommandContext, { device, lowMemory, vaeTile }: SessionOptions): CommandContext {
  const onWarning = warnTo(context.terminal);
  return { ...context, openSession: () => context.openSession({ device, lowMemory, vaeTile, onWarning }) };
}

/** Gives `command` the words of its help. */
function describe(
  command: Command,
  { heading, summary, examples, notes }: CommandDeclaration | (GroupDeclaration & { readonly notes?: string }),
): Command {
  if (heading !== undefined) command.helpGroup(`${heading}:`);
  const lines = examples.map((example) => `  ${example}\n`).join("");
  const text = `\nExamples:\n${lines}${notes === undefined ? "" : `\n${notes}`}`;
  return command.summary(summary).description(sentence(summary)).addHelpText("after", text.trimEnd());
}

/** Gives `command` its arguments and options, and `--debug`. */
function addArgumentsAndOptions(command: Command, declaration: CommandDeclaration): void {
  for (const { name, help, what, optional, variadic } of declaration.arguments) {
    const inner = `${name}${variadic === true ? "..." : ""}`;
    const argument = new Argument(optional === true ? `[${inner}]` : `<${inner}>`, help);
    command.addArgument(argument.argParser(filled(what)));
  }
  for (const [key, one] of Object.entries({ ...declaration.options, ...DEBUG_OPTION })) {
    const letter = one.short === undefined ? "" : `-${one.short}, `;
    const value = one.value === undefined ? "" : ` <${one.value}>`;
    const option = new Option(`${letter}${longName(key, one)}${value}`, one.help);
    if (one.default !== undefined && one.negated !== true) option.default(one.default);
    if (one.parse !== undefined) option.argParser(one.parse);
    command.addOption(option);
  }
}

function sentence(summary: string): string {
  return `${summary[0]?.toUpperCase() ?? ""}${summary.slice(1)}.`;
}

/** Expected errors are one line, or one for each fault of a document; `--debug` and unexpected ones show the stack. */
function report(error: unknown, debug: boolean, context: CommandContext): number {
  const { stderr, environment } = context.terminal;
  const { red, yellow } = palette(stderr, environment);
  const expected = error instanceof LaurelError || isSystemError(error);
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof CancelledError) stderr.write(`${yellow(printable(message))}\n`);
  else {
    const lines = error instanceof DocumentError ? error.faults : [message];
    for (const line of lines) stderr.write(`${red(`error: ${printable(line)}`)}\n`);
  }
  if (debug) stderr.write(`${stackOf(error)}\n`);
  else if (!expected) stderr.write("This is unexpected; --debug shows where it comes from.\n");
  return error instanceof LaurelError ? error.exitCode : EXIT.unexpected;
}

/** A full disk, a missing permission: nothing that a stack would explain. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error && "code" in error;
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined
    ? (error.stack ?? error.message)
    : `${error.stack}\ncaused by ${stackOf(error.cause)}`;
}
