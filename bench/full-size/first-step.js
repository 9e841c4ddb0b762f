/** @file From the start of a process to the end of the first denoising step of Stable Diffusion 1.5 at 512x512 with guidance, beside diffusers. */

import { finish, makeFiles, OPTIONS, reportRatio, runPipeline, runWorker, takeTurns } from "./setup.js";

export { finish };
export const options = OPTIONS;

const STEPS = 20;

export async function run(flags) {
  await makeFiles(flags);
  const request = { work: "picture", steps: STEPS, until: 1 };
  const details = {};
  // a process each time: the first one of each side brings the files into the page cache
  const seconds = await takeTurns(Number(flags.rounds ?? 3), {
    pytorch: async () => (await runPipeline(flags, request)).wallSeconds,
    laurel: async () => {
      const { stepSeconds } = await runWorker(flags, request);
      return stepSeconds[0];
    },
  });
  const name = "Stable Diffusion 1.5 at 512x512, from process start to the end of the first step";
  reportRatio(name, seconds.pytorch, seconds.laurel, 1, details);
}
