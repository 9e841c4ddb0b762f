/** @file `laurel generate`: best of n candidates for a prompt. */

import { MAX_SEED } from "../../backends/contract.js";
import { UsageError } from "../../errors.js";
import { isTransparent, toRgb } from "../../image/convert.js";
import { decodeImageFile } from "../../image/decode.js";
import type { RgbImage } from "../../image/types.js";
import { startRun } from "../../library/runs.js";
import { parseLora } from "../../weights/lora/spec.js";
import type { Action } from "../context.js";
import { judgesOf } from "../judges.js";
import type { GenerateFlags } from "./generate.entry.js";
import { generatorOf } from "./generator.js";
import { printResult, withModels, workOn } from "./run-command.js";

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
