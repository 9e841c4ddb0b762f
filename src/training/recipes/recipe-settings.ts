/** @file What all recipes share: their settings, and the start values of a network's parameters. */

import { graph } from "../../graph/builder.js";
import type { Value } from "../../graph/types.js";
import { TorchGenerator } from "../../tensor/random.js";
import type { Tensor } from "../../tensor/tensor.js";
import { initialise } from "../initialise.js";
import type { OptimizerSettings } from "../trainer.js";

/** How long, how much at once, and how. */
export interface RecipeSettings {
  readonly steps: number;
  readonly batchSize: number;
  /** Batches an update. @default 1 */
  readonly accumulate?: number | undefined;
  /** Seed of start values, data and noise. @default 1 */
  readonly seed?: number | undefined;
  readonly optimizer: OptimizerSettings;
}

/** Start values: those given, by parameter name, else drawn from the seed. */
export function startValues(
  loss: Value,
  seed: number,
  given: ReadonlyMap<string, Tensor> = new Map(),
): Map<string, Tensor> {
  const parameters = [...graph("loss", { loss }).parameters].map(([name, { shape }]) => ({
    name,
    shape: shape as readonly number[],
  }));
  const drawn = initialise(parameters, new TorchGenerator(seed));
  for (const name of drawn.keys()) {
    const start = given.get(name);
    if (start !== undefined) drawn.set(name, start);
  }
  return drawn;
}
