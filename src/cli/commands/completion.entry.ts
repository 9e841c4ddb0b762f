/** @file What `laurel completion` takes. */

import { declare, type FlagsOf } from "../declare.js";

/** The shells that there is a script for. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

export const COMPLETION = declare({
  heading: "Installation",
  summary: "print a shell's completion script",
  arguments: [{ name: "shell", help: SHELLS.join(", "), what: "a shell", completion: SHELLS }],
  options: {},
  examples: [
    "source <(laurel completion bash)    # in ~/.bashrc",
    'laurel completion zsh > "${fpath[1]}/_laurel"',
    "laurel completion fish > ~/.config/fish/completions/laurel.fish",
  ],
});

/** Options of `laurel completion`. */
export type CompletionFlags = FlagsOf<typeof COMPLETION.options>;
