import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { parseAutoencoderConfig } from "#laurel/models/autoencoder-kl";
import { parseClipConfig } from "#laurel/models/clip";
import { parseClipTextConfig } from "#laurel/models/clip-text";
import type { ImageRewardConfig } from "#laurel/models/image-reward";
import { parseUnetConfig } from "#laurel/models/unet-2d-condition";
import { openDevice } from "#laurel/runtime/device";
import { createAlphaBars } from "#laurel/samplers/noise-schedule";
import { parseSchedulerConfig } from "#laurel/samplers/scheduler-config";
import { float32 } from "#laurel/tensor/tensor";
import type { Tensor } from "#laurel/tensor/tensor";
import { TorchGenerator } from "#laurel/tensor/random";
import { openBertTokenizer } from "#laurel/tokenizers/bert";
import { openClipTokenizer } from "#laurel/tokenizers/clip";
import { judge } from "#laurel/demo/oracle";
import { parseDescription } from "#laurel/demo/grammar";
import {
  cropped,
  foregroundWeights,
  imageTensor,
  rankedPair,
  sampleRandom,
  trainingSample,
} from "#laurel/training/demo-samples";
import type { Recipe } from "#laurel/training/loop";
import { train } from "#laurel/training/loop";
import { autoencoderRecipe, foldLatentScale } from "#laurel/training/recipes/autoencoder";
import { denoiserRecipe, noisyTarget } from "#laurel/training/recipes/denoiser";
import { judgeRecipe } from "#laurel/training/recipes/judge";
import { rewardRecipe } from "#laurel/training/recipes/reward";

const device = openDevice({ threads: 1 });
afterAll(() => device.close());

const demo = (path: string): string => fileURLToPath(new URL(`../../models/demo/${path}`, import.meta.url));
const optimizer = { schedule: { type: "constant", learningRate: 8e-3, warmupSteps: 3 }, clipNorm: 1 } as const;

/** Two levels, a few channels: seconds of training. */
const autoencoder = parseAutoencoderConfig(
  {
    block_out_channels: [4, 8, 8],
    down_block_types: Array(3).fill("DownEncoderBlock2D"),
    up_block_types: Array(3).fill("UpDecoderBlock2D"),
    norm_num_groups: 4,
    mid_block_add_attention: false,
    scaling_factor: 1,
  },
  "tiny autoencoder",
);
const unet = parseUnetConfig(
  {
    sample_size: 8,
    block_out_channels: [8, 16],
    down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"],
    layers_per_block: 1,
    attention_head_dim: 2,
    cross_attention_dim: 16,
    norm_num_groups: 4,
  },
  "tiny unet",
);
const tower = { hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2 };

async function clipTokenizer() {
  return openClipTokenizer(demo("stable-diffusion/tokenizer"));
}

/** One batch again and again: that the loss reaches the parameters, not what so small a network can learn. */
async function lowersLoss(recipe: Recipe, factor: number): Promise<void> {
  const feeds = await recipe.batch(0, new TorchGenerator(1));
  const result = await train(device, { ...recipe, batch: () => feeds });
  expect(result.finished).toBe(true);
  expect(result.lastLoss).toBeLessThan(factor * result.firstLoss);
}

describe("recipes on tiny networks", () => {
  it("autoencoder: the loss falls", async () => {
    const settings = {
      steps: 40,
      batchSize: 4,
      divergence: 1e-4,
      foreground: 3,
      latentNoise: 0.05,
      crop: 32,
      optimizer,
    };
    await lowersLoss(autoencoderRecipe(autoencoder, settings), 0.7);
  });

  it("denoiser with text encoder: the loss falls", async () => {
    const tokenizer = await clipTokenizer();
    const generator = new TorchGenerator(0);
    const recipe = denoiserRecipe(
      {
        unet,
        text: parseClipTextConfig(
          {
            ...tower,
            vocab_size: tokenizer.vocabularySize,
            max_position_embeddings: tokenizer.maxLength,
            eos_token_id: 2,
          },
          "tiny text encoder",
        ),
        scheduler: parseSchedulerConfig({ prediction_type: "v_prediction" }, "scheduler"),
        tokenizer,
        cells: 8,
        encode: (image) =>
          Promise.resolve(
            float32([image.shape[0] as number, 4, 8, 8], generator.randn((image.shape[0] as number) * 256)),
          ),
      },
      { steps: 30, batchSize: 8, promptDropout: 0.1, optimizer },
    );
    await lowersLoss(recipe, 0.9);
  });

  it("reward: the loss falls below chance", async () => {
    const tokenizer = await openBertTokenizer(demo("image-reward"), { maxLength: 35 });
    const config: ImageRewardConfig = {
      vision: { imageSize: 64, patchSize: 16, width: 32, inner: 64, layers: 1, heads: 2 },
      text: {
        vocabulary: tokenizer.vocabularySize,
        maxPositions: 35,
        width: 32,
        inner: 64,
        layers: 1,
        heads: 2,
        activation: "gelu",
        epsilon: 1e-12,
      },
      head: [
        { index: 0, width: 16 },
        { index: 2, width: 1 },
      ],
      maxTextLength: 35,
      scoreMean: 0,
      scoreStd: 0.1,
    };
    const recipe = rewardRecipe({ config, tokenizer }, { steps: 30, batchSize: 4, optimizer });
    await lowersLoss(recipe, 0.7);
  });

  it("judge: the loss falls", async () => {
    const tokenizer = await clipTokenizer();
    const text_config = {
      ...tower,
      vocab_size: tokenizer.vocabularySize,
      max_position_embeddings: tokenizer.maxLength,
      eos_token_id: 2,
    };
    const vision_config = { ...tower, image_size: 64, patch_size: 16 };
    const config = parseClipConfig({ text_config, vision_config, projection_dim: 16 }, "tiny judge");
    const recipe = judgeRecipe({ config, tokenizer }, { steps: 30, batchSize: 8, groupSize: 4, optimizer });
    await lowersLoss(recipe, 0.8);
  });
});

