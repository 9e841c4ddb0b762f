/** @file LoRA files: every naming read to the same layers, written and read back, hostile and foreign files refused by name. */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { layersOfModel } from "#laurel/diffusion/merge-loras";
import { ModelError } from "#laurel/errors";
import { float32, int64, type Tensor } from "#laurel/tensor/tensor";
import { kohyaName, matchLora } from "#laurel/weights/lora/match";
import { openLora } from "#laurel/weights/lora/open";
import { updateNorm } from "#laurel/weights/lora/product";
import { type LoraUpdate, saveLora } from "#laurel/weights/lora/save";
import { formatLora, parseLora } from "#laurel/weights/lora/spec";
import type { AdaptableLayers, LoraLayer } from "#laurel/weights/lora/types";
import { saveSafetensors } from "#laurel/weights/safetensors";

const FIXTURES = fileURLToPath(new URL("../../fixtures/lora/", import.meta.url));
const DEMO = fileURLToPath(new URL("../../../models/demo/stable-diffusion", import.meta.url));

let folder: string;
let model: AdaptableLayers;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-lora-"));
  model = await layersOfModel(DEMO);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const ones = (...shape: number[]): Tensor => float32(shape, new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1));

describe("the names", () => {
  test.each([
    ["attention.safetensors", "diffusers", 56, 6],
    ["conv.safetensors", "diffusers", 9, undefined],
    ["processors.safetensors", "diffusers-old", 55, undefined],
    ["old.safetensors", "diffusers-old", 7, 2],
    ["peft/adapter_model.safetensors", "peft", 14, undefined],
    ["kohya.safetensors", "kohya", 30, 6],
  ])("of %s are %s, and all are layers of the model", async (file, naming, unet, text) => {
    const lora = await openLora(FIXTURES + file);
    expect(lora.naming).toBe(naming);
    expect(lora.components.get("unet")?.size).toBe(unet);
    expect(lora.components.get("text_encoder")?.size).toBe(text);
    const matched = matchLora(lora, model);
    for (const [component, layers] of matched) {
      for (const layer of layers.keys()) expect(model.get(component)?.has(layer)).toBe(true);
    }
  });

  test("ranks and alphas are PEFT's, layer by layer", async () => {
    const { components } = await openLora(`${FIXTURES}attention.safetensors`);
    const attention = "mid_block.attentions.0.transformer_blocks.0.attn2";
    const of = (layer: string): unknown => {
      const { rank, alpha, scale } = components.get("unet")!.get(layer)!;
      return { rank, alpha, scale };
    };
    expect(of(`${attention}.to_q`)).toEqual({ rank: 2, alpha: 3, scale: 1.5 });
    expect(of(`${attention}.to_k`)).toEqual({ rank: 4, alpha: 3, scale: 0.75 });
    expect(of(`${attention}.to_v`)).toEqual({ rank: 2, alpha: 1, scale: 0.5 });
    const [stabilised] = (await openLora(`${FIXTURES}peft/adapter_model.safetensors`)).components.get("unet")!.values();
    expect(stabilised).toMatchObject({ rank: 4, alpha: 2, scale: 1 }); // 2 / sqrt(4)
    const [kohya] = (await openLora(`${FIXTURES}kohya.safetensors`)).components.get("unet")!.values();
    expect(kohya).toMatchObject({ rank: 2, alpha: 0.75, scale: 0.375 });
  });

  test("of kohya's stand for one layer each in every network", () => {
    for (const layers of model.values()) {
      expect(new Set([...layers.keys()].map(kohyaName)).size).toBe(layers.size);
    }
    expect(model.get("unet")!.has("mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj")).toBe(true);
    expect(model.get("text_encoder")!.has("text_model.embeddings.token_embedding")).toBe(false);
  });
});

