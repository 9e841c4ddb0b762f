/** @file Builds the command line from the table of commands, and turns every outcome into an exit code. */

import { Command, CommanderError } from "commander";
import { CancelledError, EXIT, LaurelError } from "../errors.js";
import { packageVersion } from "../pipeline/package-info.js";
import { unlessAborted } from "../util/abort.js";
import { type CommandEntry, COMMANDS } from "./commands.js";
import type { Action } from "./flags.js";
import type { CommandContext } from "./context.js";
import { palette, printable } from "./output.js";

const EXAMPLES = `
Examples:
  laurel generate "a red circle above a blue square"
  laurel score "a red circle above a blue square" images/
  laurel generate --help

Exit codes: 0 done, 1 unexpected error, 2 wrong usage, 3 backend unavailable, 4 part of it failed, 5 model missing or damaged,
6 result not as required, 130 cancelled with Ctrl-C.`;

/** Groups of commands by name. */
const GROUPS: Readonly<Record<string, string>> = { demo: "work with the demo models" };

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
  for (const [name, entry] of Object.entries(COMMANDS)) {
    const words = name.split(" ");
    const parent = words.length === 1 ? program : groupOf(program, words[0] as string);
    const command = parent.command(words.at(-1) as string).copyInheritedSettings(program);
    addCommand(command, entry, context, setExitCode);
  }
  return program;
}

/** The command that holds the commands `<name> …`; made when first needed. */
function groupOf(program: Command, name: string): Command {
  const existing = program.commands.find((command) => command.name() === name);
  if (existing !== undefined) return existing;
  const summary = GROUPS[name] ?? name;
  return program.command(name).copyInheritedSettings(program).summary(summary).description(sentence(summary));
}

function addCommand(
  command: Command,
  entry: CommandEntry,
  context: CommandContext,
  setExitCode: (code: number) => void,
): void {
  command.summary(entry.summary).description(sentence(entry.summary));
  entry.configure(command);
  command.option("--debug", "show where an error comes from");
  command.action(async () => {
    const action = (await unlessAborted(entry.load(), context.signal)) as Action<unknown>;
    setExitCode(await action(context, command.args, command.opts()));
  });
}

function sentence(summary: string): string {
  return `${summary[0]?.toUpperCase() ?? ""}${summary.slice(1)}.`;
}

/** Expected errors are one line; `--debug` and unexpected ones show the stack. */
function report(error: unknown, debug: boolean, context: CommandContext): number {
  const { stderr, environment } = context.terminal;
  const { red, yellow } = palette(stderr, environment);
  const expected = error instanceof LaurelError || isSystemError(error);
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof CancelledError) stderr.write(`${yellow(printable(message))}\n`);
  else stderr.write(`${red(`error: ${printable(message)}`)}\n`);
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
