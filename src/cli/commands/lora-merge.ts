/** @file `laurel lora merge`: a model with LoRAs in its weights. */

import { EXIT, UsageError } from "../../errors.js";
import { mergeLora } from "../../library/lora.js";
import { EMBEDDED_MODELS } from "../../pipeline/package-info.js";
import { parseLora } from "../../weights/lora/spec.js";
import type { Action } from "../context.js";
import { shownPath } from "../output.js";
import type { LoraMergeFlags } from "./lora-merge.entry.js";

export const loraMerge: Action<LoraMergeFlags> = async ({ terminal }, _, { model, lora = [], out }) => {
  if (lora.length === 0) throw new UsageError("--lora: expected a LoRA to merge, got none");
  if (out === undefined) throw new UsageError("--out: expected a folder to write, got none");
  const changed = await mergeLora(model ?? EMBEDDED_MODELS.generator, lora.map(parseLora), out);
  const counts = [...changed].map(([component, count]) => `${count} weights of ${component}`);
  terminal.stderr.write(`changed ${counts.join(", ")}\n`);
  terminal.stdout.write(`${shownPath(out)}\n`);
  return EXIT.ok;
};
