/** @file What `laurel train refl|draft|dpo|sft` take: one table of options, and what a method learns from beside it. */

import type { FinetuneMethod } from "../../training/finetune/methods.js";
import type { MemoryMode } from "../../training/gradient-program.js";
import {
  choice,
  type CommandDeclaration,
  decimal,
  declare,
  file,
  type FlagsOf,
  folder,
  type OptionTable,
  several,
  textual,
  without,
  whole,
} from "../declare.js";
import { DEVICE_OPTION, OUTPUT_OPTIONS, OUT_OPTION } from "../options.js";
import { SET_OPTION } from "./run.entry.js";

const MODES: readonly MemoryMode[] = ["fast", "balanced", "low"];

const OPTIONS = {
  config: file("settings, YAML or JSON (default: those that ship for the method)"),
  model: folder("Stable Diffusion in diffusers layout (default: the demo model)"),
  reward: several(
    textual(
      "reward to follow, instead of the settings': image-reward or clip-score for the demo model, aesthetic, blip-score, pickscore, hps, or a path; may be given again",
      "name|path[=weight]",
      "a reward",
      "file",
    ),
  ),
  heldOut: several(
    textual(
      "reward the training never sees, instead of the settings'; may be given again",
      "name|path",
      "a reward",
      "file",
    ),
  ),
  prompts: file("prompts to train on, txt, csv, jsonl or json (default: those of the demo world for the demo model)"),
  validationPrompts: file("prompts of the validations (default: others of the demo world, or the first of --prompts)"),
  steps: whole("updates", 1, 1_000_000_000),
  batch: whole("samples of a gradient", 1, 1024),
  learningRate: decimal("the highest learning rate", 0, 10),
  rank: whole("rank of the LoRA", 1, 4096),
  seed: whole("seed of start values, prompts and noise", 0, 2 ** 32 - 2),
  ...SET_OPTION,
  width: whole("width of the pictures (default: the model's)", 8, 4096, "pixels"),
  height: whole("height of the pictures (default: the model's)", 8, 4096, "pixels"),
  memory: choice("fast, balanced or low: less memory takes more time (default: fast)", "mode", MODES),
  threads: whole("threads (default: the physical cores)", 1, 1024),
  guards: without("no validations and no guards"),
  alarm: without("tell an alarm and go on"),
  hackingGuard: without("let held-out rewards fall"),
  diversityGuard: without("let diversity fall"),
  divergenceGuard: without("let the model go far from the base without a warning"),
  ...DEVICE_OPTION,
  ...OUT_OPTION,
  resume: folder("go on with a run that was stopped or killed"),
  ...OUTPUT_OPTIONS,
};

const NOTES =
  "Ctrl-C stops after the current update and leaves a checkpoint for --resume. A setting without an option of its own is changed with --set, such as\n" +
  "--set train.textEncoder='[q_proj, v_proj]'. What comes of it: docs/fine-tuning.md.";

function trainCommand<const Table extends OptionTable>(
  method: FinetuneMethod,
  summary: string,
  data: Table,
  examples: readonly string[],
): CommandDeclaration<typeof OPTIONS & Table> {
  const common = [`laurel train ${method}`, `laurel train ${method} --resume outputs/20261122-183301-train-${method}-9f3a`]; // prettier-ignore
  return declare({
    summary,
    arguments: [],
    options: { ...OPTIONS, ...data },
    examples: [...common, ...examples],
    notes: NOTES,
  });
}

const IMAGES = { images: folder("pictures with prompts to learn from (default: those of the base model)") };

export const TRAIN_REFL = trainCommand("refl", "fine-tune by reward: one differentiated step late in the trajectory (ReFL)", IMAGES, [
  "laurel train refl --steps 100 --rank 8 --reward image-reward --held-out clip-score",
  "laurel train refl --model ~/models/stable-diffusion-v1-5 --prompts prompts.txt --reward ~/models/ImageReward.pt --held-out ~/models/clip --memory low",
]); // prettier-ignore
export const TRAIN_DRAFT = trainCommand("draft", "fine-tune by reward: the gradient through the last sampler steps (DRaFT)", IMAGES, [
  "laurel train draft --set lastSteps=2 --set truncation=random",
]); // prettier-ignore
export const TRAIN_DPO = trainCommand(
  "dpo",
  "fine-tune on preference pairs (Diffusion-DPO)",
  { pairs: file("preference pairs: parquet, jsonl or a folder (default: pictures of the base model, paired by score)", "path", "a path") }, // prettier-ignore
  ["laurel train dpo --pairs pairs.parquet"],
);
export const TRAIN_SFT = trainCommand("sft", "fine-tune on pictures: plain, filtered or weighted by reward", IMAGES, [
  "laurel train sft --images good --set select=plain",
]);

/** Options of `laurel train`, whatever the method. */
export type TrainFlags = FlagsOf<typeof OPTIONS> & { readonly images?: string; readonly pairs?: string };
