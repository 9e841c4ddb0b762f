/** @file `laurel models verify`: hashes what was fetched. */

import { EXIT, ModelError } from "../../errors.js";
import { cachedTargets, hubTarget, type VerifiedPlace, verifyTarget } from "../../library/hub-models.js";
import { unlessAborted } from "../../util/abort.js";
import type { Action } from "../context.js";
import { byteCount, palette, printable, printJson, warningLine } from "../output.js";
import { openProgress } from "../progress.js";
import type { ModelsVerifyFlags } from "./models-verify.entry.js";

export const modelsVerify: Action<ModelsVerifyFlags> = async ({ terminal, signal }, names, flags) => {
  const { environment } = terminal;
  const targets = names.length === 0 ? await cachedTargets(environment) : await Promise.all(names.map(hubTarget));
  const progress = await openProgress(terminal, { quiet: flags.quiet, unit: "models hashed" });
  const places: VerifiedPlace[] = [];
  try {
    for (const [i, target] of targets.entries()) {
      const note = `now ${printable(target.name)}`;
      progress.update({ finished: i, total: targets.length, note });
      const found = await unlessAborted(verifyTarget(target, { signal }, environment), signal);
      if (found.length === 0 && names.length > 0) {
        throw new ModelError(`${target.name}: expected it in the cache, got nothing; run laurel models pull ${target.name}`); // prettier-ignore
      }
      places.push(...found);
    }
  } finally {
    progress.stop();
  }
  const files = places.flatMap((place) => place.files.map((file) => ({ place, file })));
  const damaged = files.filter(({ file }) => file.problem !== null);
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, places });
  else {
    const { red } = palette(terminal.stdout, environment);
    for (const { place, file } of damaged)
      terminal.stdout.write(`${red(printable(`${place.name}: ${file.path}: ${file.problem}`))}\n`);
  }
  if (flags.quiet !== true && flags.json !== true) {
    const bytes = byteCount(files.reduce((sum, { file }) => sum + file.bytes, 0));
    const blind = files.filter(({ file }) => !file.hashed).length;
    const unknown = blind === 0 ? "" : `, ${blind} without a hash to compare with`;
    const text = `${files.length} files (${bytes}), ${damaged.length} damaged${unknown}`;
    const hint = damaged.length === 0 ? "" : "; laurel models pull NAME --check fetches them again";
    terminal.stderr.write(damaged.length === 0 ? `${text}\n` : `${warningLine(terminal, text + hint)}\n`);
  }
  return damaged.length > 0 ? EXIT.model : EXIT.ok;
};
