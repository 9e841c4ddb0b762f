/** @file The completion script for bash, in need of no other package and of nothing that came after bash 3.2, which macOS has. */

import type { Completion } from "../declare.js";
import type { GrammarCommand } from "./grammar.js";

/** The whole script. What has been typed is read once: the command, the option that waits for a value, the place of the argument. */
export function bashScript(commands: readonly GrammarCommand[]): string {
  const name = (command: GrammarCommand): string => quoted(command.words.join(" "));
  const groups = commands.filter((command) => command.subcommands.length > 0);
  const leaves = commands.filter((command) => command.subcommands.length === 0);
  const waiting = leaves.flatMap((command) =>
    command.options
      .filter(({ value }) => value !== undefined)
      .map(({ long, short, completion }) => ({
        pattern: [long, short ?? []].flat().map((typed) => quoted([...command.words, typed].join(" "))).join(" | "),
        completion,
      })),
  ); // prettier-ignore
  const places = leaves.flatMap((command) =>
    command.arguments.map(({ completion, variadic }, place) => ({
      pattern: variadic ? `${quoted(`${command.words.join(" ")} `)}*` : quoted([...command.words, place].join(" ")),
      completion,
    })),
  );
  return `# bash completion for laurel, made by: laurel completion bash
_laurel() {
  local word command="" option="" kind="" choices="" place=0 whole=0
  local -a words=()
  COMPREPLY=()
  # Bash parts --name=value in three: the sign is left out, so that it reads like --name value.
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD}"; do
    [[ $word == "=" ]] || words+=("$word")
  done
  [[ \${COMP_WORDS[COMP_CWORD]} == "=" ]] && words+=("")
  local last=$(( \${#words[@]} - 1 ))
  local current=\${words[last]}
  for word in "\${words[@]:0:last}"; do
    if [[ -n $option ]]; then
      option=""
    elif (( ! whole )); then
      command="\${command:+$command }$word"
      case "$command" in
        ${groups
          .filter(({ words }) => words.length > 0)
          .map(name)
          .join(" | ")}) ;;
        *) whole=1 ;;
      esac
    elif [[ $word == -* ]]; then
      case "$command $word" in
        ${waiting.map(({ pattern }) => pattern).join(" | ")}) option=$word ;;
      esac
    else
      place=$(( place + 1 ))
    fi
  done
  if [[ -n $option ]]; then
    case "$command $option" in
${waiting.map(({ pattern, completion }) => `      ${pattern}) ${offer(completion)} ;;\n`).join("")}    esac
  elif [[ $current == -* ]]; then
    kind=words
    case "$command" in
${commands.map((command) => `      ${name(command)}) choices="${command.options.flatMap(({ long, short }) => [long, short ?? []].flat()).join(" ")}" ;;\n`).join("")}    esac
  elif (( ! whole )); then
    kind=words
    case "$command" in
${groups.map((command) => `      ${name(command)}) choices="${command.subcommands.map((one) => one.name).join(" ")}" ;;\n`).join("")}    esac
  else
    case "$command $place" in
${places.map(({ pattern, completion }) => `      ${pattern}) ${offer(completion)} ;;\n`).join("")}    esac
  fi
  local action=""
  case "$kind" in
    words) COMPREPLY=( $(compgen -W "$choices" -- "$current") ) ;;
    file) action=-f ;;
    directory) action=-d ;;
  esac
  if [[ -n $action ]]; then
    compopt -o filenames 2> /dev/null
    while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen "$action" -- "$current")
  fi
}
complete -F _laurel laurel
`;
}

function offer(completion: Completion): string {
  if (completion === "nothing") return ":";
  if (completion === "file" || completion === "directory") return `kind=${completion}`;
  return `kind=words choices="${completion.join(" ")}"`;
}

function quoted(text: string): string {
  return `"${text}"`;
}
