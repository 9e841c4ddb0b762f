import { beforeAll, describe, expect, it } from "vitest";
import { graph } from "#laurel/graph/builder";
import type { Graph } from "#laurel/graph/types";
import {
  buildClipImageEmbedding,
  buildClipTextEmbedding,
  CLIP_KEYS_BEYOND_IMAGE,
  CLIP_KEYS_BEYOND_TEXT,
  parseClipConfig,
} from "#laurel/models/clip";
import type { ClipConfig } from "#laurel/models/clip";
import { buildClipText, buildClipTextStates, parseClipTextConfig, projectText } from "#laurel/models/clip-text";
import type { ClipTextConfig } from "#laurel/models/clip-text";
import { rootScope } from "#laurel/nn/scope";
import type { NetworkMode } from "#laurel/nn/scope";
import { compile, expectIndependentRows, feedsOf, inputLike, openGolden, relativeError, take } from "./harness.js";
import type { Golden } from "./harness.js";
import { changed, expectDetected } from "./mutations.js";

const MODES: NetworkMode[] = ["inference", "training"];

describe.each(["tiny-sd/text_encoder", "clip-text-sd2", "tiny-sd2/text_encoder"])("CLIP text encoder %s", (name) => {
  let golden: Golden;
  let config: ClipTextConfig;
  beforeAll(async () => {
    golden = await openGolden(name);
    config = parseClipTextConfig(await golden.json("config.json"), `${name}/config.json`);
  });
  const build = (mode: NetworkMode, used: ClipTextConfig): Graph =>
    graph(name, { ...buildClipText(rootScope({ mode }), used, inputLike(golden, "ids")) });
  const error = async (compiled: Awaited<ReturnType<typeof compile>>): Promise<number> => {
    const out = await compiled.run(feedsOf(golden));
    const errors = ["lastHiddenState", "pooled"].map((key) =>
      relativeError(out[key], take(golden.tensors, `out.${key}`)),
    );
    return Math.max(...errors);
  };

  it.each(MODES)("computes what transformers computes (%s)", async (mode) => {
    expect(await error(await compile(build(mode, config), golden.source))).toBeLessThan(2e-6);
  });

  it("gives a text the same bits whatever its batch mates", async () => {
    for (const mode of MODES) {
      await expectIndependentRows(await compile(build(mode, config), golden.source), feedsOf(golden));
    }
  });

  it("is told apart from a network without the causal mask", async () => {
    for (const mode of MODES) {
      const network = build(mode, config);
      const masks = new Set(network.nodes.flatMap((node) => node.inputs).filter((value) => value?.shape.length === 4));
      const sources = [...masks].flatMap((value) => (value?.source.kind === "constant" ? [value.source.tensor] : []));
      expect(sources).toHaveLength(1);
      sources.forEach((mask) => mask.data.fill(0 as never));
      await expectDetected(`mask, ${mode}`, async () => error(await compile(network, golden.source)));
    }
  });

  it("is told apart from a network with other heads, activation, end of text or positions", async () => {
    const other = config.activation === "gelu" ? "quick_gelu" : "gelu";
    const configs: Record<string, ClipTextConfig> = {
      heads: { ...config, heads: config.heads === 3 ? 6 : 2 },
      activation: { ...config, activation: other },
      eos: { ...config, eosTokenId: config.eosTokenId === 2 ? 3 : 2 },
    };
    for (const [what, used] of Object.entries(configs)) {
      await expectDetected(what, async () => error(await compile(build("inference", used), golden.source)));
    }
    const key = "text_model.embeddings.position_embedding.weight";
    await expectDetected(key, async () =>
      error(await compile(build("inference", config), golden.source, { replace: await changed(golden, key) })),
    );
  });
});

