/** @file ImageReward of the published size, 64 pictures for one prompt, from their files to scores: image-reward's own loop, PyTorch batched by hand, and a Gemm of its shapes. */

import { join } from "node:path";
import { scoreFiles } from "../../dist/library/score-files.js";
import { openImageReward } from "../../dist/rewards/image-reward.js";
import { matrixOperations } from "../../dist/graph/operations.js";
import { openGemmPeak } from "../gemm-peak.js";
import { visionProducts, VISION_TOKENS, VISION_WIDTH } from "../image-reward-files.js";
import { median, report } from "../measure.js";
import { finish, makeFiles, OPTIONS, peakOf, PROMPT, reportRatio, takeTurns, withBoth } from "./setup.js";

export { finish };

/** Pictures in one turn. */
const TURN = 8;

export const options = OPTIONS;

export async function run(flags) {
  const pictures = await makeFiles(flags);
  const rounds = Number(flags.rounds ?? pictures.length / TURN);
  const chunk = (round) =>
    Array.from({ length: TURN }, (_, i) => pictures[((round - 1) * TURN + i + pictures.length) % pictures.length]);
  await withBoth(flags, "reward", async (device, peer) => {
    const reward = await openImageReward(join(flags.folder, "image-reward"), device, { batch: TURN });
    const flops = matrixOperations(reward.graph("inference"), { N: TURN });
    const [fractions, insides, rates, scores, theirs] = [[], [], [], [], []];
    let gemm, memory, loopMemory;
    const ask = async (way, round) => {
      const answer = await peer.ask({ way, paths: chunk(round) });
      if (round > 0 && way === "loop") theirs.push(...answer.scores);
      return answer.seconds;
    };
    const seconds = await takeTurns(rounds, {
      loop: (round) => ask("loop", round),
      batched: async (round) => {
        loopMemory ??= (await peer.ask({ facts: true })).peakRssMB;
        return ask("batched", round);
      },
      laurel: async (round) => {
        const before = round === 0 ? 0 : await gemm.flopRate(VISION_TOKENS * TURN);
        const [started, insideBefore] = [performance.now(), device.runMs];
        const { results } = await scoreFiles(reward, PROMPT, chunk(round));
        const [taken, inside] = [(performance.now() - started) / 1000, (device.runMs - insideBefore) / 1000];
        if (round === 0) {
          memory = peakOf(device);
          gemm = await openGemmPeak(device, reward.weights, VISION_WIDTH, visionProducts);
          await gemm.flopRate(VISION_TOKENS * TURN);
          return taken;
        }
        const rate = (before + (await gemm.flopRate(VISION_TOKENS * TURN))) / 2;
        fractions.push(flops / taken / rate);
        insides.push(flops / inside / rate);
        rates.push(rate);
        scores.push(...results.map(({ score }) => score));
        return taken;
      },
    });
    const facts = await peer.ask({ facts: true });
    const name = `ImageReward, ${scores.length} pictures for one prompt`;
    const details = { imagesPerSecond: TURN / median(seconds.laurel), threads: device.threads, torch: facts.torch };
    reportRatio(`${name}, image-reward's own loop`, seconds.loop, seconds.laurel, 1.25, details);
    reportRatio(`${name}, PyTorch batched by hand`, seconds.batched, seconds.laurel, 1.05, details);
    report(`${name}, FLOP/s of its products / FLOP/s of a Gemm of its shapes`, median(fractions), "of 1", ">= 0.9", {
      insideProgram: median(insides),
      rounds: fractions,
      gemmGflopPerSecond: median(rates) / 1e9,
    });
    const spread = deviation(theirs);
    const worst = Math.max(...scores.map((score, i) => Math.abs(score - theirs[i])));
    report(`${name}, largest difference from PyTorch's / the scores' deviation`, worst / spread, "of 1", "<= 1e-4", {
      spread,
    });
    report(`${name}, peak memory / that of image-reward's loop`, memory.peak / loopMemory, "of 1", "<= 0.9", {
      ...memory,
      pytorchLoop: loopMemory,
      pytorchBatched: facts.peakRssMB,
    });
  });
}

function deviation(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}
