/** @file `laurel demo evaluate`: measures the demo models on held-out prompts against the oracle. */

import { join, resolve } from "node:path";
import { evaluationPrompts } from "../../demo/dataset.js";
import type { DiffusionRequest } from "../../diffusion/request.js";
import { openStableDiffusion } from "../../diffusion/stable-diffusion.js";
import { EXIT } from "../../errors.js";
import { EMBEDDED_MODELS } from "../../pipeline/package-info.js";
import { openClipScore } from "../../rewards/clip-score.js";
import { openImageReward } from "../../rewards/image-reward.js";
import { openDevice } from "../../runtime/device.js";
import type { DemoFigures } from "../../training/demo-figures.js";
import { demoFigures } from "../../training/demo-figures.js";
import { autoencoderFigures, judgeDemoImages, oracleFigures } from "../../training/evaluate-demo.js";
import type { Interval } from "../../util/statistics.js";
import type { Action, CommandContext } from "../context.js";
import { printJson, table } from "../output.js";
import { openProgress } from "../progress.js";
import type { DemoEvaluateFlags } from "./demo-evaluate.entry.js";

/** Settings that `--sweep` tries. */
const SWEEP: readonly Pick<DiffusionRequest, "steps" | "guidance" | "sampler">[] = [
  ...[1.5, 2, 3, 4, 5].map((guidance) => ({ sampler: "dpmpp-2m", steps: 20, guidance })),
  ...[10, 15, 30].map((steps) => ({ sampler: "dpmpp-2m", steps, guidance: 3 })),
  ...["ddim", "euler", "ddpm"].map((sampler) => ({ sampler, steps: 30, guidance: 3 })),
];
/** A sweep looks at alignment alone, so that fewer pictures do. */
const SWEEP_SIZE = { prompts: 64, imagesPerPrompt: 4 };

/** Prints a table, or with `--json` one object with every figure and its 95 % interval. */
export const demoEvaluate: Action<DemoEvaluateFlags> = async (context, _, flags) => {
  const { signal } = context;
  const models = flags.models === undefined ? undefined : resolve(flags.models);
  const folder = (name: string, embedded: string): string => (models === undefined ? embedded : join(models, name));
  const device = openDevice({ executionProvider: flags.device });
  try {
    const generator = folder("stable-diffusion", EMBEDDED_MODELS.generator);
    const diffusion = await openStableDiffusion(generator, device);
    if (flags.sweep === true) {
      for (const settings of SWEEP) {
        const judged = await judgeDemoImages({ diffusion, rewards: [], ...SWEEP_SIZE, settings, signal });
        const { single, singleTwoShapes } = demoFigures(judged);
        context.terminal.stdout.write(`${JSON.stringify({ ...settings, single, singleTwoShapes })}\n`);
      }
      return EXIT.ok;
    }
    const rewards = [
      await openImageReward(folder("image-reward", EMBEDDED_MODELS.reward), device),
      await openClipScore(folder("clip", EMBEDDED_MODELS.judge), device),
    ];
    const settings = { steps: flags.steps, guidance: flags.guidance, sampler: flags.sampler };
    const progress = await openProgress(context.terminal, { quiet: flags.quiet, unit: "pictures" });
    const total = flags.prompts * flags.images;
    const judged = await judgeDemoImages({
      diffusion,
      rewards,
      prompts: flags.prompts,
      imagesPerPrompt: flags.images,
      settings,
      signal,
      onProgress: (prompts) => progress.update({ finished: prompts * flags.images, total }),
    }).finally(() => progress.stop());
    const figures = demoFigures(judged);
    const autoencoder = await autoencoderFigures(generator, device, flags.renders, signal);
    const oracle = oracleFigures(flags.renders);
    const used = diffusion.resolve({ ...settings, prompt: "a red circle", seed: 0 }).request;
    const result = {
      schemaVersion: 1,
      settings: { sampler: used.sampler, steps: used.steps, guidance: used.guidance },
      distinctPrompts: new Set(evaluationPrompts(flags.prompts)).size,
      ...figures,
      autoencoder,
      oracle,
    };
    if (flags.json === true) printJson(context.terminal, result);
    else
      printFigures(context, figures, [
        ["autoencoder PSNR, dB", decibels(autoencoder.psnr)],
        ["autoencoder, oracle reads every fact", percent(autoencoder.oracleAgreement)],
        ["oracle on renders", percent(oracle.plain)],
        ["oracle on renders with noise", percent(oracle.noise)],
        ["oracle on blurred renders", percent(oracle.blur)],
      ]);
    return EXIT.ok;
  } finally {
    await device.close();
  }
};

function printFigures(
  { terminal }: CommandContext,
  figures: DemoFigures,
  more: readonly (readonly [string, string])[],
): void {
  const rows: (readonly [string, string])[] = [
    ["single image, all stated facts hold", percent(figures.single)],
    ["  one shape", percent(figures.singleOneShape)],
    ["  two shapes and a relation", percent(figures.singleTwoShapes)],
    ["  unreadable", percent(figures.unreadable)],
    [`oracle's best of ${figures.imagesPerPrompt}`, percent(figures.oracleBestOfN)],
  ];
  for (const [name, reward] of Object.entries(figures.rewards)) {
    rows.push([`${name}: best of ${figures.imagesPerPrompt}`, percent(reward.bestOfN)]);
    rows.push([`  share of the oracle's gain`, percent(reward.captured)]);
    rows.push([`  pair accuracy`, percent(reward.pairAccuracy)]);
  }
  terminal.stdout.write(table([{ title: "figure" }, { title: "value (95 % interval)" }], [...rows, ...more]));
}

function percent({ estimate, low, high }: Interval): string {
  return `${(100 * estimate).toFixed(1)} % (${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)})`;
}

function decibels({ estimate, low, high }: Interval): string {
  return `${estimate.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}
