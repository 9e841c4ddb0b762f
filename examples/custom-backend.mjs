/**
 * @file A source of images of your own: here a painter of random shapes, from whose pictures the reward picks the one that suits the prompt.
 *
 *     node examples/custom-backend.mjs
 *
 * What draws may be anything: a renderer, a web service, a camera. It declares what it can do, and draws what a request says; asked for
 * something it cannot do, Laurel leaves it out and warns.
 */

import { checkRequest, generate, judge, openDevice, openReward, parseDescription, TorchGenerator } from "laurel";

const SIDE = 64;

/** @type {import("laurel").ImageBackend} */
const painter = {
  name: "painter",
  model: { name: "random shapes", path: undefined },
  capabilities: {
    seeds: "exact",
    cancel: "drawing",
    textToImage: true,
    imageToImage: false,
    inpainting: false,
    negativePrompt: false,
    steps: false,
    guidance: false,
    samplers: [],
    size: undefined,
    maximumBatch: 16,
  },
  defaults: {
    steps: undefined,
    guidance: undefined,
    sampler: undefined,
    width: undefined,
    height: undefined,
    batch: 16,
  },
  async *generate(request, { signal } = {}) {
    checkRequest(painter, request);
    for (let start = 0; start < request.count; start += request.batch) {
      signal?.throwIfAborted();
      const count = Math.min(request.batch, request.count - start);
      const seeds = Array.from({ length: count }, (_, i) => request.seed + start + i);
      yield { images: seeds.map((seed) => ({ seed, image: paint(seed), evaluations: 0 })), warnings: [] };
    }
  },
  dispose: async () => undefined,
};

const device = openDevice();
const reward = await openReward(device);
const prompt = "a red circle on a white background";
const { candidates, best, warnings } = await generate(
  { backend: painter, reward },
  { prompt, count: 200, seed: 0, guidance: 7.5 },
);
await device.close();

for (const warning of warnings) console.log(`warning: ${warning}`);
if (best === undefined) throw new Error("expected at least one candidate");
console.log(`best of ${candidates.length}: seed ${best.seed}, score ${best.score?.toFixed(3)}`);
const description = parseDescription(prompt);
if (description === undefined) throw new Error("expected a prompt of the demo world");
console.log(`what the prompt says ${judge(description, best.image).verdict}`);

/**
 * One small circle or square of a random colour at a random place on white, grey or black; the same seed paints the same.
 * @param {number} seed
 */
function paint(seed) {
  const random = new TorchGenerator(seed);
  const pick = (/** @type {number} */ choices) => random.randint(0, choices, 1)[0] ?? 0;
  const data = new Uint8Array(SIDE * SIDE * 3).fill([250, 128, 6][pick(3)] ?? 0);
  const colour = Array.from({ length: 3 }, () => 15 + 225 * pick(2));
  const [left, top] = [8 * pick(7), 8 * pick(7)];
  const round = pick(2) === 0;
  for (let y = 0; y < 16; y++) {
    for (let x = 0; x < 16; x++) {
      const inside = !round || Math.hypot(x - 7.5, y - 7.5) < 8;
      if (inside) data.set(colour, ((top + y) * SIDE + left + x) * 3);
    }
  }
  return { width: SIDE, height: SIDE, data };
}
