/** @file `laurel generate`: best of n candidates for a prompt. */

import { MAX_SEED } from "../../backends/contract.js";
import { UsageError } from "../../errors.js";
import { isTransparent, toRgb } from "../../image/convert.js";
import { decodeImageFile } from "../../image/decode.js";
import type { RgbImage } from "../../image/types.js";
import { startRun } from "../../library/runs.js";
import { modelLocation } from "../../weights/hub/location.js";
import { parseLora } from "../../weights/lora/spec.js";
import type { Action } from "../context.js";
import { judgesOf } from "../judges.js";
import type { GenerateFlags } from "./generate.entry.js";
import { type GeneratorSources, printResult, withModels, workOn } from "./run-command.js";

/** @throws UsageError before any model is opened, as far as the options alone tell. */
export const generate: Action<GenerateFlags> = async (context, [prompt = ""], flags) => {
  checkFlags(flags);
  const sources = { ...(await generatorOf(flags)), ...judgesOf(flags) };
  const init = await readPicture(flags.init);
  const mask = await readPicture(flags.mask);
  return withModels(context, sources, async (models) => {
    const {
      count,
      keep,
      strategy,
      seed,
      negative: negativePrompt,
      steps,
      guidance,
      sampler,
      width,
      height,
      batch,
    } = flags;
    const request = {
      prompt,
      negativePrompt,
      count,
      keep,
      strategy,
      seed,
      steps,
      guidance,
      sampler,
      width,
      height,
      batch,
    };
    const { strength, promptSyntax, clipSkip, embedding: embeddings } = flags;
    const reading = { promptSyntax, clipSkip, embeddings };
    const tuning = { loras: flags.lora?.map(parseLora), loraAnneal: flags.loraAnneal };
    const pictures = { init: init?.image, mask: mask?.image, strength };
    const { backend, variant, prediction, rewards, heldOut } = sources;
    const weights = { variant, prediction };
    const asked = { ...request, ...reading, ...tuning, ...pictures, ...weights, backend, choice: { rewards, heldOut } };
    const run = await startRun(flags.out, models, asked, { durable: flags.durable });
    const noticed = [...(init?.warnings ?? []), ...(mask?.warnings ?? [])];
    if (noticed.length > 0) await run.update({ warnings: [...noticed, ...run.manifest.warnings] });
    const { result, report } = await workOn(context, run, models, flags);
    return printResult(context, result, report, flags);
  });
};

/** What is to draw. @throws UsageError for options that do not go together, or a backend that draws nothing */
async function generatorOf(flags: GenerateFlags): Promise<GeneratorSources> {
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

/** An image file as the autoencoder will see it, and what could not be taken from it. @throws UsageError */
async function readPicture(
  path: string | undefined,
): Promise<{ readonly image: RgbImage; readonly warnings: readonly string[] } | undefined> {
  if (path === undefined) return undefined;
  const source = await decodeImageFile(path);
  const transparent = isTransparent(source) ? [`${path}: its transparency is dropped; what it hid shows`] : [];
  return { image: toRgb(source), warnings: [...source.warnings, ...transparent] };
}

function checkFlags({ count, keep, seed, init, mask, strength, loraAnneal }: GenerateFlags): void {
  if (loraAnneal === 0) throw new UsageError("--lora-anneal: expected a number above 0, up to 1, got 0");
  for (const [name, value] of Object.entries({ mask, strength })) {
    if (value !== undefined && init === undefined) {
      throw new UsageError(`--${name}: expected together with --init, got it alone`);
    }
  }
  if (strength === 0) throw new UsageError("--strength: expected a number above 0, up to 1, got 0");
  if (keep !== undefined && keep > count) {
    throw new UsageError(`--keep: expected at most the ${count} candidates of -n, got ${keep}`);
  }
  if (seed !== undefined && seed + count - 1 > MAX_SEED) {
    throw new UsageError(
      `--seed: expected at most ${MAX_SEED - count + 1}, so that ${count} candidates have a seed each, got ${seed}`,
    );
  }
}