describe("training material", () => {
  it("depends on the seed and the sample's number alone", () => {
    const [a, b, c] = [sampleRandom(1, 7), sampleRandom(1, 7), sampleRandom(1, 8)].map((random) =>
      trainingSample(random),
    );
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
  });

  it("ranks a true picture above one that the oracle says is false, or a sharp one above a blurred one", () => {
    let [false_, blurred] = [0, 0];
    for (let index = 0; index < 200; index++) {
      const pair = rankedPair(sampleRandom(3, index));
      const description = parseDescription(pair.prompt);
      if (description === undefined) continue; // a free phrasing, of the same description
      expect(judge(description, pair.better).verdict).toBe("holds");
      if (judge(description, pair.worse).verdict === "fails") false_++;
      else blurred++;
    }
    expect(false_).toBeGreaterThan(5 * blurred);
    expect(blurred).toBeGreaterThan(0);
  });

  it("crops at the grid and mostly around a shape", () => {
    let shown = 0;
    for (let index = 0; index < 100; index++) {
      const random = sampleRandom(4, index);
      const part = cropped(trainingSample(random), 32, random);
      expect([part.width, part.height, part.data.length]).toEqual([32, 32, 3072]);
      const weights = foregroundWeights([part], 3).data as Float32Array;
      if (weights.some((weight) => weight === 3)) shown++;
    }
    expect(shown).toBeGreaterThan(75);
  });

  it("scales pixels to [-1, 1]", () => {
    const picture = { width: 1, height: 2, data: Uint8Array.of(0, 255, 51, 255, 0, 204) };
    const values = [...imageTensor([picture]).data];
    [-1, 1, 1, -1, -0.6, 0.6].forEach((expected, i) => expect(values[i]).toBeCloseTo(expected, 6));
  });
});

describe("what the denoiser is asked for", () => {
  const alphaBars = createAlphaBars(parseSchedulerConfig({}, "scheduler"));
  const [clean, noise] = [new TorchGenerator(1).randn(32), new TorchGenerator(2).randn(32)];

  it("lets the clean latents be found again from the answer", () => {
    for (const prediction of ["epsilon", "v_prediction", "sample"] as const) {
      const { sample, target } = noisyTarget(clean, noise, [100, 900], alphaBars, prediction);
      for (let i = 0; i < 32; i++) {
        const alphaBar = alphaBars[i < 16 ? 100 : 900] as number;
        const [signal, spread] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
        const [x, answer] = [sample[i] as number, target[i] as number];
        const found = {
          epsilon: (x - spread * answer) / signal,
          v_prediction: signal * x - spread * answer,
          sample: answer,
        }[prediction];
        expect(found).toBeCloseTo(clean[i] as number, 4);
      }
    }
  });
});

describe("folding the latents' scale", () => {
  it("normalises each channel and changes no reconstruction", () => {
    // One position: quant_conv [2C, 2C], post_quant_conv [C, C] are matrices.
    const generator = new TorchGenerator(9);
    const parameters = new Map<string, Tensor>([
      ["quant_conv.weight", float32([4, 4, 1, 1], generator.randn(16))],
      ["quant_conv.bias", float32([4], generator.randn(4))],
      ["post_quant_conv.weight", float32([2, 2, 1, 1], generator.randn(4))],
      ["post_quant_conv.bias", float32([2], generator.randn(2))],
    ]);
    const [mean, std] = [
      [0.5, -2],
      [3, 0.25],
    ];
    const folded = foldLatentScale(parameters, mean, std);
    const apply = (from: ReadonlyMap<string, Tensor>, name: string, x: number[]): number[] => {
      const [weight, bias] = [from.get(`${name}.weight`)?.data, from.get(`${name}.bias`)?.data] as [
        Float32Array,
        Float32Array,
      ];
      return Array.from(bias, (b, row) =>
        x.reduce((sum, value, i) => sum + (weight[row * x.length + i] as number) * value, b),
      );
    };
    const x = [0.3, -1, 2, 0.7];
    const [before, after] = [apply(parameters, "quant_conv", x), apply(folded, "quant_conv", x)];
    for (const c of [0, 1]) {
      expect(after[c]).toBeCloseTo(((before[c] as number) - (mean[c] as number)) / (std[c] as number), 4);
      expect(after[2 + c]).toBeCloseTo((before[2 + c] as number) - 2 * Math.log(std[c] as number), 4);
    }
    const [plain, again] = [
      apply(parameters, "post_quant_conv", before.slice(0, 2)),
      apply(folded, "post_quant_conv", after.slice(0, 2)),
    ];
    plain.forEach((value, i) => expect(again[i]).toBeCloseTo(value, 4));
  });
});