describe("CLIP text encoder with projection", () => {
  let golden: Golden;
  let config: ClipTextConfig;
  beforeAll(async () => {
    golden = await openGolden("tiny-sdxl/text_encoder_2");
    config = parseClipTextConfig(await golden.json("config.json"), "config.json");
  });
  const build = (mode: NetworkMode, used: ClipTextConfig): Graph => {
    const scope = rootScope({ mode });
    const { hiddenStates, pooled } = buildClipTextStates(scope, used, inputLike(golden, "ids"));
    return graph("text", {
      penultimate: hiddenStates.at(-2)!,
      third: hiddenStates.at(-3)!,
      projected: projectText(scope, used, pooled),
    });
  };
  const errors = async (used: ClipTextConfig, mode: NetworkMode = "inference"): Promise<number[]> => {
    const out = await (await compile(build(mode, used), golden.source)).run(feedsOf(golden));
    return ["penultimate", "third", "projected"].map((key) =>
      relativeError(out[key], take(golden.tensors, `out.${key}`)),
    );
  };

  it.each(MODES)("computes the states before the last layers, and the projection after all (%s)", async (mode) => {
    expect(Math.max(...(await errors(config, mode)))).toBeLessThan(2e-6);
  });

  it("is told apart from a network with other heads, and one that pools elsewhere", async () => {
    await expectDetected("heads", async () => Math.max(...(await errors({ ...config, heads: 4 }))));
    await expectDetected("eos", async () => (await errors({ ...config, eosTokenId: 3 }))[2]!);
  });
});

describe("CLIP dual encoder", () => {
  let golden: Golden;
  let config: ClipConfig;
  beforeAll(async () => {
    golden = await openGolden("clip");
    config = parseClipConfig(await golden.json("config.json"), "clip/config.json");
  });
  const text = (mode: NetworkMode, used: ClipConfig): Graph =>
    graph("clip text", { text: buildClipTextEmbedding(rootScope({ mode }), used, inputLike(golden, "ids")) });
  const image = (mode: NetworkMode, used: ClipConfig): Graph =>
    graph("clip image", { image: buildClipImageEmbedding(rootScope({ mode }), used, inputLike(golden, "pixels")) });
  const towers = {
    text: { build: text, ignore: CLIP_KEYS_BEYOND_TEXT },
    image: { build: image, ignore: CLIP_KEYS_BEYOND_IMAGE },
  };
  const error = async (
    tower: keyof typeof towers,
    mode: NetworkMode,
    used: ClipConfig,
    key?: string,
  ): Promise<number> => {
    const { build, ignore } = towers[tower];
    const replace = key === undefined ? {} : { replace: await changed(golden, key) };
    const compiled = await compile(build(mode, used), golden.source, { ignore, ...replace });
    return relativeError((await compiled.run(feedsOf(golden)))[tower], take(golden.tensors, `out.${tower}`));
  };

  it.each(MODES)("computes what transformers computes (%s)", async (mode) => {
    expect(await error("text", mode, config)).toBeLessThan(2e-6);
    expect(await error("image", mode, config)).toBeLessThan(2e-6);
  });

  it("gives a text or image the same bits whatever its batch mates", async () => {
    for (const mode of MODES) {
      await expectIndependentRows(
        await compile(text(mode, config), golden.source, { ignore: CLIP_KEYS_BEYOND_TEXT }),
        feedsOf(golden),
      );
      await expectIndependentRows(
        await compile(image(mode, config), golden.source, { ignore: CLIP_KEYS_BEYOND_IMAGE }),
        feedsOf(golden),
      );
    }
  });

  it("is told apart from a network with other heads, class token or positions", async () => {
    const heads = { ...config, text: { ...config.text, heads: 2 }, vision: { ...config.vision, heads: 6 } };
    await expectDetected("text heads", () => error("text", "inference", heads));
    await expectDetected("vision heads", () => error("image", "inference", heads));
    const embeddings = "vision_model.embeddings";
    for (const key of [`${embeddings}.class_embedding`, `${embeddings}.position_embedding.weight`]) {
      await expectDetected(key, () => error("image", "inference", config, key));
    }
  });
});