describe("saveLora", () => {
  const updates = new Map([
    [
      "unet" as const,
      new Map<string, LoraUpdate>([
        ["mid_block.attentions.0.proj_in", { down: ones(2, 160), up: ones(160, 2), rank: 2, alpha: 1 }],
        ["mid_block.resnets.0.conv1", { down: ones(3, 160, 3, 3), up: ones(160, 3, 1, 1), rank: 3, alpha: 6 }],
      ]),
    ],
    [
      "text_encoder" as const,
      new Map<string, LoraUpdate>([
        ["text_model.encoder.layers.0.mlp.fc1", { down: ones(2, 128), up: ones(512, 2), rank: 2, alpha: 2 }],
      ]),
    ],
  ]);

  test.each(["diffusers", "kohya"] as const)("in %s naming is read back as it was", async (naming) => {
    const path = join(folder, `${naming}.safetensors`);
    await saveLora(path, updates, { naming, metadata: new Map([["laurel", "note"]]) });
    const lora = await openLora(path);
    expect(lora.naming).toBe(naming);
    expect(lora.metadata.get("laurel")).toBe("note");
    const matched = matchLora(lora, model);
    for (const [component, layers] of updates) {
      for (const [name, { rank, alpha, down, up }] of layers) {
        const layer = matched.get(component)!.get(name)!;
        expect(layer).toMatchObject({ rank, alpha, scale: alpha / rank });
        expect([layer.down.shape, layer.up.shape]).toEqual([down.shape, up.shape]);
      }
    }
  });

  test("refuses nothing, and matrices of another rank", async () => {
    await expect(saveLora(join(folder, "x"), new Map())).rejects.toThrow("expected updates to write, got none");
    const wrong = new Map([["a", { down: ones(2, 3), up: ones(3, 4), rank: 2, alpha: 1 }]]);
    await expect(saveLora(join(folder, "x"), new Map([["unet", wrong]]))).rejects.toThrow(
      "unet.a: expected matrices of rank 2, got [2,3] and [3,4]",
    );
  });
});

test("the norm of an update is that of scale * up down", async () => {
  const up = float32([3, 2], [1, 2, -3, 0.5, 0, 4]);
  const down = float32([2, 2], [0.5, -1, 2, 3]);
  const path = join(folder, "norm.safetensors");
  await saveLora(path, new Map([["unet", new Map([["a", { down, up, rank: 2, alpha: 4 }]])]]));
  const layer: LoraLayer = (await openLora(path)).components.get("unet")!.get("a")!;
  // up down = [[4.5, 5], [-0.5, 4.5], [8, 12]], scale 2
  const sum = 4.5 ** 2 + 5 ** 2 + 0.5 ** 2 + 4.5 ** 2 + 8 ** 2 + 12 ** 2;
  expect(await updateNorm(layer)).toBeCloseTo(2 * Math.sqrt(sum), 5);
});

const Q = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
const good = { [`${Q}.lora_A.weight`]: ones(2, 160), [`${Q}.lora_B.weight`]: ones(160, 2) };
const kohyaQ = `lora_unet_${kohyaName(Q.slice(5))}`;
const kohya = { [`${kohyaQ}.lora_down.weight`]: ones(2, 160), [`${kohyaQ}.lora_up.weight`]: ones(160, 2) };
const adapter = (config: unknown): Record<string, string> => ({
  lora_adapter_metadata: typeof config === "string" ? config : JSON.stringify(config),
});

