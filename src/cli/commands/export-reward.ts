/** @file `laurel export reward`: a differentiable reward as a folder of plain ONNX. */

import { EXIT, UsageError } from "../../errors.js";
import { parseRewards } from "../../library/chosen-rewards.js";
import { exportReward as write, type ExportRewardOptions } from "../../library/export-reward.js";
import { modelLocation } from "../../weights/hub/location.js";
import type { Action } from "../context.js";
import { byteCount, printJson, shownPath } from "../output.js";
import type { ExportRewardFlags } from "./export-reward.entry.js";

/** What is said of each part of the work. */
const STAGES = { weights: "weights", models: "models", check: "known answer", files: "digests" } as const;

/** Prints the folder, or with `--json` one object. */
export const exportReward: Action<ExportRewardFlags> = async ({ terminal, signal }, _names, flags) => {
  const { out, from, batch, singleFile, force, quiet } = flags;
  if (out === undefined) throw new UsageError("--out: expected the folder to write, got none");
  const say: ExportRewardOptions["onProgress"] = (stage) => {
    if (quiet !== true) terminal.stderr.write(`${STAGES[stage]}\n`);
  };
  const { directory, manifest, bytes } = await write({
    out,
    rewards: flags.reward === undefined ? undefined : parseRewards(flags.reward),
    from,
    size: flags.size === undefined ? undefined : pictureSize(flags.size),
    batch,
    model: flags.model === undefined ? undefined : modelLocation(flags.model),
    singleFile,
    force,
    executionProvider: flags.device,
    signal,
    onProgress: say,
  });
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, directory, bytes, manifest });
  else terminal.stdout.write(`${shownPath(directory)}\n`);
  if (quiet !== true && flags.json !== true) {
    const { picture, combination } = manifest;
    terminal.stderr.write(
      `${combination.formula}, from ${picture.name} [${picture.shape.join(", ")}]; ${byteCount(bytes)}\n`,
    );
  }
  return EXIT.ok;
};

/** `512x768`: width and height. */
function pictureSize(text: string): { width: number; height: number } {
  const [, width, height] = /^(\d{1,5})x(\d{1,5})$/.exec(text) ?? [];
  if (width === undefined || height === undefined) {
    throw new UsageError(`--size: expected width and height as 512x512, got ${JSON.stringify(text)}`);
  }
  return { width: Number(width), height: Number(height) };
}
