/** @file Aesthetic, BLIP score, PickScore and HPS against their published code: scores of image files, gradients, layouts, what they have in common. */

import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { gradient } from "#laurel/autodiff/gradient";
import { graph, input, reduceSum } from "#laurel/graph/builder";
import { decodeImage } from "#laurel/image/decode";
import {
  CLIP_PREPROCESSING,
  HPS_PREPROCESSING,
  preprocess,
  type Preprocessing,
  TRANSFORMERS_PREPROCESSING,
} from "#laurel/image/preprocess";
import type { SourceImage } from "#laurel/image/types";
import { rootScope } from "#laurel/nn/scope";
import { openAesthetic } from "#laurel/rewards/aesthetic";
import { openBlipScore } from "#laurel/rewards/blip-score";
import { openClipScore } from "#laurel/rewards/clip-score";
import type { DifferentiableReward } from "#laurel/rewards/contract";
import { openHps } from "#laurel/rewards/hps";
import { openPickScore } from "#laurel/rewards/pickscore";
import { scoreGraph } from "#laurel/rewards/pixel-gradient";
import { preprocessImage } from "#laurel/rewards/preprocess-graph";
import { type Device, openDevice } from "#laurel/runtime/device";
import { Program } from "#laurel/runtime/program";
import { float32 } from "#laurel/tensor/tensor";
import { openWeights } from "#laurel/weights/open";
import { saveSafetensors } from "#laurel/weights/safetensors";
import { rewardConformance } from "./conformance.js";
import { errorOfSpread, fixturePath, floats } from "./fixture.js";

interface Field {
  readonly results: { readonly prompt: string; readonly scores: number[] }[];
  readonly gradient: { readonly prompts: string[]; readonly scores: number[]; readonly gradient: string };
}
const NAMES = ["aesthetic", "blip-score", "pickscore", "hps"] as const;
type Name = (typeof NAMES)[number];

const GOLDEN = JSON.parse(await readFile(fixturePath("more-scores.json"), "utf8")) as Record<Name, Field> & {
  images: string[];
};
/** The pictures that gradients are of. */
const DRAWN = JSON.parse(await readFile(fixturePath("gradients.json"), "utf8")) as { shape: number[]; image: string };
const HEAD = fixturePath("aesthetic/sac+logos+ava1-l14-linearMSE.pth");
const HPS = fixturePath("hps/HPS_v2.1_compressed.pt");

let device: Device;
let scratch: string;
let images: SourceImage[];

const OPEN: Record<Name, (batch?: number) => Promise<DifferentiableReward>> = {
  aesthetic: (batch) => openAesthetic(HEAD, device, { clip: fixturePath("clip"), batch }),
  "blip-score": (batch) => openBlipScore(fixturePath("blip/model_large.pth"), device, { batch }),
  pickscore: (batch) => openPickScore(fixturePath("pickscore"), device, { batch }),
  hps: (batch) => openHps(HPS, device, { batch }),
};

beforeAll(async () => {
  device = openDevice();
  scratch = await mkdtemp(join(tmpdir(), "laurel-rewards-"));
  images = await Promise.all(
    GOLDEN.images.map(async (name) => decodeImage(await readFile(fixturePath(`../image/${name}`)), name)),
  );
});
afterAll(async () => {
  await device.close();
  await rm(scratch, { recursive: true });
});

