/** @file What `laurel compare` takes. */

import { STRATEGY_NAMES } from "../../strategies/names.js";
import { declare, file, type FlagsOf, folder, otherwise, several, textual, toggle, whole } from "../declare.js";
import {
  BACKEND_OPTION,
  DRAWING_SESSION_OPTIONS,
  MODEL_OPTIONS,
  OUTPUT_OPTIONS,
  REWARD_OPTION,
  SAMPLING_OPTIONS,
} from "../options.js";

export const COMPARE = declare({
  heading: "Pictures",
  summary: "measure strategies against each other at the same compute",
  arguments: [],
  options: {
    strategies: several(
      textual(
        `which: ${STRATEGY_NAMES.join(", ")}, with settings as in particles:lambda=3, and steps, guidance or sampler of their own as in best-of-n:steps=5 (default: all that the backend allows, but refine)`,
        "name,...",
        "a strategy",
        STRATEGY_NAMES,
      ),
    ),
    baseline: textual("what the others are compared with (default: best-of-n)", "name", "a strategy"),
    budget: several(textual("compute, in pictures drawn plainly (default: 4,8,16)", "n,...", "a number of pictures")),
    prompts: file("prompts, one a line, or csv, jsonl, json (default: held-out prompts of the demo world)"),
    limit: otherwise(200, whole("most prompts", 1, 100_000)),
    seeds: otherwise(1, whole("searches of a prompt at the largest budget; smaller budgets have more", 1, 1000)),
    oracle: toggle("read the pictures with the demo world's oracle (default: with the demo world's own prompts)"),
    ...SAMPLING_OPTIONS,
    model: file("Stable Diffusion: diffusers folder, single file or name (default: the demo model)", "path", "a model"),
    ...MODEL_OPTIONS,
    ...BACKEND_OPTION,
    ...REWARD_OPTION,
    ...DRAWING_SESSION_OPTIONS,
    out: otherwise(
      "outputs/comparison",
      folder("folder of the trials, the figures and the page; what it has is not done again"),
    ),
    markdown: toggle("print the table as Markdown"),
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel compare --strategies best-of-n,halving --budget 8 --limit 20",
    "laurel compare --strategies best-of-n,best-of-n:steps=5,noise-gradient --budget 4,16",
    "laurel compare --prompts prompts.txt --model sd-1.5 --reward-model image-reward-v1.0 --held-out pickscore --budget 8",
  ],
});

/** Options of `laurel compare`. */
export type CompareFlags = FlagsOf<typeof COMPARE.options>;
