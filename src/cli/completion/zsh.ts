/** @file The completion script for zsh: a file for a folder of `fpath`, or to be sourced. */

import type { Completion } from "../declare.js";
import type { GrammarCommand, GrammarOption } from "./grammar.js";

/** The whole script: a function for each group and each command. */
export function zshScript(commands: readonly GrammarCommand[]): string {
  return `#compdef laurel
# zsh completion for laurel, made by: laurel completion zsh
${commands.map((command) => (command.subcommands.length > 0 ? groupFunction(command) : commandFunction(command))).join("")}
if [[ $funcstack[1] == _laurel ]]; then
  _laurel "$@"
else
  compdef _laurel laurel
fi
`;
}

function functionName(words: readonly string[]): string {
  return ["_laurel", ...words].join("_");
}

function groupFunction({ words, options, subcommands }: GrammarCommand): string {
  const entries = subcommands.map(({ name, summary }) => quoted(`${name}:${summary}`));
  const cases = subcommands.map(({ name }) => `        ${name}) ${functionName([...words, name])} ;;\n`);
  return `
${functionName(words)}() {
  local curcontext="$curcontext" state line
  local -a subcommands
  _arguments -C ${options.map(optionSpecs).join(" ")} '1: :->command' '*:: :->rest'
  case $state in
    command)
      subcommands=(${entries.join(" ")})
      _describe -t commands command subcommands
      ;;
    rest)
      case $line[1] in
${cases.join("")}      esac
      ;;
  esac
}
`;
}

function commandFunction({ words, options, arguments: positional }: GrammarCommand): string {
  const specs = [
    ...options.map(optionSpecs),
    ...positional.map(({ name, completion, variadic }, i) =>
      quoted(`${variadic ? "*" : i + 1}:${escaped(name)}:${action(completion)}`),
    ),
  ];
  return `
${functionName(words)}() {
  _arguments -s \\
    ${specs.join(" \\\n    ")}
}
`;
}

/** `'(-n --count)'{-n+,--count=}'[candidates to draw]:n: '` */
function optionSpecs({ long, short, help, value, completion, repeated }: GrammarOption): string {
  const tail = `[${escaped(help)}]${value === undefined ? "" : `:${escaped(value)}:${action(completion)}`}`;
  const [longSign, shortSign] = value === undefined ? ["", ""] : ["=", "+"];
  if (short === undefined) return quoted(`${repeated === true ? "*" : ""}${long}${longSign}${tail}`);
  return `${quoted(`(${short} ${long})`)}{${short}${shortSign},${long}${longSign}}${quoted(tail)}`;
}

function action(completion: Completion): string {
  switch (completion) {
    case "nothing":
      return " ";
    case "file":
      return "_files";
    case "directory":
      return "_files -/";
    default:
      return `(${completion.join(" ")})`;
  }
}

/** Within a specification, brackets and colons part its fields. */
function escaped(text: string): string {
  return text.replace(/[\\[\]:]/g, "\\$&");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
