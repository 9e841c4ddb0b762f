import { describe, expect, it } from "vitest";
import { gradient } from "#laurel/autodiff/gradient";
import { graph } from "#laurel/graph/builder";
import type { Value } from "#laurel/graph/types";
import {
  AUTOENCODER_IGNORED_KEYS,
  buildDecoder,
  buildEncoder,
  parseAutoencoderConfig,
} from "#laurel/models/autoencoder-kl";
import {
  buildClipImageEmbedding,
  buildClipTextEmbedding,
  CLIP_IGNORED_KEYS,
  parseClipConfig,
} from "#laurel/models/clip";
import { buildClipText, CLIP_TEXT_IGNORED_KEYS, parseClipTextConfig } from "#laurel/models/clip-text";
import { buildImageReward, IMAGE_REWARD_IGNORED_KEYS, imageRewardConfig } from "#laurel/models/image-reward";
import { buildUnet, parseUnetConfig, UNET_IGNORED_KEYS } from "#laurel/models/unet-2d-condition";
import { rootScope } from "#laurel/nn/scope";
import type { NetworkMode, Scope } from "#laurel/nn/scope";
import { compile, feedsOf, inputLike, openGolden, relativeError, take } from "../models/harness.js";
import type { Golden } from "../models/harness.js";

type Values = Readonly<Record<string, Value>>;

interface Network {
  readonly name: string;
  /** Forms to test; the inference form has fused attention, which has a rule of its own. @default training */
  readonly modes?: readonly NetworkMode[];
  /** Optimisation by ONNX Runtime: off where folding thousands of nodes would take most of the time. @default all */
  readonly level?: "disabled";
  /** Float inputs to differentiate by. */
  readonly inputs: readonly string[];
  readonly others: readonly string[];
  readonly ignore: readonly RegExp[];
  build(scope: Scope, golden: Golden, inputs: Values): Promise<Values> | Values;
}

const json = (golden: Golden): Promise<unknown> => golden.json("config.json");
const unet = (name: string): Network => ({
  name,
  level: "disabled",
  inputs: ["sample", "encoderHiddenStates"],
  others: ["timestep"],
  ignore: UNET_IGNORED_KEYS,
  build: async (scope, golden, { sample, timestep, encoderHiddenStates }) => {
    const inputs = { sample, timestep, encoderHiddenStates } as Record<
      "sample" | "timestep" | "encoderHiddenStates",
      Value
    >;
    return { sample: buildUnet(scope, parseUnetConfig(await json(golden), name), inputs) };
  },
});
const autoencoder = (name: string): Network => ({
  name,
  level: "disabled",
  inputs: ["image", "latents"],
  others: [],
  ignore: AUTOENCODER_IGNORED_KEYS,
  build: async (scope, golden, { image, latents }) => {
    const config = parseAutoencoderConfig(await json(golden), name);
    return { ...buildEncoder(scope, config, image as Value), image: buildDecoder(scope, config, latents as Value) };
  },
});
const clipText = (name: string): Network => ({
  name,
  inputs: [],
  others: ["ids"],
  ignore: CLIP_TEXT_IGNORED_KEYS,
  build: async (scope, golden, { ids }) => ({
    ...buildClipText(scope, parseClipTextConfig(await json(golden), name), ids as Value),
  }),
});
const imageReward = (name: string): Network => ({
  name,
  modes: ["training", "inference"],
  inputs: ["pixels"],
  others: ["ids", "mask"],
  ignore: IMAGE_REWARD_IGNORED_KEYS,
  build: async (scope, golden, { pixels, ids, mask }) => {
    const shapes = new Map([...golden.source.entries].map(([key, entry]) => [key, entry.shape]));
    const config = imageRewardConfig(
      shapes,
      await golden.json("med_config.json"),
      await golden.json("config.json").catch(() => undefined),
      name,
    );
    return {
      score: buildImageReward(scope, config, { pixels, ids, mask } as Record<"pixels" | "ids" | "mask", Value>),
    };
  },
});
const clip: Network = {
  name: "clip",
  modes: ["training", "inference"],
  inputs: ["pixels"],
  others: ["ids"],
  ignore: [...CLIP_IGNORED_KEYS, /^logit_scale$/],
  build: async (scope, golden, { pixels, ids }) => {
    const config = parseClipConfig(await json(golden), "clip");
    return {
      image: buildClipImageEmbedding(scope, config, pixels as Value),
      text: buildClipTextEmbedding(scope, config, ids as Value),
    };
  },
};

