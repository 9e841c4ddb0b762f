/** @file What `laurel refine` takes. */

import { PROMPT_SYNTAXES } from "../../prompts/attention-syntax.js";
import { choice, declare, file, type FlagsOf, folder, otherwise, textual, whole } from "../declare.js";
import {
  BACKEND_OPTION,
  DRAWING_SESSION_OPTIONS,
  LORA_OPTIONS,
  OUT_OPTION,
  REWARD_OPTION,
  RUN_OPTIONS,
  SAMPLING_OPTIONS,
} from "../options.js";

export const REFINE = declare({
  heading: "Pictures",
  summary: "search for a prompt that is drawn better, judged against yours",
  arguments: [{ name: "prompt", help: "what the pictures should show", what: "a prompt", completion: "nothing" }],
  options: {
    budget: otherwise(64, whole("candidates to draw, those of your own prompt included", 1, 10_000)),
    refiner: choice("what proposes prompts: evolve or llm (default: evolve)", "name", ["evolve", "llm"]),
    vocabulary: file(
      "words for evolve: general, shapes or a YAML file (default: shapes for the demo model, general for others)",
      "name",
      "a vocabulary's name or file",
    ),
    chat: file("language model for llm: a name in configs/backends or a YAML file", "name", "a name or file"),
    tokens: whole("tokens that llm may use (default: what --chat says)", 1, 1_000_000_000),
    seed: whole("seed of the first candidate (default: random)", 0, 2 ** 32 - 2),
    negative: { ...textual("what not to draw", "text", "a text"), parse: (text: string) => text },
    promptSyntax: choice("how prompts are read: plain or a1111, with (weights:1.3)", "name", PROMPT_SYNTAXES),
    ...SAMPLING_OPTIONS,
    ...LORA_OPTIONS,
    width: whole("width of the pictures (default: the model's)", 8, 4096, "pixels"),
    height: whole("height of the pictures (default: the model's)", 8, 4096, "pixels"),
    batch: whole("candidates drawn together (default: by size)", 1, 1024),
    model: folder("Stable Diffusion in diffusers layout (default: the demo model)"),
    ...BACKEND_OPTION,
    ...REWARD_OPTION,
    ...DRAWING_SESSION_OPTIONS,
    ...OUT_OPTION,
    ...RUN_OPTIONS,
  },
  examples: [
    'laurel refine "please draw a scarlet disc that is over a blue box"',
    'laurel refine "show me a tiny violet block on white" --budget 128 --seed 7 --json | jq .best.prompt',
    'laurel refine "a lighthouse at dusk" --model ~/models/stable-diffusion-v1-5 --reward-model ~/models/ImageReward.pt',
    'laurel refine "a lighthouse at dusk" --backend webui --refiner llm --chat ollama',
  ],
  notes:
    "Every candidate is scored against your prompt, whatever prompt it was drawn from. A prompt wins only when it beats yours on fresh seeds; else yours is kept. " +
    "A run that was stopped goes on with `laurel resume`.",
});

/** Options of `laurel refine`. */
export type RefineFlags = FlagsOf<typeof REFINE.options>;
