/** @file `laurel models rm`: removes fetched models, after asking. */

import { EXIT } from "../../errors.js";
import { hubTarget, planTargetRemoval, removeTarget, type TargetRemoval } from "../../library/hub-models.js";
import { unlessAborted } from "../../util/abort.js";
import { confirmed } from "../confirm.js";
import type { Action, CommandContext } from "../context.js";
import { byteCount, printable } from "../output.js";
import type { ModelsRmFlags } from "./models-rm.entry.js";

export const modelsRm: Action<ModelsRmFlags> = async (context, names, flags) => {
  const { terminal, signal } = context;
  const plans: TargetRemoval[] = [];
  for (const name of new Set(names)) {
    const planning = hubTarget(name).then((target) => planTargetRemoval(target, terminal.environment));
    plans.push(await unlessAborted(planning, signal));
  }
  const bytes = plans.reduce((sum, plan) => sum + show(context, plan), 0);
  const what = byteCount(bytes);
  if (plans.every(({ repositories, files }) => repositories.length + files.length === 0)) {
    terminal.stderr.write("nothing was removed\n");
    return EXIT.ok;
  }
  if (flags.yes !== true && !(await confirmed(context, "models rm", `remove ${what}? [y/N] `))) {
    terminal.stderr.write("nothing was removed\n");
    return EXIT.ok;
  }
  let [freed, inUse] = [0, 0];
  for (const plan of plans) {
    for (const removal of await removeTarget(plan, terminal.environment)) {
      freed += removal.bytes;
      inUse += removal.inUse;
    }
  }
  const left = inUse === 0 ? "" : `; ${inUse} files that another process is fetching stay`;
  terminal.stderr.write(`removed ${byteCount(freed)}${left}\n`);
  return EXIT.ok;
};

/** Says what would go and what stays; gives the bytes that would go. */
function show({ terminal }: CommandContext, { repositories, files, kept }: TargetRemoval): number {
  let bytes = 0;
  for (const { id, commits, blobs } of repositories) {
    const size = blobs.reduce((sum, blob) => sum + blob.bytes, 0);
    bytes += size;
    const revisions = commits.map((commit) => commit.slice(0, 8)).join(", ");
    terminal.stderr.write(`${printable(id)}  ${revisions === "" ? "unfinished" : revisions}  ${byteCount(size)}\n`);
  }
  for (const file of files) {
    bytes += file.bytes;
    terminal.stderr.write(`${printable(file.path)}  ${byteCount(file.bytes)}\n`);
  }
  for (const { id, by } of kept) terminal.stderr.write(`${printable(id)}  stays: ${by} needs it\n`);
  return bytes;
}
