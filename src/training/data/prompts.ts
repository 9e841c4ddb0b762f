/** @file Prompts to train on: with weights, drawn in proportion to them. */

import { UsageError } from "../../errors.js";
import { readPlacedPrompts } from "../../prompts/prompt-file.js";
import { DocumentError, type Fault } from "../../util/yaml/located.js";

/** A prompt, and how often it is drawn in proportion to the others. */
export interface TrainingPrompt {
  readonly prompt: string;
  /** Not negative. */
  readonly weight: number;
}

/** Rows with a bad weight that are listed. */
const MAXIMUM_FAULTS = 20;

/**
 * Reads prompts: a text with one a line, or CSV, JSON lines or a JSON list whose rows are texts or have a `prompt`, `text` or `caption`, such as
 * ImageReward's `refl_data.json`. The column `weight` counts where a row has it; a row without weighs 1.
 * @throws UsageError when the file cannot be read, is empty, of another form, or has no prompt of positive weight; DocumentError naming every row
 *   without a prompt, with one that is too long, or with a weight that is none
 */
export async function readTrainingPrompts(path: string): Promise<TrainingPrompt[]> {
  const faults: Fault[] = [];
  const prompts: TrainingPrompt[] = [];
  for (const { entry, place } of await readPlacedPrompts({ file: path })) {
    const text = Object.hasOwn(entry.fields, "weight") ? entry.fields["weight"]! : "1";
    const weight = text.trim() === "" ? 1 : Number(text);
    if (Number.isFinite(weight) && weight >= 0) prompts.push({ prompt: entry.prompt, weight });
    else faults.push({ place, message: `weight: expected a number, 0 or more, got ${JSON.stringify(text)}` });
    if (faults.length >= MAXIMUM_FAULTS) break;
  }
  if (faults.length > 0) throw new DocumentError(faults);
  checkWeights(prompts, path);
  return prompts;
}

/**
 * Draws prompts in proportion to their weights.
 * @returns a function from a number in [0, 1), uniformly distributed, to a prompt
 * @throws UsageError when no weight is positive
 */
export function weightedPrompts(prompts: readonly TrainingPrompt[]): (uniform: number) => TrainingPrompt {
  checkWeights(prompts, "prompts");
  const drawn = prompts.filter(({ weight }) => weight > 0);
  const limits = new Float64Array(drawn.length);
  let total = 0;
  for (const [i, { weight }] of drawn.entries()) limits[i] = total += weight;
  return (uniform) => {
    const target = uniform * total;
    let [low, high] = [0, drawn.length - 1];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (limits[middle]! > target) high = middle;
      else low = middle + 1;
    }
    return drawn[low]!;
  };
}

function checkWeights(prompts: readonly TrainingPrompt[], where: string): void {
  if (prompts.some(({ weight }) => weight > 0)) return;
  throw new UsageError(`${where}: expected a prompt with a weight above 0, got none among ${prompts.length}`);
}
