import { beforeAll, describe, expect, it } from "vitest";
import { graph } from "#laurel/graph/builder";
import type { Graph } from "#laurel/graph/types";
import {
  AUTOENCODER_KEYS_BEYOND_DECODER,
  AUTOENCODER_KEYS_BEYOND_ENCODER,
  buildDecoder,
  buildEncoder,
  parseAutoencoderConfig,
} from "#laurel/models/autoencoder-kl";
import type { AutoencoderConfig } from "#laurel/models/autoencoder-kl";
import { rootScope } from "#laurel/nn/scope";
import type { NetworkMode } from "#laurel/nn/scope";
import { compile, expectIndependentRows, feedsOf, inputLike, openGolden, relativeError, take } from "./harness.js";
import type { Compiled, Golden } from "./harness.js";
import { changed, expectDetected } from "./mutations.js";

const MODES: NetworkMode[] = ["inference", "training"];

describe.each(["tiny-sd/vae", "vae-plain"])("autoencoder %s", (name) => {
  let golden: Golden;
  let config: AutoencoderConfig;
  beforeAll(async () => {
    golden = await openGolden(name);
    config = parseAutoencoderConfig(await golden.json("config.json"), `${name}/config.json`);
  });
  const halves = {
    encoder: (mode: NetworkMode, used: AutoencoderConfig): Graph =>
      graph("encoder", { ...buildEncoder(rootScope({ mode }), used, inputLike(golden, "image")) }),
    decoder: (mode: NetworkMode, used: AutoencoderConfig): Graph =>
      graph("decoder", { image: buildDecoder(rootScope({ mode }), used, inputLike(golden, "latents")) }),
  };
  const ignore = { encoder: AUTOENCODER_KEYS_BEYOND_ENCODER, decoder: AUTOENCODER_KEYS_BEYOND_DECODER };
  const compiled = async (
    half: keyof typeof halves,
    mode: NetworkMode,
    used: AutoencoderConfig,
    key?: string,
  ): Promise<Compiled> => {
    const replace = key === undefined ? {} : { replace: await changed(golden, key) };
    return compile(halves[half](mode, used), golden.source, { ignore: ignore[half], ...replace });
  };
  const error = async (
    half: keyof typeof halves,
    mode: NetworkMode,
    used: AutoencoderConfig,
    key?: string,
  ): Promise<number> => {
    const out = await (await compiled(half, mode, used, key)).run(feedsOf(golden));
    const errors = Object.entries(out).map(([output, value]) =>
      relativeError(value, take(golden.tensors, `out.${output}`)),
    );
    return Math.max(...errors);
  };

  it.each(MODES)("encodes and decodes as diffusers does (%s)", async (mode) => {
    expect(await error("encoder", mode, config)).toBeLessThan(1e-5);
    expect(await error("decoder", mode, config)).toBeLessThan(1e-5);
  });

  it("gives an image the same bits whatever its batch mates", async () => {
    for (const mode of MODES) {
      await expectIndependentRows(await compiled("encoder", mode, config), { image: take(golden.tensors, "in.image") });
      await expectIndependentRows(await compiled("decoder", mode, config), {
        latents: take(golden.tensors, "in.latents"),
      });
    }
  });

  it("is told apart from a network with other norms", async () => {
    const groups = { ...config, groups: config.groups / 2 };
    for (const half of ["encoder", "decoder"] as const) {
      await expectDetected(`${half} groups`, () => error(half, "inference", groups));
      const key = `${half}.mid_block.resnets.0.norm1.weight`;
      await expectDetected(key, () => error(half, "inference", config, key));
      if (config.midAttention) {
        const query = `${half}.mid_block.attentions.0.to_q.bias`;
        await expectDetected(query, () => error(half, "inference", config, query));
      }
    }
  });
});

describe("an autoencoder's config.json", () => {
  it("has diffusers' defaults", () => {
    expect(parseAutoencoderConfig({}, "vae/config.json")).toEqual({
      inChannels: 3,
      outChannels: 3,
      latentChannels: 4,
      channels: [64],
      layers: 1,
      groups: 32,
      midAttention: true,
      quantConv: true,
      postQuantConv: true,
      scalingFactor: 0.18215,
      shiftFactor: 0,
    });
  });

  it("is refused with every unsupported or wrong field named", () => {
    const json = {
      act_fn: "relu",
      block_out_channels: [64, 128],
      latents_mean: [0],
      scaling_factor: null,
      norm_num_groups: 7,
    };
    const parse = (): unknown => parseAutoencoderConfig(json, "vae/config.json");
    expect(parse).toThrow(/^vae\/config\.json: /);
    expect(parse).toThrow(/act_fn: expected "silu"/);
    expect(parse).toThrow(/latents_mean/);
    expect(parse).toThrow(/down_block_types: expected 2/);
    expect(parse).toThrow(/norm_num_groups: expected a divisor of block_out_channels' 64, got 7/);
  });
});
