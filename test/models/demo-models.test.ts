/** @file The shipped models: every tensor of every file is used, and nothing is missing. */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { graph, input } from "#laurel/graph/builder";
import type { Dim, Value } from "#laurel/graph/types";
import { autoencoderFactor, buildDecoder, buildEncoder, parseAutoencoderConfig } from "#laurel/models/autoencoder-kl";
import {
  buildClipImageEmbedding,
  buildClipTextEmbedding,
  CLIP_IGNORED_KEYS,
  clipLogitScale,
  parseClipConfig,
} from "#laurel/models/clip";
import { buildClipText, CLIP_TEXT_IGNORED_KEYS, parseClipTextConfig } from "#laurel/models/clip-text";
import { buildImageReward, IMAGE_REWARD_IGNORED_KEYS, imageRewardConfig } from "#laurel/models/image-reward";
import { buildUnet, parseUnetConfig } from "#laurel/models/unet-2d-condition";
import { rootScope } from "#laurel/nn/scope";
import { float32, int64, elementCount } from "#laurel/tensor/tensor";
import type { Tensor } from "#laurel/tensor/tensor";
import { openWeights } from "#laurel/weights/open";
import { compile } from "./harness.js";

const ROOT = fileURLToPath(new URL("../../models/demo", import.meta.url));
const SCOPE = (): ReturnType<typeof rootScope> => rootScope({ mode: "inference" });
const json = async (file: string): Promise<unknown> => JSON.parse(await readFile(`${ROOT}/${file}`, "utf8"));
const floats = (name: string, ...shape: number[]): Value => input(name, "float32", ["N", ...shape] as Dim[]);
const ids = (name: string, length: number): Value => input(name, "int64", ["N", length]);

/** Compiles strictly and runs a batch of two that are not equal; every output must be finite. */
async function expectRuns(
  folder: string,
  outputs: Record<string, Value>,
  ignore: readonly RegExp[] = [],
): Promise<void> {
  const network = graph(folder, outputs);
  const compiled = await compile(network, await openWeights(`${ROOT}/${folder}`), { ignore });
  const feeds = [...network.inputs].map(([name, { dtype, shape }]): [string, Tensor] => {
    const sizes = [2, ...shape.slice(1).map(Number)];
    const count = elementCount(sizes);
    const values = Array.from({ length: count }, (_, index) => (dtype === "int64" ? index % 7 : Math.sin(index)));
    return [name, dtype === "int64" ? int64(sizes, values) : float32(sizes, values)];
  });
  for (const [name, value] of Object.entries(await compiled.run(Object.fromEntries(feeds)))) {
    const finite = Array.from(value.data as Float32Array).every(Number.isFinite);
    expect(finite, `${folder}: ${name}`).toBe(true);
  }
}

describe("the shipped models", () => {
  it("text encoder", async () => {
    const config = parseClipTextConfig(
      await json("stable-diffusion/text_encoder/config.json"),
      "text_encoder/config.json",
    );
    const outputs = buildClipText(SCOPE(), config, ids("ids", config.maxPositions));
    await expectRuns("stable-diffusion/text_encoder", { ...outputs }, CLIP_TEXT_IGNORED_KEYS);
  });

  it("denoiser", async () => {
    const config = parseUnetConfig(await json("stable-diffusion/unet/config.json"), "unet/config.json");
    const side = config.sampleSize ?? 8;
    const sample = floats("sample", config.inChannels, side, side);
    const inputs = {
      sample,
      timestep: floats("timestep"),
      encoderHiddenStates: floats("states", 32, config.crossAttentionWidth),
    };
    await expectRuns("stable-diffusion/unet", { prediction: buildUnet(SCOPE(), config, inputs) });
  });

  it("autoencoder", async () => {
    const config = parseAutoencoderConfig(await json("stable-diffusion/vae/config.json"), "vae/config.json");
    const side = 64 / autoencoderFactor(config);
    const scope = SCOPE();
    const posterior = buildEncoder(scope, config, floats("pixels", 3, 64, 64));
    const image = buildDecoder(scope, config, floats("latents", config.latentChannels, side, side));
    await expectRuns("stable-diffusion/vae", { ...posterior, image });
  });

  it("reward", async () => {
    const source = await openWeights(`${ROOT}/image-reward/ImageReward.safetensors`);
    const shapes = new Map([...source.entries].map(([key, entry]) => [key, entry.shape]));
    const own = await json("image-reward/config.json").catch(() => undefined);
    const config = imageRewardConfig(shapes, await json("image-reward/med_config.json"), own, "image-reward");
    const { imageSize } = config.vision;
    const [words, mask] = [ids("ids", config.maxTextLength), ids("mask", config.maxTextLength)];
    const inputs = { pixels: floats("pixels", 3, imageSize, imageSize), ids: words, mask };
    await expectRuns(
      "image-reward/ImageReward.safetensors",
      { score: buildImageReward(SCOPE(), config, inputs) },
      IMAGE_REWARD_IGNORED_KEYS,
    );
  });

  it("dual encoder", async () => {
    const config = parseClipConfig(await json("clip/config.json"), "clip/config.json");
    const scope = SCOPE();
    const { imageSize } = config.vision;
    const outputs = {
      text: buildClipTextEmbedding(scope, config, ids("ids", config.text.maxPositions)),
      image: buildClipImageEmbedding(scope, config, floats("pixels", 3, imageSize, imageSize)),
      scale: clipLogitScale(scope),
    };
    await expectRuns("clip", outputs, CLIP_IGNORED_KEYS);
  });
});
