/** @file Stable Diffusion 1.5's image decoder at 512x512, beside diffusers; what decoding in tiles takes in memory and time. */

import { join } from "node:path";
import { openModelParts } from "../../dist/diffusion/open-model.js";
import { report } from "../measure.js";
import {
  finish,
  fromMessage,
  makeFiles,
  OPTIONS,
  peakOf,
  randomTensor,
  reportParity,
  reportRatio,
  runWorker,
  takeTurns,
  timed,
  toMessage,
  withBoth,
} from "./setup.js";

export { finish };
export const options = OPTIONS;

const NAME = "Stable Diffusion 1.5's decoder at 512x512";
/** Side of a tile in pixels, as with --low-memory. */
const TILE = 256;

export async function run(flags) {
  await makeFiles(flags);
  await measureSpeed(flags);
  const [whole, tiled] = [
    await runWorker(flags, { work: "decode" }),
    await runWorker(flags, { work: "decode", tile: TILE }),
  ];
  const details = { tiled, whole, timeOfTiledByWhole: tiled.seconds / whole.seconds };
  report(`${NAME}, peak memory in tiles of ${TILE} / whole`, tiled.peak / whole.peak, "of 1", "<= 0.5", details);
}

async function measureSpeed(flags) {
  const latents = randomTensor(5, [1, 4, 64, 64]);
  await withBoth(flags, "decoder", async (device, peer) => {
    const { programs } = await openModelParts(join(flags.folder, "stable-diffusion"), device);
    const program = await programs.decoder({ width: 64, height: 64 }).get();
    let [ours, theirs] = [];
    const seconds = await takeTurns(Number(flags.rounds ?? 3), {
      pytorch: async (round) => {
        const answer = await peer.ask({ feeds: { latents: toMessage(latents) }, fetch: round === 0 });
        if (round === 0) theirs = fromMessage(answer.output);
        return answer.seconds;
      },
      laurel: (round) =>
        timed(async () => {
          const { image } = await program.run({ latents });
          if (round === 0) ours = image.data;
        }),
    });
    reportRatio(NAME, seconds.pytorch, seconds.laurel, 1.05, { threads: device.threads });
    reportParity(NAME, ours, theirs);
    const [memory, facts] = [peakOf(device), await peer.ask({ facts: true })];
    const details = { ...memory, pytorch: facts.peakRssMB };
    report(`${NAME}, peak memory / PyTorch's`, memory.peak / facts.peakRssMB, "of 1", "<= 0.9", details);
  });
}
