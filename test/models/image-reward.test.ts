import { beforeAll, describe, expect, it } from "vitest";
import { graph } from "#laurel/graph/builder";
import type { Graph } from "#laurel/graph/types";
import { buildImageReward, IMAGE_REWARD_IGNORED_KEYS, imageRewardConfig } from "#laurel/models/image-reward";
import type { ImageRewardConfig } from "#laurel/models/image-reward";
import { rootScope } from "#laurel/nn/scope";
import type { NetworkMode } from "#laurel/nn/scope";
import { int64 } from "#laurel/tensor/tensor";
import type { Tensor } from "#laurel/tensor/tensor";
import { compile, expectIndependentRows, feedsOf, inputLike, openGolden, relativeError, take } from "./harness.js";
import type { Compiled, Golden } from "./harness.js";
import { changed, expectDetected } from "./mutations.js";

const MODES: NetworkMode[] = ["inference", "training"];

describe.each(["image-reward", "image-reward-heads"])("ImageReward %s", (name) => {
  let golden: Golden;
  let config: ImageRewardConfig;
  let med: Record<string, unknown>;
  const shapes = (): Map<string, readonly number[]> =>
    new Map([...golden.source.entries].map(([key, entry]) => [key, entry.shape]));
  beforeAll(async () => {
    golden = await openGolden(name);
    med = (await golden.json("med_config.json")) as Record<string, unknown>;
    config = imageRewardConfig(shapes(), med, await golden.json("config.json").catch(() => undefined), name);
  });
  const build = (mode: NetworkMode, used: ImageRewardConfig): Graph => {
    const inputs = {
      pixels: inputLike(golden, "pixels"),
      ids: inputLike(golden, "ids"),
      mask: inputLike(golden, "mask"),
    };
    return graph(name, { score: buildImageReward(rootScope({ mode }), used, inputs) });
  };
  const compiled = (
    mode: NetworkMode,
    used: ImageRewardConfig,
    replace?: ReadonlyMap<string, Tensor>,
  ): Promise<Compiled> =>
    compile(build(mode, used), golden.source, { ignore: IMAGE_REWARD_IGNORED_KEYS, ...(replace && { replace }) });
  const error = async (network: Compiled, feeds = feedsOf(golden)): Promise<number> =>
    relativeError((await network.run(feeds)).score, take(golden.tensors, "out.score"));

  it.each(MODES)("computes what the released modules compute (%s)", async (mode) => {
    expect(await error(await compiled(mode, config))).toBeLessThan(1e-5);
  });

  it("gives an image the same bits whatever its batch mates", async () => {
    for (const mode of MODES) {
      await expectIndependentRows(await compiled(mode, config), feedsOf(golden));
    }
  });

  it("is told apart from a network with other heads, mask, class token or positions", async () => {
    const { vision, text } = config;
    const configs: Record<string, ImageRewardConfig> = {
      "vision heads": { ...config, vision: { ...vision, heads: vision.heads * 2 } },
      "text heads": { ...config, text: { ...text, heads: text.heads * 2 } },
      "text epsilon": { ...config, text: { ...text, epsilon: 0.1 } },
      "score mean": { ...config, scoreMean: 0 },
    };
    for (const [what, used] of Object.entries(configs)) {
      await expectDetected(what, async () => error(await compiled("inference", used)));
    }
    const mask = take(golden.tensors, "in.mask");
    const ones = int64(mask.shape, new Array<number>(mask.data.length).fill(1));
    for (const mode of MODES) {
      await expectDetected("mask", async () => error(await compiled(mode, config), { ...feedsOf(golden), mask: ones }));
    }
    const keys = [
      "visual_encoder.cls_token",
      "visual_encoder.pos_embed",
      "text_encoder.embeddings.position_embeddings.weight",
    ];
    for (const key of keys.map((local) => `blip.${local}`)) {
      const replace = await changed(golden, key);
      await expectDetected(key, async () => error(await compiled("inference", config, replace)));
    }
  });

  it("reads its sizes from the checkpoint", () => {
    const expected = {
      "image-reward": {
        vision: { imageSize: 32, patchSize: 8, width: 128, inner: 512, layers: 2, heads: 2 },
        maxTextLength: 20,
      },
      "image-reward-heads": {
        vision: { imageSize: 24, patchSize: 8, width: 48, inner: 192, layers: 2, heads: 4 },
        maxTextLength: 9,
      },
    }[name];
    expect(config.vision).toEqual(expected?.vision);
    expect(config.maxTextLength).toBe(expected?.maxTextLength);
    expect(config.head).toEqual([0, 2, 4, 6, 7].map((index, at) => ({ index, width: [1024, 128, 64, 16, 1][at] })));
    expect(config.scoreStd).toBe(1.0333394966054072);
  });

  it("is refused when med_config.json disagrees with the tensors", () => {
    const parse = (change: object): unknown => imageRewardConfig(shapes(), { ...med, ...change }, undefined, "IR.pt");
    expect(() => parse({ hidden_size: 768 })).toThrow(
      /IR\.pt: med_config\.json: hidden_size: expected \d+ as in the checkpoint, got 768/,
    );
    expect(() => parse({ hidden_act: "mish" })).toThrow(/hidden_act: expected one of .*, got "mish"/);
    expect(() => parse({ add_cross_attention: false })).toThrow(/add_cross_attention/);
    expect(() => imageRewardConfig(new Map(), med, undefined, "IR.pt")).toThrow(
      /IR\.pt: not an ImageReward checkpoint: blip\.visual_encoder/,
    );
  });
});
