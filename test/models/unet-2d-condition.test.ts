import { beforeAll, describe, expect, it } from "vitest";
import { graph, input } from "#laurel/graph/builder";
import type { Graph, Value } from "#laurel/graph/types";
import { buildUnet, parseUnetConfig } from "#laurel/models/unet-2d-condition";
import type { UnetConfig } from "#laurel/models/unet-2d-condition";
import { rootScope } from "#laurel/nn/scope";
import type { NetworkMode } from "#laurel/nn/scope";
import type { Tensor } from "#laurel/tensor/tensor";
import { openSafetensors } from "#laurel/weights/safetensors";
import {
  compile,
  expectIndependentRows,
  feedsOf,
  inputLike,
  openGolden,
  relativeError,
  rowsOf,
  take,
} from "./harness.js";
import type { Golden } from "./harness.js";
import { changed, expectDetected } from "./mutations.js";

const MODES: NetworkMode[] = ["inference", "training"];

describe.each(["tiny-sd/unet", "unet-sd2", "unet-small", "tiny-sdxl/unet"])("UNet %s", (name) => {
  let golden: Golden;
  let config: UnetConfig;
  beforeAll(async () => {
    golden = await openGolden(name);
    config = parseUnetConfig(await golden.json("config.json"), `${name}/config.json`);
  });
  const added = (): { pooled: Value; sizes: Value } | undefined =>
    golden.tensors.has("in.pooled")
      ? { pooled: inputLike(golden, "pooled"), sizes: inputLike(golden, "sizes") }
      : undefined;
  const build = (mode: NetworkMode, used: UnetConfig): Graph => {
    const inputs = {
      added: added(),
      sample: inputLike(golden, "sample"),
      timestep: inputLike(golden, "timestep"),
      encoderHiddenStates: inputLike(golden, "encoderHiddenStates"),
    };
    return graph(name, { prediction: buildUnet(rootScope({ mode }), used, inputs) });
  };
  const error = async (mode: NetworkMode, used: UnetConfig, replace?: ReadonlyMap<string, Tensor>): Promise<number> => {
    const compiled = await compile(build(mode, used), golden.source, replace === undefined ? {} : { replace });
    return relativeError((await compiled.run(feedsOf(golden))).prediction, take(golden.tensors, "out.sample"));
  };

  it.each(MODES)("computes what diffusers computes (%s)", async (mode) => {
    expect(await error(mode, config)).toBeLessThan(1e-5);
  });

  it("cuts what comes up from below to odd sizes", async () => {
    const file = await openSafetensors(`${golden.folder}/odd.safetensors`);
    const sample = await file.read("in.sample");
    const [timestep, encoderHiddenStates] = ["timestep", "encoderHiddenStates"].map((key) =>
      inputLike(golden, key),
    ) as [Value, Value];
    const inputs = {
      sample: input("sample", "float32", ["N", ...sample.shape.slice(1)]),
      timestep,
      encoderHiddenStates,
      added: added(),
    };
    const prediction = buildUnet(rootScope({ mode: "inference" }), config, inputs);
    const compiled = await compile(graph(name, { prediction }), golden.source);
    const feeds = { ...rowsOf(feedsOf(golden), 0, 1), sample };
    expect(relativeError((await compiled.run(feeds)).prediction, await file.read("out.sample"))).toBeLessThan(1e-5);
  });

  it("gives a latent the same bits whatever its batch mates", async () => {
    for (const mode of MODES) {
      await expectIndependentRows(await compile(build(mode, config), golden.source), feedsOf(golden));
    }
  });

  it("is told apart from a network with other heads, norms or timesteps", async () => {
    const levels = config.levels.map((level) => ({
      ...level,
      heads: level.heads === 4 ? 2 : level.heads === 3 ? 1 : level.heads * 2,
    }));
    const configs: Record<string, UnetConfig> = {
      heads: { ...config, levels },
      groups: { ...config, groups: config.groups / 2 },
      flipSinToCos: { ...config, flipSinToCos: !config.flipSinToCos },
      freqShift: { ...config, freqShift: 1 - config.freqShift },
    };
    for (const [what, used] of Object.entries(configs)) {
      await expectDetected(what, () => error("inference", used));
    }
    for (const key of ["mid_block.attentions.0.norm.bias", "mid_block.resnets.1.norm2.weight"]) {
      const replace = await changed(golden, key);
      await expectDetected(key, () => error("inference", config, replace));
    }
  });
});

