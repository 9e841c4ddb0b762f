/** @file `laurel generate`: candidates for a prompt, drawn by a strategy. */

import { MAX_CANDIDATES, MAX_SEED } from "../../backends/contract.js";
import { UsageError } from "../../errors.js";
import { isTransparent, toRgb } from "../../image/convert.js";
import { decodeImageFile } from "../../image/decode.js";
import type { RgbImage } from "../../image/types.js";
import { candidatesFor, type Spending } from "../../library/run-budget.js";
import { startRun } from "../../library/runs.js";
import { parseBudget } from "../../strategies/budget.js";
import { parseStrategy } from "../../strategies/settings.js";
import { parseLora } from "../../weights/lora/spec.js";
import type { Action } from "../context.js";
import { judgesOf } from "../judges.js";
import type { GenerateFlags } from "./generate.entry.js";
import { generatorOf } from "./generator.js";
import { printResult, withModels, workOn } from "./run-command.js";

/** @throws UsageError before any model is opened, as far as the options alone tell. */
export const generate: Action<GenerateFlags> = async (context, [prompt = ""], flags) => {
  const spending = spendingOf(flags);
  checkFlags(flags, candidatesFor({ ...spending, seed: flags.seed }));
  const sources = { ...(await generatorOf(flags)), ...judgesOf(flags) };
  const init = await readPicture(flags.init);
  const mask = await readPicture(flags.mask);
  return withModels(context, sources, async (models) => {
    const { keep, diverse, seed, negative: negativePrompt, steps, guidance, sampler, width, height, batch } = flags;
    const request = {
      prompt,
      negativePrompt,
      keep,
      diverse,
      seed,
      steps,
      guidance,
      sampler,
      width,
      height,
      batch,
      ...spending,
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

/** How much is drawn, and how. @throws UsageError for options that do not go together, or a strategy or a budget that is none */
function spendingOf(flags: GenerateFlags): Spending {
  const { count, strategy, budget: text, untilScore, untilImages } = flags;
  const { candidates, ...limits } = text === undefined ? {} : parseBudget(text, "--budget");
  if (count !== undefined && candidates !== undefined && count !== candidates)
    throw new UsageError(`--budget: expected the ${count} candidates of -n, or none beside it, got ${candidates}`);
  if (candidates !== undefined && candidates > MAX_CANDIDATES)
    throw new UsageError(`--budget: expected at most ${MAX_CANDIDATES} candidates, got ${candidates}`);
  if (untilImages !== undefined && untilScore === undefined)
    throw new UsageError("--until-images: expected together with --until-score, got it alone");
  const until = untilScore === undefined ? undefined : { score: untilScore, images: untilImages ?? 1 };
  return {
    count: count ?? candidates,
    strategy: strategy === undefined ? undefined : parseStrategy(strategy, "--strategy"),
    budget: { ...limits, until },
  };
}

function checkFlags(flags: GenerateFlags, count: number): void {
  const { keep, seed, init, mask, strength, loraAnneal, untilImages } = flags;
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
  if (untilImages !== undefined && untilImages > count) {
    throw new UsageError(`--until-images: expected at most the ${count} candidates of -n, got ${untilImages}`);
  }
  if (seed !== undefined && seed + count - 1 > MAX_SEED) {
    throw new UsageError(
      `--seed: expected at most ${MAX_SEED - count + 1}, so that ${count} candidates have a seed each, got ${seed}`,
    );
  }
}
