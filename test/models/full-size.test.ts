/** @file The released networks' tensors by name and shape, without their gigabytes. */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { graph, input } from "#laurel/graph/builder";
import type { Value } from "#laurel/graph/types";
import { buildDecoder, buildEncoder, parseAutoencoderConfig } from "#laurel/models/autoencoder-kl";
import { buildClipImageEmbedding, buildClipTextEmbedding, clipLogitScale, parseClipConfig } from "#laurel/models/clip";
import { buildClipText, parseClipTextConfig } from "#laurel/models/clip-text";
import { buildImageReward, imageRewardConfig } from "#laurel/models/image-reward";
import { buildUnet, parseUnetConfig } from "#laurel/models/unet-2d-condition";
import { rootScope } from "#laurel/nn/scope";
import type { Scope } from "#laurel/nn/scope";
import { fixture } from "./harness.js";

interface FullSize {
  readonly config: unknown;
  readonly tensors: number;
  readonly sha256: string;
  readonly shapes?: Readonly<Record<string, number[]>>;
}

const floats = (name: string, ...shape: number[]): Value => input(name, "float32", ["N", ...shape]);
const ids = (name: string, length: number): Value => input(name, "int64", ["N", length]);

const unet = (scope: Scope, { config }: FullSize): Record<string, Value> => {
  const parsed = parseUnetConfig(config, "unet");
  const encoderHiddenStates = floats("states", 77, parsed.crossAttentionWidth);
  return {
    prediction: buildUnet(scope, parsed, {
      sample: floats("sample", 4, 64, 64),
      timestep: floats("t"),
      encoderHiddenStates,
    }),
  };
};
const text = (scope: Scope, { config }: FullSize): Record<string, Value> => ({
  ...buildClipText(scope, parseClipTextConfig(config, "text"), ids("ids", 77)),
});
const NETWORKS: Record<string, (scope: Scope, found: FullSize) => Record<string, Value>> = {
  "sd1-unet": unet,
  "sd2-unet": unet,
  "sd-vae": (scope, { config }) => {
    const parsed = parseAutoencoderConfig(config, "vae");
    return {
      ...buildEncoder(scope, parsed, floats("pixels", 3, 512, 512)),
      image: buildDecoder(scope, parsed, floats("z", 4, 64, 64)),
    };
  },
  "sd1-text": text,
  "sd2-text": text,
  "clip-l14": (scope, { config }) => {
    const parsed = parseClipConfig(config, "clip");
    return {
      text: buildClipTextEmbedding(scope, parsed, ids("ids", 77)),
      image: buildClipImageEmbedding(scope, parsed, floats("pixels", 3, 224, 224)),
      scale: clipLogitScale(scope),
    };
  },
  "image-reward": (scope, { config, shapes = {} }) => {
    const parsed = imageRewardConfig(new Map(Object.entries(shapes)), config, undefined, "ImageReward.pt");
    expect(parsed).toMatchObject({
      vision: { heads: 16, imageSize: 224, layers: 24 },
      text: { heads: 12, layers: 12 },
      maxTextLength: 35,
    });
    return {
      score: buildImageReward(scope, parsed, {
        pixels: floats("pixels", 3, 224, 224),
        ids: ids("ids", 35),
        mask: ids("mask", 35),
      }),
    };
  },
};

describe("at full size", () => {
  let found: Record<string, FullSize>;
  beforeAll(async () => {
    found = (JSON.parse(await readFile(fixture("full-size.json"), "utf8")) as { networks: Record<string, FullSize> })
      .networks;
  });

  it.each(Object.keys(NETWORKS))("%s has the reference's tensors, by name and shape", (name) => {
    const expected = found[name] as FullSize;
    const outputs = NETWORKS[name]?.(rootScope({ mode: "inference" }), expected) ?? {};
    const { parameters } = graph(name, outputs);
    const lines = [...parameters].map(([key, { shape }]) => `${key} ${JSON.stringify(shape)}\n`);
    expect(lines).toHaveLength(expected.tensors);
    expect(createHash("sha256").update(lines.sort().join("")).digest("hex")).toBe(expected.sha256);
  });
});
