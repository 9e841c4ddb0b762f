/** @file What `laurel generate` takes. */

import { choice, decimal, declare, file, type FlagsOf, several, short, textual, toggle, whole } from "../declare.js";
import { PROMPT_SYNTAXES } from "../../prompts/attention-syntax.js";
import { strategiesAnywhere, STRATEGY_NAMES } from "../../strategies/names.js";
import {
  BACKEND_OPTION,
  DRAWING_SESSION_OPTIONS,
  LORA_OPTIONS,
  MODEL_OPTIONS,
  OUT_OPTION,
  REWARD_OPTION,
  RUN_OPTIONS,
  SAMPLING_OPTIONS,
} from "../options.js";

export const GENERATE = declare({
  heading: "Pictures",
  summary: "generate candidates for a prompt, score them, rank them",
  arguments: [{ name: "prompt", help: "what to draw", what: "a prompt", completion: "nothing" }],
  options: {
    count: short("n", whole("candidates to draw (default: 16)", 1, 10_000)),
    strategy: textual(
      `how their compute is spent: ${STRATEGY_NAMES.join(", ")}, with options as in particles:lambda=3 (default: best-of-n)`,
      "name[:key=value]...",
      "a strategy",
      STRATEGY_NAMES,
    ),
    budget: textual(
      "what may be spent: candidates as by -n (64), evaluations of the denoiser (evals=1280) or time (60s, 5m, 1h), which end the run before -n candidates (default then: 10000, for refine 64)",
      "n|evals=n|time",
      "a budget",
    ),
    untilScore: decimal("stop once a candidate has this score", -1e6, 1e6),
    untilImages: whole("how many must have the score of --until-score (default: 1)", 1, 10_000),
    keep: whole("how many of the best to mark as kept (default: 4)", 1, 10_000),
    diverse: toggle("keep good candidates that differ, rather than the best"),
    seed: whole("seed of the first candidate; the others follow (default: random)", 0, 2 ** 32 - 2),
    negative: { ...textual("what not to draw", "text", "a text"), parse: (text: string) => text },
    promptSyntax: choice("how prompts are read: plain or a1111, with (weights:1.3) and BREAK", "name", PROMPT_SYNTAXES),
    embedding: several(file("textual inversion embedding for --prompt-syntax a1111; may be given again")),
    clipSkip: whole("layer of the text encoder from the end (default: 1, the last)", 1, 100),
    ...SAMPLING_OPTIONS,
    ...LORA_OPTIONS,
    init: file("picture to start from, instead of from noise", "image", "an image"),
    strength: decimal("how far to go from --init, above 0 to 1 (default: 0.8, with --mask 1)", 0, 1),
    mask: file("where to repaint --init: white is repainted, black is kept", "image", "an image"),
    width: whole("width of the pictures (default: that of --init, or the model's)", 8, 4096, "pixels"),
    height: whole("height of the pictures (default: that of --init, or the model's)", 8, 4096, "pixels"),
    batch: whole("candidates drawn together (default: by size)", 1, 1024),
    model: file("Stable Diffusion: diffusers folder, single file or name (default: the demo model)", "path", "a model"),
    ...MODEL_OPTIONS,
    ...BACKEND_OPTION,
    ...REWARD_OPTION,
    ...DRAWING_SESSION_OPTIONS,
    ...OUT_OPTION,
    ...RUN_OPTIONS,
  },
  examples: [
    'laurel generate "a red circle above a blue square"',
    'laurel generate "a small green triangle" -n 64 --keep 8 --seed 7',
    'laurel generate "a small green triangle" -n 32 --strategy halving',
    'laurel generate "a small green triangle" --strategy particles:lambda=3 --budget 60s --until-score 1.5',
    'laurel generate "a yellow square on a black background" --steps 30 --guidance 4 --json | jq .best.path',
    'laurel generate "a red circle and a green triangle" --init picture.png --strength 0.6',
    'laurel generate "a green triangle" --init picture.png --mask mask.png',
    'laurel generate "a (red circle:1.4) above a [blue] square" --prompt-syntax a1111',
    'laurel generate "a lighthouse at dusk" --model ~/models/stable-diffusion-v1-5 --reward-model ~/models/ImageReward.pt',
    'laurel generate "a red circle above a blue square" --lora tuned.safetensors:0.8 --lora-anneal 0.5',
    'laurel generate "a lighthouse at dusk" --backend webui --steps 25',
  ],
  notes: `Strategies that any backend can follow: ${strategiesAnywhere().join(", ")}. The others look at pictures on their way, which the local backend allows; noise-gradient needs a reward with a gradient, too.`,
});

/** Options of `laurel generate`. */
export type GenerateFlags = FlagsOf<typeof GENERATE.options>;
