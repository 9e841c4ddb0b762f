/** @file The commands as data: what each is called and takes. What a command does is imported when it runs. */

import { join } from "node:path";
import type { Command } from "commander";
import { integer, number, text } from "./arguments.js";
import type { Action } from "./flags.js";

/** One command. */
export interface CommandEntry {
  readonly summary: string;
  /** Declares arguments, options and examples. */
  configure(command: Command): void;
  /** Imports the implementation. */
  load(): Promise<Action<never>>;
}

const OUTPUT_OPTIONS = {
  durable: ["--durable", "sync every image to the disk before going on"],
  json: ["--json", "print one JSON object instead of the table"],
  quiet: ["-q, --quiet", "no progress and no summary"],
} as const;

/** The folder of runs when `--out` is absent. */
const OUT = ["--out <dir>", "folder that holds the runs", text("a folder"), "outputs"] as const;

/** Every command by name; a name of two words is a command of a group. */
export const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  generate: {
    summary: "generate candidates for a prompt, score them, rank them",
    configure: (command) =>
      command
        .argument("<prompt>", "what to draw", text("a prompt"))
        .option("-n, --count <n>", "candidates to draw", integer(1, 10_000), 16)
        .option("--keep <n>", "how many of the best to mark as kept (default: 4)", integer(1, 10_000))
        .option(
          "--seed <n>",
          "seed of the first candidate; the others follow (default: random)",
          integer(0, 2 ** 32 - 2),
        )
        .option("--negative <text>", "what not to draw")
        .option("--steps <n>", "sampling steps (default: the model's)", integer(1, 1000))
        .option("--guidance <x>", "classifier-free guidance; 1 is none (default: the model's)", number(0, 100))
        .option("--sampler <name>", "ddpm, ddim, euler or dpmpp-2m (default: the model's)", text("a sampler's name"))
        .option("--width <pixels>", "width of the pictures (default: the model's)", integer(8, 4096))
        .option("--height <pixels>", "height of the pictures (default: the model's)", integer(8, 4096))
        .option("--batch <n>", "candidates drawn together (default: by size)", integer(1, 1024))
        .option("--model <dir>", "Stable Diffusion in diffusers layout (default: the demo model)", text("a folder"))
        .option(
          "--reward-model <path>",
          "ImageReward file or folder (default: the demo model)",
          text("a file or folder"),
        )
        .option(...OUT)
        .option(...OUTPUT_OPTIONS.durable)
        .option(...OUTPUT_OPTIONS.json)
        .option(...OUTPUT_OPTIONS.quiet)
        .addHelpText(
          "after",
          `
Examples:
  laurel generate "a red circle above a blue square"
  laurel generate "a small green triangle" -n 64 --keep 8 --seed 7
  laurel generate "a yellow square on a black background" --steps 30 --guidance 4 --json | jq .best.path
  laurel generate "a lighthouse at dusk" --model ~/models/stable-diffusion-v1-5 --reward-model ~/models/ImageReward.pt`,
        ),
    load: async () => (await import("./commands/generate.js")).generate,
  },
  score: {
    summary: "score images against a prompt and rank them",
    configure: (command) =>
      command
        .argument("<prompt>", "what the images should show", text("a prompt"))
        .argument("<image...>", "files, folders (searched through) or quoted globs")
        .option(
          "--reward-model <path>",
          "ImageReward file or folder (default: the demo model)",
          text("a file or folder"),
        )
        .option(...OUTPUT_OPTIONS.json)
        .option(...OUTPUT_OPTIONS.quiet)
        .addHelpText(
          "after",
          `
Examples:
  laurel score "a red circle above a blue square" first.png second.jpg
  laurel score "a red circle above a blue square" outputs/20261122-183301-a-red-circle-9f3a/images
  laurel score "a lighthouse at dusk" "photos/**/*.webp" --reward-model ~/models/ImageReward.pt --json

An image that cannot be read is listed in its place, and the exit code is 4.`,
        ),
    load: async () => (await import("./commands/score.js")).score,
  },
  resume: {
    summary: "finish a run that was cancelled or killed",
    configure: (command) =>
      command
        .argument("<run>", "the run's folder, or its run.json", text("a run"))
        .option(...OUTPUT_OPTIONS.durable)
        .option(...OUTPUT_OPTIONS.json)
        .option(...OUTPUT_OPTIONS.quiet)
        .addHelpText(
          "after",
          `
Examples:
  laurel resume outputs/20261122-183301-a-red-circle-9f3a

What is there is kept; the result is the one an undisturbed run gives.`,
        ),
    load: async () => (await import("./commands/resume.js")).resume,
  },
  rerun: {
    summary: "do a run again, with the same seeds, settings and models",
    configure: (command) =>
      command
        .argument("<run.json>", "the manifest of a run, or its folder", text("a run.json"))
        .option(...OUT)
        .option(...OUTPUT_OPTIONS.durable)
        .option(...OUTPUT_OPTIONS.json)
        .option(...OUTPUT_OPTIONS.quiet)
        .addHelpText(
          "after",
          `
Examples:
  laurel rerun outputs/20261122-183301-a-red-circle-9f3a/run.json

The new images are compared with those of the old run, if they are still there; the exit code is 6 when any differs.`,
        ),
    load: async () => (await import("./commands/rerun.js")).rerun,
  },
  "demo evaluate": {
    summary: "measure the demo models on held-out prompts against the truth",
    configure: (command) =>
      command
        .option(
          "--models <dir>",
          "folder with the three demo models (default: those that ship inside)",
          text("a folder"),
        )
        .option("--prompts <n>", "held-out prompts", integer(1, 10_000), 200)
        .option("--images <n>", "pictures per prompt", integer(1, 1000), 16)
        .option("--renders <n>", "renderings for the autoencoder and the oracle", integer(1, 100_000), 1000)
        .option("--steps <n>", "sampling steps (default: the model's)", integer(1, 1000))
        .option("--guidance <x>", "classifier-free guidance (default: the model's)", number(0, 100))
        .option("--sampler <name>", "ddpm, ddim, euler or dpmpp-2m (default: the model's)", text("a sampler's name"))
        .option("--sweep", "compare sampling settings instead, one JSON line each")
        .option(...OUTPUT_OPTIONS.json)
        .option(...OUTPUT_OPTIONS.quiet)
        .addHelpText(
          "after",
          `
Examples:
  laurel demo evaluate
  laurel demo evaluate --prompts 20 --images 4 --json`,
        ),
    load: async () => (await import("./commands/demo-evaluate.js")).demoEvaluate,
  },
  "demo train": {
    summary: "train a network of the demo world",
    configure: (command) =>
      command
        .argument("<stage>", "autoencoder, denoiser, reward or judge, in this order", text("a stage"))
        .option(
          "--out <dir>",
          "folder for the models, checkpoints and logs",
          text("a folder"),
          join("outputs", "demo-training"),
        )
        .option(
          "--from <dir>",
          "go on from the weights of these demo models (default: fresh weights, shipped architecture)",
          text("a folder"),
        )
        .option("--config <file>", "settings, YAML or JSON (default: those that ship inside)", text("a file"))
        .option("--minutes <n>", "train for about this long instead of the settings' steps", number(0.1, 100_000))
        .option("--steps <n>", "train this many steps instead", integer(1, 1_000_000_000))
        .option("--resume", "go on from the checkpoint in --out")
        .option("--threads <n>", "threads (default: the physical cores)", integer(1, 1024))
        .option(...OUTPUT_OPTIONS.json)
        .option(...OUTPUT_OPTIONS.quiet)
        .addHelpText(
          "after",
          `
Examples:
  laurel demo train autoencoder --minutes 60
  laurel demo train denoiser --resume
  laurel demo train reward --from models/demo --minutes 10

Ctrl-C stops after the current step and leaves a checkpoint for --resume.`,
        ),
    load: async () => (await import("./commands/demo-train.js")).demoTrain,
  },
};
