/** @file `laurel models pull`: fetches a model, after showing its licence. */

import { EXIT } from "../../errors.js";
import { type HubTarget, hubTarget, type PulledModel, pullTarget } from "../../library/hub-models.js";
import { unlessAborted } from "../../util/abort.js";
import type { Action, CommandContext } from "../context.js";
import { byteCount, printable, printJson } from "../output.js";
import { openProgress } from "../progress.js";
import { printPaths } from "./models-path.js";
import type { ModelsPullFlags } from "./models-pull.entry.js";

export const modelsPull: Action<ModelsPullFlags> = async (context, [name = ""], flags) => {
  const { terminal, signal } = context;
  const target = await unlessAborted(hubTarget(name), signal);
  if (flags.quiet !== true) terminal.stderr.write(licenceLines(target));
  const pulled = await pullShown(context, target, flags);
  if (flags.json === true) {
    const { licences, notes = null } = target;
    printJson(terminal, { schemaVersion: 1, name: target.name, licences, notes, ...pulled });
  } else if (target.addresses.length > 0 || target.sources.length > 1) await printPaths(terminal, name);
  else terminal.stdout.write(`${pulled.repositories[0]?.path ?? ""}\n`);
  if (flags.quiet !== true && flags.json !== true) terminal.stderr.write(`${summaryOf(pulled)}\n`);
  return EXIT.ok;
};

async function pullShown(
  { terminal, signal }: CommandContext,
  target: HubTarget,
  { quiet, include, check }: ModelsPullFlags,
): Promise<PulledModel> {
  const progress = await openProgress(terminal, { quiet, unit: "fetched", count: byteCount });
  try {
    return await pullTarget(target, {
      include,
      check,
      signal,
      onProgress: ({ bytes, totalBytes, files, totalFiles }) => {
        if (!(totalBytes > 0)) return;
        const note = `${files} of ${totalFiles} files`;
        progress.update({ finished: bytes, total: totalBytes, note });
      },
      environment: terminal.environment,
    });
  } finally {
    progress.stop();
  }
}

function licenceLines({ title, licences, notes, name }: HubTarget): string {
  const lines = licences.map((licence) => {
    const covers = licence.covers === undefined ? "" : ` (${licence.covers})`;
    return `${title}: ${licence.name}${covers}, ${licence.link}`;
  });
  if (licences.length === 0) lines.push(`${name}: its page on the hub states its licence`);
  if (notes !== undefined) lines.push(notes);
  return lines.map((line) => `${printable(line)}\n`).join("");
}

function summaryOf({ repositories, addresses }: PulledModel): string {
  const files = [...repositories.flatMap((repository) => repository.files), ...addresses];
  const fetched = files.filter((file) => file.fetched);
  const bytes = byteCount(fetched.reduce((sum, file) => sum + file.bytes, 0));
  const others = repositories.reduce((sum, repository) => sum + repository.others, 0);
  const left = others === 0 ? "" : `; ${others} other files were left, --include names what else to take`;
  const there = fetched.length === files.length ? "" : ", the others were there";
  return `${fetched.length} of ${files.length} files fetched (${bytes})${there}${left}`;
}
