/** @file The gradient of ImageReward's score with respect to the pixels, beside PyTorch's autograd. */

import { join } from "node:path";
import { openImageReward } from "../../dist/rewards/image-reward.js";
import { report } from "../measure.js";
import {
  finish,
  fromMessage,
  makeFiles,
  OPTIONS,
  peakOf,
  PROMPT,
  randomTensor,
  reportParity,
  reportRatio,
  takeTurns,
  timed,
  toMessage,
  withBoth,
} from "./setup.js";

export { finish };
export const options = OPTIONS;

const NAME = "ImageReward's gradient with respect to the pixels of one picture";

export async function run(flags) {
  await makeFiles(flags);
  const pixels = randomTensor(4, [1, 3, 224, 224]);
  await withBoth(flags, "reward", async (device, peer) => {
    const reward = await openImageReward(join(flags.folder, "image-reward"), device);
    let [ours, theirs] = [];
    const seconds = await takeTurns(Number(flags.rounds ?? 7), {
      pytorch: async (round) => {
        const answer = await peer.ask({ way: "gradient", pixels: toMessage(pixels), fetch: round === 0 });
        if (round === 0) theirs = fromMessage(answer.output);
        return answer.seconds;
      },
      laurel: (round) =>
        timed(async () => {
          const { gradient } = await reward.gradient(PROMPT, pixels);
          if (round === 0) ours = gradient.data;
        }),
    });
    reportRatio(NAME, seconds.pytorch, seconds.laurel, 1, { threads: device.threads });
    reportParity(NAME, ours, theirs);
    const [memory, facts] = [peakOf(device), await peer.ask({ facts: true })];
    report(`${NAME}, peak memory / PyTorch's`, memory.peak / facts.peakRssMB, "of 1", null, {
      ...memory,
      pytorch: facts.peakRssMB,
    });
  });
}
