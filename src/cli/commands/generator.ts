/** @file What draws in a command, as `--backend`, `--model` and what goes with them say. */

import { UsageError } from "../../errors.js";
import { modelLocation } from "../../weights/hub/location.js";
import type { ModelReading } from "../context.js";
import type { GeneratorSources } from "./run-command.js";

/** The options of the commands that draw. */
export interface GeneratorFlags extends ModelReading {
  readonly backend?: string | undefined;
  readonly model?: string | undefined;
}

/** What is to draw. @throws UsageError for options that do not go together, or a backend that draws nothing */
export async function generatorOf(flags: GeneratorFlags): Promise<GeneratorSources> {
  const { backend: name, model, dtype } = flags;
  const { variant = null, prediction = null } = flags;
  const directory = model === undefined ? null : modelLocation(model);
  const reading = { variant, prediction, dtype };
  if (name === undefined) return { backend: null, model: directory, ...reading };
  const { loadBackendConfig } = await import("../../backends/load-config.js");
  const config = await loadBackendConfig(name);
  if (config.backend === "local") {
    return { backend: null, model: directory ?? config.model ?? null, ...reading };
  }
  for (const [option, value] of Object.entries({ model, variant, prediction, dtype })) {
    if (value === undefined || value === null) continue;
    throw new UsageError(
      `--${option}: expected none beside the backend ${config.backend}, whose configuration names its model`,
    );
  }
  if (config.backend === "folder") {
    throw new UsageError(
      "--backend: expected a backend that draws, got folder; to score pictures that exist, use laurel score, or laurel run pipelines/score-folder.yaml",
    );
  }
  return { backend: config, model: null, variant: null, prediction: null };
}
