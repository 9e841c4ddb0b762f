/** @file `laurel models path`: where a fetched model lies. */

import { EXIT, ModelError } from "../../errors.js";
import { resolveModel, resolveReward } from "../../library/named-models.js";
import type { Action } from "../context.js";
import { printJson, type Terminal } from "../output.js";
import type { ModelsPathFlags } from "./models-path.entry.js";

export const modelsPath: Action<ModelsPathFlags> = async ({ terminal }, [name = ""], flags) => {
  if (flags.json !== true) await printPaths(terminal, name);
  else printJson(terminal, { schemaVersion: 1, name, ...(await pathsOf(terminal, name)) });
  return EXIT.ok;
};

/** Prints a model's path, or a reward's parts with theirs. @throws ModelError when it was not fetched */
export async function printPaths(terminal: Terminal, name: string): Promise<void> {
  const { path, parts } = await pathsOf(terminal, name);
  const lines = path === null ? Object.entries(parts).map(([part, at]) => `${part}\t${at}`) : [path];
  terminal.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

async function pathsOf(
  { environment }: Terminal,
  name: string,
): Promise<{ readonly path: string | null; readonly parts: Readonly<Record<string, string>> }> {
  const reward = await resolveReward(name, environment);
  if (reward !== undefined) return { path: null, parts: reward.parts };
  const path = await resolveModel(name, environment);
  if (path === name) throw new ModelError(`${name}: expected the name of a model, got a path or another text`);
  return { path, parts: {} };
}
