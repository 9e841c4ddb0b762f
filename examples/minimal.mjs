/** @file The shortest way from a prompt to ranked pictures and the gradient of a score; the README shows it. */

import { float32, generate, openBackend, openDevice, openReward, preprocessClip } from "laurel";

const device = openDevice();
const backend = await openBackend(device); // or openBackend(device, "models/stable-diffusion-v1-5")
const reward = await openReward(device); // or openReward(device, "models/ImageReward.pt")

const prompt = "a red circle above a blue square";
const { best, candidates } = await generate({ backend, reward }, { prompt, count: 4, seed: 1 });
for (const { rank, seed, score } of candidates) console.log(`${rank}. seed ${seed}, score ${score?.toFixed(3)}`);

if (best === undefined) throw new Error("expected a candidate");
const side = reward.imageSize;
const { gradient } = await reward.gradient(prompt, float32([1, 3, side, side], preprocessClip(best.image, side)));
console.log(`gradient of the best score: [${gradient.shape.join(", ")}]`);
await device.close();