describe("a UNet's config.json", () => {
  const parse = (json: unknown): UnetConfig => parseUnetConfig(json, "unet/config.json");

  it("has diffusers' defaults", () => {
    const config = parse({ _class_name: "UNet2DConditionModel" });
    expect(config.levels.map(({ channels, heads, layers }) => [channels, heads, layers])).toEqual([
      [320, 8, 2],
      [640, 8, 2],
      [1280, 8, 2],
      [1280, 8, 2],
    ]);
    expect(config.levels.map(({ downAttention, upAttention }) => [downAttention, upAttention])).toEqual([
      [true, true],
      [true, true],
      [true, true],
      [false, false],
    ]);
    expect(config).toMatchObject({
      crossAttentionWidth: 1280,
      groups: 32,
      epsilon: 1e-5,
      midBlock: true,
      sampleSize: undefined,
    });
  });

  it("may ask for a condition beside the timestep, which is then needed", () => {
    const config = parse({ _class_name: "UNet2DConditionModel", time_cond_proj_dim: 256 });
    expect(config.timeConditionWidth).toBe(256);
    const inputs = {
      sample: input("sample", "float32", ["N", 4, 8, 8]),
      timestep: input("timestep", "float32", ["N"]),
      encoderHiddenStates: input("encoderHiddenStates", "float32", ["N", 7, 1280]),
    };
    const build = (timeCondition?: Value) =>
      buildUnet(rootScope({ mode: "inference" }), config, { ...inputs, timeCondition });
    expect(() => build()).toThrow("timeCondition: expected 256 channels, got no");
    const built = graph("unet", { prediction: build(input("guidance", "float32", ["N", 256])) });
    expect(built.parameters.get("time_embedding.cond_proj.weight")?.shape).toEqual([320, 256]);
  });

  it("may ask for a pooled text and sizes, whose widths make the input of their embedding", () => {
    const xl = { addition_embed_type: "text_time", addition_time_embed_dim: 256 };
    const config = parse({ ...xl, projection_class_embeddings_input_dim: 2816 });
    expect(config.addedEmbedding).toEqual({ pooledWidth: 1280, sizeChannels: 256 });
    expect(() => parse({ ...xl, projection_class_embeddings_input_dim: 1536 })).toThrow(/got 256 and 1536/);
    expect(() => parse(xl)).toThrow(/projection_class_embeddings_input_dim: expected a whole number.*got nothing/);
    expect(() => parse({ projection_class_embeddings_input_dim: 2816 })).toThrow(/nothing else is supported.*2816/);
    const inputs = {
      sample: input("sample", "float32", ["N", 4, 8, 8]),
      timestep: input("timestep", "float32", ["N"]),
      encoderHiddenStates: input("encoderHiddenStates", "float32", ["N", 7, 1280]),
    };
    expect(() => buildUnet(rootScope({ mode: "inference" }), config, inputs)).toThrow(
      "added: expected widths 1280,6, got none",
    );
  });

  it("is refused with every unsupported or wrong field named", () => {
    const json = {
      addition_embed_type: "text_image",
      in_channels: "4",
      down_block_types: ["AttnDownBlock2D"],
      resnet_time_scale_shift: "scale_shift",
      brand_new: 3,
      harmless: null,
    };
    expect(() => parse(json)).toThrow(/^unet\/config\.json: .*addition_embed_type: expected .*got "text_image"/);
    expect(() => parse(json)).toThrow(/in_channels: expected a whole number from 1 to 1048576, got "4"/);
    expect(() => parse(json)).toThrow(
      /down_block_types.*resnet_time_scale_shift|resnet_time_scale_shift.*down_block_types/,
    );
    expect(() => parse(json)).toThrow(/brand_new: expected no such field/);
    expect(() => parse(json)).not.toThrow(/harmless/);
    expect(() => parse([])).toThrow(/expected a JSON object, got \[\]/);
  });

  it("keeps null as `no middle block`", () => {
    expect(parse({ mid_block_type: null }).midBlock).toBe(false);
    expect(() => parse({ mid_block_type: "UNetMidBlock2D" })).toThrow(/mid_block_type/);
  });

  it("is refused when its heads do not divide the channels", () => {
    expect(() => parse({ attention_head_dim: [5, 10, 20, 7] })).toThrow(/attention_head_dim.*1280 channels, got 7/);
  });
});
