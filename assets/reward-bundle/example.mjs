/** @file Raises the reward of a picture by gradient ascent. Run: node example.mjs [prompt] [steps]   (needs: npm install laurel) */

import { float32, loadReward, TorchGenerator } from "laurel";

const [prompt = "a red circle above a blue square", steps = "20"] = process.argv.slice(2);
const reward = await loadReward(import.meta.dirname);
const { picture } = reward.manifest;
const shape = picture.shape.map((size) => (typeof size === "number" ? size : 1));
const noise = new TorchGenerator(0).randn(shape.reduce((product, size) => product * size, 1));
// colours around grey; latents and normalised pixels around 0
const values = Float32Array.from(noise, (value) => (picture.name === "image" ? 0.5 + 0.05 * value : 0.5 * value));

for (let step = 0; step <= Number(steps); step++) {
  const { scores, gradient } = await reward.gradient(prompt, float32(shape, values));
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  if (step % 5 === 0 || step === Number(steps)) console.log(`step ${step}: reward ${mean.toFixed(4)}`);
  // a step of the same length in every number: the sign of the gradient
  gradient.data.forEach((slope, i) => {
    const [low, high] = picture.range ?? [-Infinity, Infinity];
    values[i] = Math.min(high, Math.max(low, (values[i] ?? 0) + 0.01 * Math.sign(slope)));
  });
}
await reward.dispose();
