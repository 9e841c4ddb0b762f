/** @file The completion script for fish (3.1 and later). */

import type { Completion } from "../declare.js";
import type { GrammarCommand } from "./grammar.js";

/** The whole script: two conditions, then one line for each word that may be typed. */
export function fishScript(commands: readonly GrammarCommand[]): string {
  return `# fish completion for laurel, made by: laurel completion fish
function __laurel_at --description 'The command line begins with these words'
    set -l typed (commandline -opc)
    for word in laurel $argv
        test "$typed[1]" = $word; or test $word = laurel; or return 1
        set -e typed[1]
    end
end
function __laurel_ends --description 'The command line has these words and no more'
    test (count (commandline -opc)) -eq (math 1 + (count $argv)); and __laurel_at $argv
end
complete -c laurel -e
complete -c laurel -f
${commands.map(commandLines).join("")}`;
}

function commandLines({ words, options, arguments: positional, subcommands }: GrammarCommand): string {
  const condition = (name: string): string => `complete -c laurel -n ${quoted([name, ...words].join(" "))}`;
  const isGroup = subcommands.length > 0;
  const at = condition(isGroup ? "__laurel_ends" : "__laurel_at");
  const lines = subcommands.map(({ name, summary }) => `${at} -a ${name} -d ${quoted(summary)}`);
  for (const { long, short, help, value, completion } of options) {
    const letter = short === undefined ? "" : ` -s ${short.slice(1)}`;
    lines.push(
      `${at} -l ${long.slice(2)}${letter}${value === undefined ? "" : ` ${offer(completion)}`} -d ${quoted(help)}`,
    );
  }
  for (const { completion } of positional) if (completion !== "nothing") lines.push(`${at} ${offer(completion)}`);
  return lines.map((line) => `${line}\n`).join("");
}

/** `-x`: a value and no files; `-r -F`: files. */
function offer(completion: Completion): string {
  switch (completion) {
    case "nothing":
      return "-x";
    case "file":
      return "-r -F";
    case "directory":
      return "-x -a '(__fish_complete_directories)'";
    default:
      return `-x -a ${quoted(completion.join(" "))}`;
  }
}

function quoted(text: string): string {
  return `'${text.replace(/['\\]/g, "\\$&")}'`;
}
