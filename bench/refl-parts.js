/** @file What the benchmarks of fine-tuning share: a model with LoRA, its reward, and the loss of a ReFL step with random feeds. */

import { openImageReward } from "../dist/rewards/image-reward.js";
import { TorchGenerator } from "../dist/tensor/random.js";
import { float32 } from "../dist/tensor/tensor.js";
import { oneStepObjective, rewardPrefix } from "../dist/training/finetune/reward-objective.js";
import { openTunedModel } from "../dist/training/finetune/tuned-model.js";

/** ReFL's margin and scale, as `laurel train refl` takes them. */
export const HINGE = { margin: 2, scale: 1e-3 };
/** A prompt whose words the demo models and the random ones know. */
export const PROMPT = "a red circle left of a blue square";

/** A folder of networks with LoRA on the attention of the denoiser, and the reward that guides it. */
export async function openParts(device, { diffusion, judge, rank, pixels }) {
  const train = {
    kind: "lora",
    rank,
    alpha: null,
    targets: ["to_q", "to_k", "to_v", "to_out.0"],
    textEncoder: null,
  };
  const model = await openTunedModel(diffusion, { train, seed: 1 }, pixels);
  const reward = await openImageReward(judge, device);
  return { model, guides: [{ reward, weight: 1 }] };
}

/** The loss of one batch, with all LoRA matrices drawn: as they start, half of the gradients would be zero. */
export function objectiveOf({ model, guides }, batch) {
  const generator = new TorchGenerator(3);
  const drawn = ([name, { shape, data }]) => {
    const deviation = name.includes(".lora_B.") ? 0.02 : 1 / Math.sqrt(data.length / shape[0]);
    return [
      name,
      float32(
        shape,
        generator.randn(data.length).map((x) => x * deviation),
      ),
    ];
  };
  const objective = oneStepObjective(model, guides, { rows: batch, guidance: 1 }, HINGE);
  return { ...objective, parameters: new Map([...model.start].map(drawn)) };
}

/** Random latents and prompt states, late timesteps, the prompt's tokens. */
export function feedsOf({ model, guides }, batch) {
  const generator = new TorchGenerator(5);
  const random = (...shape) => float32(shape, generator.randn(shape.reduce((a, b) => a * b, 1)));
  const every = (value) => float32([batch, 1, 1, 1], new Float32Array(batch).fill(value));
  const { configs, size, tokenizer } = model;
  const prompts = Array.from({ length: batch }, () => PROMPT);
  return {
    sample: random(batch, configs.unet.inChannels, size.height, size.width),
    conditioning: random(batch, tokenizer.maxLength, configs.unet.crossAttentionWidth),
    timestep: float32([batch], new Float32Array(batch).fill(120)),
    inputScale: every(1),
    cleanSample: every(0.95),
    cleanOutput: every(-0.3),
    ...Object.assign({}, ...guides.map(({ reward }) => reward.network.textFeeds(rewardPrefix(reward), prompts).feeds)),
  };
}
