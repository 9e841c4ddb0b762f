/** @file Memory while a picture of 512x512 is drawn with Stable Diffusion 1.5, as usual and with low memory, beside diffusers. */

import { report } from "../measure.js";
import { finish, makeFiles, OPTIONS, runPipeline, runWorker } from "./setup.js";

export { finish };
export const options = OPTIONS;

/** More would change the time and not the memory. */
const STEPS = 1;

export async function run(flags) {
  await makeFiles(flags);
  const draw = { work: "picture", steps: STEPS };
  const pytorch = await runPipeline(flags, { steps: STEPS, until: STEPS });
  for (const [how, lowMemory, aim] of [
    ["as usual", false, 0.9],
    ["with low memory", true, 0.6],
  ]) {
    const own = await runWorker(flags, { ...draw, lowMemory });
    const details = {
      ...own,
      pytorch: pytorch.peakRssMB,
      seconds: own.wallSeconds,
      pytorchSeconds: pytorch.wallSeconds,
    };
    const name = `Stable Diffusion 1.5, a picture of 512x512 ${how}, peak memory / diffusers'`;
    report(name, own.peak / pytorch.peakRssMB, "of 1", `<= ${aim}`, details);
  }
}
