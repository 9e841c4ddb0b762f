/** @file `laurel run` on a document that exports a reward. */

import { join } from "node:path";
import { EXIT } from "../../errors.js";
import { exportReward, type ExportRewardOptions } from "../../library/export-reward.js";
import type { CommandContext } from "../context.js";
import { byteCount, printJson, shownPath } from "../output.js";
import type { RunPipelineFlags } from "./run.entry.js";

/** Writes the export and prints its folder; with `--dry-run` only what it would be. */
export async function runExport(
  { terminal, signal }: CommandContext,
  options: ExportRewardOptions,
  flags: RunPipelineFlags,
): Promise<number> {
  const { rewards = [], from, size, out } = options;
  if (flags.dryRun === true) {
    if (flags.json === true) printJson(terminal, { schemaVersion: 1, "export-reward": options });
    else {
      const names = rewards.map(({ reward, weight = 1 }) => `${weight} * ${typeof reward === "string" ? reward : reward.name}`); // prettier-ignore
      const whole = size === undefined ? "" : ` of ${size.width} x ${size.height}`;
      terminal.stdout.write(`export     ${names.join(" + ")} from ${from}${whole}\nfolder     ${shownPath(out)}\n`);
    }
    return EXIT.ok;
  }
  const { directory, manifest, bytes } = await exportReward({ ...options, signal });
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, directory, bytes, manifest });
  else terminal.stdout.write(`${shownPath(directory)}\n`);
  if (flags.quiet !== true && flags.json !== true)
    terminal.stderr.write(`${byteCount(bytes)}; how to use it: ${shownPath(join(directory, "README.md"))}\n`);
  return EXIT.ok;
}
