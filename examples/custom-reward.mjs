/**
 * @file A reward of your own: here the demo world's oracle, which reads a picture back without any model, combined with ImageReward.
 *
 *     node examples/custom-reward.mjs
 *
 * A reward is a name, a range and a function from a prompt and images to scores. The score of an image must not depend on the images scored
 * beside it.
 */

import { generate, judge, openBackend, openDevice, openReward, parseDescription, toRgb, UsageError } from "laurel";

const device = openDevice();
const backend = await openBackend(device);
const imageReward = await openReward(device);

/**
 * The share of the prompt's facts that the picture shows, and a tenth of ImageReward to choose among equals.
 * @type {import("laurel").Reward}
 */
const truthful = {
  name: "truthful",
  model: { name: "oracle and ImageReward", path: undefined },
  range: [-0.25, 1.25],
  async score(prompt, images, options) {
    const description = describe(prompt);
    const liked = await imageReward.score(prompt, images, options);
    const scores = images.map((image, i) => {
      const { facts } = judge(description, toRgb(image));
      return facts.filter(({ holds }) => holds === true).length / facts.length + 0.1 * (liked.scores[i] ?? 0);
    });
    return { scores, warnings: liked.warnings };
  },
  dispose: () => imageReward.dispose(),
};

const prompt = "a pink triangle left of a cyan square on a black background";
const request = { prompt, count: 8, seed: 61 };
for (const reward of [imageReward, truthful]) {
  const { best } = await generate({ backend, reward }, request);
  if (best === undefined) throw new Error("expected at least one candidate");
  const { verdict } = judge(describe(prompt), best.image);
  console.log(`${reward.name}: seed ${best.seed}, score ${best.score?.toFixed(3)}, what the prompt says ${verdict}`);
}
await device.close();

/**
 * What a prompt says, as the oracle needs it.
 * @param {string} prompt
 */
function describe(prompt) {
  const description = parseDescription(prompt);
  if (description === undefined) throw new UsageError(`prompt: expected one of the demo world, got "${prompt}"`);
  return description;
}
