/** @file One evaluation of Stable Diffusion 1.5's denoiser for a picture of 512x512 with guidance (batch 2), beside diffusers. */

import { join } from "node:path";
import { openModelParts } from "../../dist/diffusion/open-model.js";
import { matrixOperations } from "../../dist/graph/operations.js";
import { denoiserGraph } from "../../dist/diffusion/networks.js";
import { float32 } from "../../dist/tensor/tensor.js";
import { median, report } from "../measure.js";
import {
  finish,
  fromMessage,
  makeFiles,
  OPTIONS,
  peakOf,
  randomTensor,
  reportParity,
  reportRatio,
  takeTurns,
  timed,
  toMessage,
  wholeNumbers,
  withBoth,
} from "./setup.js";

export { finish };
export const options = OPTIONS;

const SIZE = { width: 64, height: 64 };
const TOKENS = 77;
const NAME = "Stable Diffusion 1.5's denoiser at 512x512, batch 2";

export async function run(flags) {
  await makeFiles(flags);
  const sample = randomTensor(1, [2, 4, SIZE.height, SIZE.width]);
  const states = randomTensor(2, [2, TOKENS, 768]);
  const timestep = float32([2], [481, 481]);
  const theirFeeds = { sample: toMessage(sample), timestep: toMessage(timestep), states: toMessage(states) };
  await withBoth(flags, "denoiser", async (device, peer) => {
    const { programs, configs } = await openModelParts(join(flags.folder, "stable-diffusion"), device);
    const program = await programs.denoiser(SIZE, TOKENS).get();
    const compileSeconds = device.compileMs / 1000;
    const feeds = { sample, timestep, conditioning: states, row: wholeNumbers([2], [0, 1]) };
    let [ours, theirs] = [];
    const seconds = await takeTurns(Number(flags.rounds ?? 5), {
      pytorch: async (round) => {
        const answer = await peer.ask({ feeds: theirFeeds, fetch: round === 0 });
        if (round === 0) theirs = fromMessage(answer.output);
        return answer.seconds;
      },
      laurel: (round) =>
        timed(async () => {
          const { prediction } = await program.run(feeds);
          if (round === 0) ours = prediction.data;
        }),
    });
    const gflop = matrixOperations(denoiserGraph(configs.unet, SIZE, TOKENS), { N: 2, P: 2 }) / 1e9;
    const details = { gflopPerSecond: gflop / median(seconds.laurel), compileSeconds, threads: device.threads };
    reportRatio(NAME, seconds.pytorch, seconds.laurel, 1.05, details);
    reportParity(NAME, ours, theirs);
    const [memory, facts] = [peakOf(device), await peer.ask({ facts: true })];
    report(`${NAME}, peak memory / PyTorch's`, memory.peak / facts.peakRssMB, "of 1", "<= 0.9", {
      ...memory,
      pytorch: facts.peakRssMB,
    });
  });
}