describe.each(NAMES)("%s", (name) => {
  test("scores image files of all kinds as its published code does", async () => {
    const reward = await OPEN[name]();
    for (const { prompt, scores } of GOLDEN[name].results) {
      const result = await reward.score(prompt, images);
      // float32 through a few layers; the published code on another version of torch differs by as much
      expect(errorOfSpread(result.scores, scores)).toBeLessThanOrEqual(1e-3);
    }
    await reward.dispose();
  });

  test("is told apart from the same network behind another reward's preprocessing", async () => {
    const reward = await OPEN[name]();
    const { network } = reward;
    const program = await device.compile(scoreGraph("swapped", network, "inference"), { weights: network.weights });
    const { prompt, scores } = GOLDEN[name].results[0]!;
    const error = async (how: Preprocessing): Promise<number> => {
      const actual: number[] = [];
      for (const image of images) {
        const pixels = float32([1, 3, 32, 32], preprocess(image, 32, how));
        const { score } = await program.run({ ...network.textFeeds("", [prompt]).feeds, pixels });
        actual.push((score!.data as Float32Array)[0]!);
      }
      return errorOfSpread(actual, scores);
    };
    expect(await error(network.preprocessing)).toBeLessThanOrEqual(1e-3);
    const all = [CLIP_PREPROCESSING, TRANSFORMERS_PREPROCESSING, HPS_PREPROCESSING];
    const others = all.filter((how) => how !== network.preprocessing);
    expect(others).toHaveLength(2);
    for (const how of others) expect(await error(how)).toBeGreaterThan(5e-3);
    await program.dispose();
    await reward.dispose();
  });

  test("its gradient with respect to a picture is torch's", async () => {
    const reward = await OPEN[name]();
    const { shape } = DRAWN;
    const [, , height = 0, width = 0] = shape;
    const image = input("image", "float32", ["N", 3, height, width]);
    const pixels = preprocessImage(image, { height, width }, reward.network);
    const score = reward.network.build(rootScope({ mode: "training" }), pixels);
    const [slope] = gradient(reduceSum(score, [0], { keepDims: false }), [image]);
    const { weights } = reward.network;
    const program = await device.compile(graph("slope", { score, slope: slope! }), { weights });
    const { prompts, scores, gradient: expected } = GOLDEN[name].gradient;
    const { feeds } = reward.network.textFeeds("", prompts);
    const outputs = await program.run({ ...feeds, image: float32(shape, floats(DRAWN.image)) });
    expect(errorOfSpread(Array.from(outputs["score"]!.data as Float32Array), scores)).toBeLessThanOrEqual(1e-3);
    const wanted = floats(expected);
    const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const error = wanted.reduce(
      (most, value, i) => Math.max(most, Math.abs(value - (outputs["slope"]!.data as Float32Array)[i]!)),
      0,
    );
    expect(error / largest).toBeLessThanOrEqual(1e-4);
    await program.dispose();
    await reward.dispose();
  });

  test("score() and gradient() agree on the same pixels", async () => {
    const reward = await OPEN[name]();
    const { prompt } = GOLDEN[name].results[0]!;
    const shown = images.slice(0, 2);
    const { preprocessing, imageSize } = reward.network;
    const data = shown.flatMap((image) => [...preprocess(image, imageSize, preprocessing)]);
    const both = await reward.gradient(prompt, float32([2, 3, imageSize, imageSize], data));
    const { scores } = await reward.score(prompt, shown);
    both.scores.forEach((score, i) => expect(Math.abs(score / scores[i]! - 1)).toBeLessThan(1e-4));
    await reward.dispose();
  });
});

