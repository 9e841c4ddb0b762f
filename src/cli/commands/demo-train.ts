/** @file `laurel demo train`: trains one network of the demo world. */

import { dirname, resolve } from "node:path";
import { CancelledError, EXIT } from "../../errors.js";
import { EMBEDDED_MODELS } from "../../pipeline/package-info.js";
import { trainDemo } from "../../training/demo.js";
import { DEMO_STAGES } from "../../training/demo-stages.js";
import { formatDuration } from "../../training/progress.js";
import type { Action } from "../context.js";
import { chosen } from "../declare.js";
import { printJson } from "../output.js";
import type { DemoTrainFlags } from "./demo-train.entry.js";

/** Prints the trained files, or with `--json` one object. */
export const demoTrain: Action<DemoTrainFlags> = async ({ terminal, signal }, [name], flags) => {
  const stage = chosen("stage", DEMO_STAGES, name);
  const out = resolve(flags.out);
  const result = await trainDemo(stage, {
    models: flags.from === undefined ? dirname(EMBEDDED_MODELS.generator) : resolve(flags.from),
    continueWeights: flags.from !== undefined,
    out,
    config: flags.config,
    minutes: flags.minutes,
    steps: flags.steps,
    resume: flags.resume,
    threads: flags.threads,
    signal,
    stream: flags.quiet === true ? undefined : terminal.stderr,
  });
  const { step, steps, files, directory, seconds } = result;
  if (!result.finished) {
    const command = `laurel demo train ${stage} --out ${flags.out} --resume`;
    throw new CancelledError(`stopped after step ${step} of ${steps}; go on with: ${command}`);
  }
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, stage, ...result });
  else {
    if (flags.quiet !== true) {
      const losses = `loss ${result.firstLoss.toFixed(4)} -> ${result.lastLoss.toFixed(4)}`;
      terminal.stderr.write(
        `${stage}: ${steps} steps in ${formatDuration(seconds)}, ${losses}; log and checkpoint in ${directory}\n`,
      );
    }
    terminal.stdout.write(files.map((file) => `${file}\n`).join(""));
  }
  return EXIT.ok;
};
