/** @file `laurel lora convert`: a LoRA with other names. */

import { EXIT, UsageError } from "../../errors.js";
import { convertLora } from "../../library/lora.js";
import type { Action } from "../context.js";
import { shownPath } from "../output.js";
import type { LoraConvertFlags } from "./lora-convert.entry.js";

export const loraConvert: Action<LoraConvertFlags> = async ({ terminal }, [file = ""], { to, out, model }) => {
  if (to === undefined) throw new UsageError("--to: expected kohya or diffusers, got none");
  if (out === undefined) throw new UsageError("--out: expected a file to write, got none");
  const layers = await convertLora(file, out, { to, model });
  terminal.stderr.write(`${layers} layers, named for ${to}\n`);
  terminal.stdout.write(`${shownPath(out)}\n`);
  return EXIT.ok;
};