describe("a reward's files", () => {
  test("HPS without the activation of its configuration is another score", async () => {
    const config = JSON.parse(await readFile(fixturePath("hps/config.json"), "utf8")) as {
      vision_config: { hidden_act: string };
    };
    config.vision_config.hidden_act = "quick_gelu";
    const path = join(scratch, "quick.json");
    await writeFile(path, JSON.stringify(config));
    const quick = await openHps(HPS, device, { config: path, tokenizer: fixturePath("hps") });
    const { prompt, scores } = GOLDEN.hps.results[0]!;
    expect(errorOfSpread((await quick.score(prompt, images)).scores, scores)).toBeGreaterThan(5e-3);
    await quick.dispose();
  });

  test("BLIP under transformers' names gives the same scores, and so does BLIP inside of an ImageReward file", async () => {
    const source = await openWeights(fixturePath("blip/model_large.pth"));
    const kept = [...source.entries.keys()].filter((key) => !/^(temp|image_queue)$|itm_head/.test(key));
    const renamed: Record<string, (key: string) => string> = {
      transformers: (key) =>
        key
          .replace("visual_encoder.cls_token", "vision_model.embeddings.class_embedding")
          .replace("visual_encoder.pos_embed", "vision_model.embeddings.position_embedding")
          .replace("visual_encoder.patch_embed.proj", "vision_model.embeddings.patch_embedding")
          .replace(/visual_encoder\.norm\./, "vision_model.post_layernorm.")
          .replace("visual_encoder.blocks.", "vision_model.encoder.layers.")
          .replace(/^(vision_model.*)\.attn\.qkv/, "$1.self_attn.qkv")
          .replace(/^(vision_model.*)\.attn\.proj/, "$1.self_attn.projection")
          .replace(/^(vision_model.*)\.norm([12])/, "$1.layer_norm$2"),
      "image-reward": (key) => `blip.${key}`,
    };
    const { prompt } = GOLDEN["blip-score"].results[0]!;
    const reward = await OPEN["blip-score"]();
    const { scores } = await reward.score(prompt, images);
    for (const [layout, rename] of Object.entries(renamed)) {
      const tensors = new Map(
        kept.map((key) => {
          const { dtype, shape } = source.entries.get(key)!;
          return [rename(key), { dtype, shape, read: () => source.read(key) }] as const;
        }),
      );
      const file = join(scratch, `${layout}.safetensors`);
      await saveSafetensors(file, tensors);
      await copyFile(fixturePath("blip/vocab.txt"), join(scratch, "vocab.txt"));
      const med: unknown = JSON.parse(await readFile(fixturePath("blip/med_config.json"), "utf8"));
      const config = layout === "transformers" ? { model_type: "blip", text_config: med } : med;
      const path = join(scratch, `${layout}.json`);
      await writeFile(path, JSON.stringify(config));
      const other = await openBlipScore(file, device, { config: path });
      expect((await other.score(prompt, images)).scores).toEqual(scores);
      await other.dispose();
    }
    await reward.dispose();
  });

  test("what does not fit together is refused with what is wrong", async () => {
    const clip = fixturePath("clip");
    await expect(openAesthetic(join(clip, "model.safetensors"), device, { clip })).rejects.toThrow(
      /not an aesthetic head: layers: expected linear layers ending in one output, got none/,
    );
    await expect(openAesthetic(HEAD, device, { clip: fixturePath("pickscore") })).rejects.toThrow(
      /expected a head for the 20 numbers of an embedding of .*pickscore, got one for 24/,
    );
    await expect(openBlipScore(HEAD, device)).rejects.toThrow(/not a BLIP checkpoint: visual_encoder\.patch_embed/);
    await expect(openHps(HEAD, device, { config: fixturePath("hps/config.json"), tokenizer: clip })).rejects.toThrow(
      /CLIPModel: expected the \d+ tensors of the network .* 10 unexpected: layers\.0\.weight/,
    );
  });
});

describe("rewards over the same CLIP", () => {
  test("an image is encoded once for all of them, and a prompt once", async () => {
    const own = openDevice();
    const runs: string[] = [];
    const run = vi.spyOn(Program.prototype, "run").mockImplementation(function (
      this: Program,
      ...given: Parameters<Program["run"]>
    ) {
      runs.push(this.label);
      return original.apply(this, given);
    });
    try {
      const [clip, again] = [
        await openClipScore(fixturePath("clip"), own),
        await openClipScore(fixturePath("clip"), own),
      ];
      const aesthetic = await openAesthetic(HEAD, own, { clip: fixturePath("clip") });
      const shown = images.slice(0, 5);
      const first = await clip.score("a red circle", shown);
      const heads = shown.map(() => "aesthetic head");
      expect(runs).toEqual(["text encoder", "image encoder"]);
      await aesthetic.score("a red circle", shown);
      await clip.embedImages(shown);
      expect(await again.score("a red circle", shown)).toEqual(first);
      expect(runs).toEqual(["text encoder", "image encoder", ...heads]);
      // decoded anew it is the same image; changed in place it is another
      const decoded = await decodeImage(await readFile(fixturePath(`../image/${GOLDEN.images[0]}`)), "again");
      await clip.score("a red circle", [decoded]);
      expect(runs).toHaveLength(2 + heads.length);
      decoded.data[0]! ^= 255;
      await clip.score("a red circle", [decoded]);
      expect(runs.slice(2 + heads.length)).toEqual(["image encoder"]);
      // the last one that uses it frees it
      await clip.dispose();
      await again.score("another", [decoded]);
      expect(runs.slice(3 + heads.length)).toEqual(["text encoder"]);
    } finally {
      run.mockRestore();
      await own.close();
    }
  });

  const original = Program.prototype.run;
});

for (const name of NAMES) {
  rewardConformance(name, {
    open: (batch) => OPEN[name](batch),
    images: () => Promise.resolve(images),
    prompt: "a red circle",
    readsText: name !== "aesthetic",
    ...(name === "aesthetic" ? {} : { longPrompt: { text: `${"a red circle above ".repeat(12)}zebra`, cut: "zebra" } }),
  });
}