describe("a file that is no LoRA for the model is refused:", () => {
  const cases: [name: string, tensors: Record<string, Tensor>, message: RegExp, metadata?: Record<string, string>][] = [
    ["a checkpoint", { "conv_in.weight": ones(2, 2) }, /expected a LoRA, got conv_in\.weight: no part of a LoRA$/],
    ["nothing", {}, /expected a LoRA, got no tensors$/],
    ["one half", { [`${Q}.lora_A.weight`]: ones(2, 160) }, /attn1\.to_q\.lora_A\.weight: no up matrix beside it/],
    ["the other half", { [`${Q}.lora_B.weight`]: ones(160, 2) }, /to_q\.lora_B\.weight: no down matrix beside it/],
    ["alpha alone", { [`${kohyaQ}.alpha`]: ones() }, /to_q\.alpha: no up matrix beside it/],
    [
      "ranks that differ",
      { ...good, [`${Q}.lora_B.weight`]: ones(160, 3) },
      /lora_B\.weight: \[160,3\] .*ranks differ/,
    ],
    ["rank 0", { [`${Q}.lora_A.weight`]: ones(0, 160), [`${Q}.lora_B.weight`]: ones(160, 0) }, /the ranks differ/],
    ["a vector", { ...good, [`${Q}.lora_A.weight`]: ones(2) }, /lora_A\.weight: \[2\], no matrix or kernel/],
    [
      "whole numbers",
      { ...good, [`${Q}.lora_A.weight`]: int64([1, 1], [1]) },
      /lora_A\.weight: int64, not real numbers/,
    ],
    ["DoRA", { ...good, [`${Q}.lora_magnitude_vector`]: ones(160) }, /to_q\.lora_magnitude_vector: DoRA/],
    ["kohya's DoRA", { ...kohya, [`${kohyaQ}.dora_scale`]: ones(160, 1) }, /to_q\.dora_scale: DoRA/],
    ["LoCon", { ...kohya, [`${kohyaQ}.lora_mid.weight`]: ones(2, 2, 3, 3) }, /to_q\.lora_mid\.weight: LoCon/],
    ["LoHa", { [`${kohyaQ}.hada_w1_a`]: ones(2, 2) }, /to_q\.hada_w1_a: LoHa/],
    ["LoKr", { [`${kohyaQ}.lokr_w1`]: ones(2, 2) }, /to_q\.lokr_w1: LoKr/],
    ["a bias", { ...good, [`${Q}.lora_B.bias`]: ones(160) }, /to_q\.lora_B\.bias: a LoRA with biases/],
    ["XL's second text encoder", { "lora_te2_a.lora_down.weight": ones(1, 1) }, /lora_te2_a.*for Stable Diffusion XL/],
    ["XL's, in diffusers' naming", { "text_encoder_2.a.lora_A.weight": ones(1, 1) }, /for Stable Diffusion XL/],
    ["XL's denoiser", { "lora_unet_input_blocks_4_1.lora_up.weight": ones(1, 1) }, /for Stable Diffusion XL/],
    ["two namings", { ...good, ...kohya }, /names of kohya's beside others|the same as/],
    [
      "alpha that is not a number",
      { ...kohya, [`${kohyaQ}.alpha`]: float32([], [NaN]) },
      /to_q\.alpha: float32 NaN, not a number/,
    ],
    ["infinite alpha", { ...kohya, [`${kohyaQ}.alpha`]: float32([], [Infinity]) }, /to_q\.alpha: float32 Infinity/],
    ["several alphas", { ...kohya, [`${kohyaQ}.alpha`]: ones(2) }, /to_q\.alpha: \[2\], not one number/],
    ["metadata that is no JSON", good, /lora_adapter_metadata: expected JSON, got a fault/, adapter("{")],
    ["metadata that is a list", good, /lora_adapter_metadata: expected an object/, adapter("[]")],
    ["a rank that is text", good, /r: expected a number of at least 1, got "2"/, adapter({ "unet.r": "2" })],
    [
      "DoRA by metadata",
      good,
      /use_dora: expected a plain LoRA, got DoRA/,
      adapter({ "unet.r": 2, "unet.use_dora": true }),
    ],
    [
      "a pattern that is an expression",
      good,
      /alpha_pattern: expected the path of a layer, got "\(a\+\)\+"/,
      adapter({ "unet.r": 2, "unet.alpha_pattern": { "(a+)+": 1 } }),
    ],
    [
      "a name like a prototype's",
      { "unet.__proto__.lora_A.weight": ones(1, 1), "unet.__proto__.lora_B.weight": ones(1, 1) },
      /__proto__\.lora_A\.weight: no such layer in the denoiser/,
    ],
    [
      "a layer that is not there",
      { "unet.down_blocks.7.conv.lora_A.weight": ones(1, 1), "unet.down_blocks.7.conv.lora_B.weight": ones(1, 1) },
      /expected a LoRA for this model, got one of which 1 of 1 layers do not fit: unet\.down_blocks\.7\.conv\.lora_A\.weight: no such layer in the denoiser$/,
    ],
    [
      "another width",
      { [`${Q}.lora_A.weight`]: ones(2, 320), [`${Q}.lora_B.weight`]: ones(320, 2) },
      /to_q\.lora_A\.weight: expected \[2,160\], got \[2,320\], .*to_q\.lora_B\.weight: expected \[160,2\], got \[320,2\]/,
    ],
    [
      "kohya's for another width",
      { [`${kohyaQ}.lora_down.weight`]: ones(2, 320), [`${kohyaQ}.lora_up.weight`]: ones(160, 2) },
      /to_q\.lora_down\.weight: expected \[2,160\], got \[2,320\]/,
    ],
  ];

  test.each(cases)("%s", async (name, tensors, message, metadata = {}) => {
    const path = join(folder, `bad ${name.replaceAll("/", " ")}.safetensors`);
    await saveSafetensors(path, new Map(Object.entries(tensors)), metadata);
    const open = openLora(path).then((lora) => matchLora(lora, model));
    await expect(open).rejects.toThrow(message);
    await expect(open).rejects.toBeInstanceOf(ModelError);
    await expect(open).rejects.toThrow(path);
  });

  test("every beginning of a good file", async () => {
    const whole = await readFile(`${FIXTURES}old.safetensors`);
    const path = join(folder, "cut.safetensors");
    for (const length of [0, 1, 7, 8, 100, 2000, whole.length - 1]) {
      await writeFile(path, whole.subarray(0, length));
      await expect(openLora(path)).rejects.toBeInstanceOf(ModelError);
    }
  });

  test("PEFT's without its configuration", async () => {
    const path = join(folder, "adapter_model.safetensors");
    await writeFile(path, await readFile(`${FIXTURES}peft/adapter_model.safetensors`));
    await expect(openLora(path)).rejects.toThrow(/adapter_config\.json: expected the configuration .* got no file/);
    await writeFile(join(folder, "adapter_config.json"), JSON.stringify({ peft_type: "LOHA", r: 4, lora_alpha: 2 }));
    await expect(openLora(path)).rejects.toThrow('peft_type: expected LORA, got "LOHA"');
  });
});

test("alpha may be of any type; 0 and none are the rank", async () => {
  const alphaOf = async (alpha: Tensor | undefined): Promise<number> => {
    const path = join(folder, "alpha.safetensors");
    const tensors = alpha === undefined ? kohya : { ...kohya, [`${kohyaQ}.alpha`]: alpha };
    await saveSafetensors(path, new Map(Object.entries(tensors)));
    return [...(await openLora(path)).components.get("unet")!.values()][0]!.alpha;
  };
  expect(await alphaOf(int64([], [4]))).toBe(4);
  expect(await alphaOf({ dtype: "float16", shape: [1], data: Uint16Array.of(0x3800) })).toBe(0.5);
  expect(await alphaOf({ dtype: "bfloat16", shape: [], data: Uint16Array.of(0x4040) })).toBe(3);
  expect(await alphaOf(float32([], [0]))).toBe(2);
  expect(await alphaOf(undefined)).toBe(2);
});

test("a file and its scale are one text", () => {
  expect(parseLora("style.safetensors")).toEqual({ path: "style.safetensors", scale: 1 });
  expect(parseLora("style.safetensors:0.8")).toEqual({ path: "style.safetensors", scale: 0.8 });
  expect(parseLora("C:\\loras\\a.safetensors:-.5")).toEqual({ path: "C:\\loras\\a.safetensors", scale: -0.5 });
  expect(parseLora("C:\\loras\\a.safetensors")).toEqual({ path: "C:\\loras\\a.safetensors", scale: 1 });
  expect(parseLora(formatLora({ path: "a:1", scale: 2 }))).toEqual({ path: "a:1", scale: 2 });
  expect(() => parseLora(" ")).toThrow("expected FILE or FILE:scale");
});
