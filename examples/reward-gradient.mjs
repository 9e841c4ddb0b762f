/**
 * @file Asks the reward how each pixel matters: the gradient of a score with respect to the pixels, as a heat map, and a few steps uphill.
 *
 *     node examples/reward-gradient.mjs [folder]
 *
 * `gradient.png` shows the picture, the heat map, the picture after the steps, and what they changed. Uphill in pixels alone the score rises quickly
 * while the picture hardly changes: a reward can be fooled, which is why it guides a generator and does not replace one.
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CLIP_MEAN,
  CLIP_STD,
  contactSheet,
  float32,
  generate,
  openBackend,
  openDevice,
  openReward,
  preprocessClip,
} from "laurel";

const STEPS = 10;
/** Largest change of a pixel in one step, of 255. */
const RATE = 0.5;

const folder = process.argv[2] ?? (await mkdtemp(join(tmpdir(), "laurel-example-")));
const device = openDevice();
const backend = await openBackend(device);
const reward = await openReward(device);

const { best } = await generate(
  { backend, reward },
  { prompt: "a red circle left of a blue square", count: 4, seed: 3 },
);
if (best === undefined) throw new Error("expected at least one candidate");

// We ask about something the picture does not show.
const prompt = "a green circle left of a blue square";
const side = reward.imageSize;
const shape = [1, 3, side, side];
const start = preprocessClip(best.image, side); // [3, side, side], normalised with CLIP's mean and standard deviation
let pixels = start;
let heat = new Float32Array(0);
for (let step = 0; step <= STEPS; step++) {
  const { scores, gradient } = await reward.gradient(prompt, float32(shape, pixels));
  if (step === 0) heat = gradient.data.slice();
  console.log(`step ${step}: score ${scores[0]?.toFixed(3)}`);
  if (step === STEPS) break;
  // uphill by the sign of the gradient, inside what a picture can hold
  pixels = pixels.map((value, i) => {
    const channel = /** @type {0 | 1 | 2} */ (Math.floor(i / (side * side)));
    const [low, high] = [-CLIP_MEAN[channel] / CLIP_STD[channel], (1 - CLIP_MEAN[channel]) / CLIP_STD[channel]];
    const change = (Math.sign(gradient.data[i] ?? 0) * RATE) / 255 / CLIP_STD[channel];
    return Math.min(high, Math.max(low, value + change));
  });
}
await device.close();

const changed = pixels.map((value, i) => value - (start[i] ?? 0));
const sheet = await contactSheet([toImage(start), heatMap(heat), toImage(pixels), heatMap(changed)], {
  columns: 4,
  labels: ["picture", "gradient", `after ${STEPS} steps`, "change"],
});
await writeFile(join(folder, "gradient.png"), sheet);
console.log(`gradient.png is in ${folder}`);
if (process.argv[2] === undefined) await rm(folder, { recursive: true });

/**
 * Back from normalised values [3, side, side] to an 8-bit picture.
 * @param {Float32Array} values
 */
function toImage(values) {
  const data = Uint8Array.from({ length: values.length }, (_, i) => {
    const channel = /** @type {0 | 1 | 2} */ (i % 3);
    const value = values[channel * side * side + Math.floor(i / 3)] ?? 0;
    return Math.min(255, Math.max(0, Math.round((value * CLIP_STD[channel] + CLIP_MEAN[channel]) * 255)));
  });
  return { width: side, height: side, data };
}

/**
 * The size of values [3, side, side] over the three channels, from black over red and yellow to white.
 * @param {Float32Array} values
 */
function heatMap(values) {
  const plane = side * side;
  const sizes = Array.from({ length: plane }, (_, i) =>
    Math.hypot(values[i] ?? 0, values[plane + i] ?? 0, values[2 * plane + i] ?? 0),
  );
  const largest = Math.max(...sizes);
  const data = Uint8Array.from(
    sizes.flatMap((size) => [0, 1, 2].map((channel) => 255 * Math.min(1, Math.max(0, (3 * size) / largest - channel)))),
  );
  return { width: side, height: side, data };
}