const networks = [
  unet("tiny-sd/unet"),
  unet("unet-sd2"),
  unet("unet-small"),
  autoencoder("tiny-sd/vae"),
  autoencoder("vae-plain"),
  clipText("tiny-sd/text_encoder"),
  clipText("clip-text-sd2"),
  imageReward("image-reward"),
  imageReward("image-reward-heads"),
  clip,
];

describe.each(networks)(
  "gradients of $name",
  ({ name, modes = ["training"], level = "all" as const, inputs: floats, others, ignore, build }) => {
    it.each(modes)(
      "agree with PyTorch in float64, by inputs and by parameters (%s)",
      async (mode) => {
        const golden = await openGolden(name);
        const inputs = Object.fromEntries([...floats, ...others].map((key) => [key, inputLike(golden, key)]));
        const outputs = await build(rootScope({ mode }), golden, inputs);
        const seeds = Object.entries(outputs).map(([key, value]) => ({ value, upstream: upstreamInput(golden, key) }));
        const { parameters } = graph(name, outputsOf(outputs));
        const wanted = [...golden.tensors.keys()].filter((key) => key.startsWith("grad.")).map((key) => key.slice(5));
        const targets = wanted.map(
          (key) => (key.startsWith("in.") ? inputs[key.slice(3)] : parameters.get(key)) as Value,
        );
        const gradients = gradient(seeds, targets);
        const results = Object.fromEntries(wanted.map((key, i) => [`grad.${key}`, gradients[i] as Value]));
        const compiled = await compile(
          graph(`gradients of ${name}`, { ...outputsOf(outputs), ...results }),
          golden.source,
          { ignore, level },
        );
        const upstreams = Object.keys(outputs).map((key) => [`up.${key}`, take(golden.tensors, `up.${key}`)] as const);
        const actual = await compiled.run({ ...feedsOf(golden), ...Object.fromEntries(upstreams) });
        // A gradient that cancels to nearly nothing (a key's bias does not change a softmax) is measured against the others.
        const largest = Math.max(
          ...wanted.map((key) => magnitude(take(golden.tensors, `grad.${key}`).data as Float32Array)),
        );
        const errors = wanted.map((key) => {
          const expected = take(golden.tensors, `grad.${key}`);
          const own = magnitude(expected.data as Float32Array);
          if (own < 1e-6 * largest)
            return { key, error: magnitude(actual[`grad.${key}`]?.data as Float32Array) / largest };
          return { key, error: relativeError(actual[`grad.${key}`], expected) };
        });
        const worst = errors.reduce((a, b) => (b.error > a.error || Number.isNaN(b.error) ? b : a));
        expect(wanted.length).toBeGreaterThan(5);
        expect(worst.error, `worst: ${worst.key}`).toBeLessThan(1e-4);
      },
      180_000,
    );
  },
);

function upstreamInput(golden: Golden, key: string): Value {
  const { dtype, shape } = take(golden.tensors, `up.${key}`);
  return inputLike({ ...golden, tensors: new Map([[`in.up.${key}`, { dtype, shape } as never]]) }, `up.${key}`);
}

function outputsOf(outputs: Values): Values {
  return Object.fromEntries(Object.entries(outputs).map(([key, value]) => [`out.${key}`, value]));
}

function magnitude(data: Float32Array): number {
  return data.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
}
