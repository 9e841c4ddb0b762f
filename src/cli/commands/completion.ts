/** @file `laurel completion`: the script for a shell, made from the table of commands. */

import { EXIT } from "../../errors.js";
import { COMMANDS, GROUPS } from "../commands.js";
import { bashScript } from "../completion/bash.js";
import { fishScript } from "../completion/fish.js";
import { grammar } from "../completion/grammar.js";
import { zshScript } from "../completion/zsh.js";
import type { Action } from "../context.js";
import { chosen } from "../declare.js";
import { type CompletionFlags, SHELLS } from "./completion.entry.js";

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript };

export const completion: Action<CompletionFlags> = async ({ terminal }, [shell]) => {
  terminal.stdout.write(SCRIPTS[chosen("shell", SHELLS, shell)](grammar(COMMANDS, GROUPS)));
  return EXIT.ok;
};
