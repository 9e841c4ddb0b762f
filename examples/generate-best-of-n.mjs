/**
 * @file Draws sixteen candidates for a prompt, lets the reward rank them, and saves the best one and a sheet of all.
 *
 *     node examples/generate-best-of-n.mjs [folder]
 *
 * The pictures go to `folder`; without one, to a temporary folder that is removed at the end.
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { contactSheet, encodePng, generate, openBackend, openDevice, openReward } from "laurel";

const folder = process.argv[2] ?? (await mkdtemp(join(tmpdir(), "laurel-example-")));
const prompt = "a red circle above a blue square";

// The device is a child process that computes; both models share it. Without a path, the demo models that ship inside are opened;
// openBackend(device, "models/stable-diffusion-v1-5") and openReward(device, "models/ImageReward.pt") open yours.
const device = openDevice();
const backend = await openBackend(device);
const reward = await openReward(device);

const { candidates, best, evaluations, warnings } = await generate(
  { backend, reward },
  { prompt, count: 16, seed: 1 },
  { onCandidate: ({ seed }, score) => console.error(`seed ${seed}: ${score?.toFixed(3)}`) },
);
await device.close();

for (const warning of warnings) console.error(`warning: ${warning}`);
for (const { rank, seed, score } of candidates.slice(0, 4))
  console.log(`${rank}. seed ${seed}, score ${score?.toFixed(3)}`);
console.log(`${candidates.length} candidates took ${evaluations} evaluations of the denoiser`);

if (best === undefined) throw new Error("expected at least one candidate");
await writeFile(join(folder, "best.png"), await encodePng(best.image));
const images = candidates.map(({ image }) => image);
const labels = candidates.map(({ rank, score }) => `${rank}  ${score?.toFixed(2)}`);
await writeFile(join(folder, "all.png"), await contactSheet(images, { columns: 4, labels, highlighted: new Set([0]) }));
console.log(`best.png is ${best.image.width} x ${best.image.height} pixels; best.png and all.png are in ${folder}`);
if (process.argv[2] === undefined) await rm(folder, { recursive: true });
