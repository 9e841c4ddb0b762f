/** @file Stable Diffusion 1.5's text encoder on 64 prompts of 77 tokens, beside transformers. */

import { join } from "node:path";
import { openModelParts } from "../../dist/diffusion/open-model.js";
import { PLAIN_TEXT } from "../../dist/diffusion/text-networks.js";
import { TorchGenerator } from "../../dist/tensor/random.js";
import {
  finish,
  fromMessage,
  makeFiles,
  OPTIONS,
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

const [PROMPTS, TOKENS, VOCABULARY] = [64, 77, 49408];
const NAME = "Stable Diffusion 1.5's text encoder, 64 prompts";

export async function run(flags) {
  await makeFiles(flags);
  const numbers = new TorchGenerator(3).randn(PROMPTS * TOKENS);
  const words = Array.from(numbers, (number) => Math.floor(Math.abs(number) * 1e6) % (VOCABULARY - 2));
  const ids = wholeNumbers([PROMPTS, TOKENS], words);
  await withBoth(flags, "text-encoder", async (device, peer) => {
    const { programs } = await openModelParts(join(flags.folder, "stable-diffusion"), device);
    const program = await programs.text(0, PLAIN_TEXT).get();
    const output = program.outputs[0].name;
    let [ours, theirs] = [];
    const seconds = await takeTurns(Number(flags.rounds ?? 5), {
      pytorch: async (round) => {
        const answer = await peer.ask({ feeds: { ids: toMessage(ids) }, fetch: round === 0 });
        if (round === 0) theirs = fromMessage(answer.output);
        return answer.seconds;
      },
      laurel: (round) =>
        timed(async () => {
          const outputs = await program.run({ ids });
          if (round === 0) ours = outputs[output].data;
        }),
    });
    reportRatio(NAME, seconds.pytorch, seconds.laurel, 1.1, { threads: device.threads });
    reportParity(NAME, ours, theirs);
  });
}
