/** @file What `laurel generate` takes. */

import { declare, type FlagsOf, folder, otherwise, short, textual, whole } from "../declare.js";
import { OUT_OPTION, REWARD_OPTION, RUN_OPTIONS, SAMPLING_OPTIONS } from "../options.js";

export const GENERATE = declare({
  summary: "generate candidates for a prompt, score them, rank them",
  arguments: [{ name: "prompt", help: "what to draw", what: "a prompt", completion: "nothing" }],
  options: {
    count: short("n", otherwise(16, whole("candidates to draw", 1, 10_000))),
    keep: whole("how many of the best to mark as kept (default: 4)", 1, 10_000),
    seed: whole("seed of the first candidate; the others follow (default: random)", 0, 2 ** 32 - 2),
    negative: { ...textual("what not to draw", "text", "a text"), parse: (text: string) => text },
    ...SAMPLING_OPTIONS,
    width: whole("width of the pictures (default: the model's)", 8, 4096, "pixels"),
    height: whole("height of the pictures (default: the model's)", 8, 4096, "pixels"),
    batch: whole("candidates drawn together (default: by size)", 1, 1024),
    model: folder("Stable Diffusion in diffusers layout (default: the demo model)"),
    ...REWARD_OPTION,
    ...OUT_OPTION,
    ...RUN_OPTIONS,
  },
  examples: [
    'laurel generate "a red circle above a blue square"',
    'laurel generate "a small green triangle" -n 64 --keep 8 --seed 7',
    'laurel generate "a yellow square on a black background" --steps 30 --guidance 4 --json | jq .best.path',
    'laurel generate "a lighthouse at dusk" --model ~/models/stable-diffusion-v1-5 --reward-model ~/models/ImageReward.pt',
  ],
});

/** Options of `laurel generate`. */
export type GenerateFlags = FlagsOf<typeof GENERATE.options>;
