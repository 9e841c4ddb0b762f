/** @file Asking before something is taken away. */

import { UsageError } from "../errors.js";
import { unlessAborted } from "../util/abort.js";
import type { CommandContext } from "./context.js";

/** Asks on the terminal. @param command named when nobody can answer @throws UsageError where nobody can */
export async function confirmed(
  { terminal, signal }: CommandContext,
  command: string,
  question: string,
): Promise<boolean> {
  const { stdin, stderr } = terminal;
  if (stdin?.isTTY !== true) throw new UsageError(`${command}: expected a terminal to ask on, or --yes, got neither`);
  const { createInterface } = await import("node:readline/promises");
  const asking = createInterface({ input: stdin, output: stderr });
  try {
    const answer = await unlessAborted(asking.question(question, { signal }), signal);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    asking.close();
  }
}
