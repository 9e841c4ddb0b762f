/** @file Whole runs of Stable Diffusion XL, 2.x and the turbo models: the pictures of diffusers, what the folders decide, what is refused. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openStableDiffusion, type StableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { type Device, openDevice } from "#laurel/runtime/device";
import { float32 } from "#laurel/tensor/tensor";
import { openTunedModel } from "#laurel/training/finetune/tuned-model";
import { saveSafetensors } from "#laurel/weights/safetensors";
import { assembled, type Changes, removeFolders } from "./tiny-model.js";

interface Case {
  model: "sdxl" | "sdxl-turbo" | "sd2" | "sd-turbo";
  sampler: string;
  steps: number;
  guidance: number;
  prompt: string;
  negative?: string;
  clip_skip?: number;
  changes?: Changes;
  pipeline?: "Img2Img" | "Inpaint";
  strength?: number;
  seed: number;
  width: number;
  height: number;
  rgb: string;
  latents: string;
}

const FIXTURE = JSON.parse(
  await readFile(new URL("../fixtures/diffusion/architectures.json", import.meta.url), "utf8"),
) as { schedulers: Record<Case["model"], object>; init: string; mask: string; cases: Case[] };
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "base64"));
const picture = (data: Uint8Array) => ({ width: 32, height: 32, data });

let device: Device;
const open = new Map<string, Promise<StableDiffusion>>();

/** The model of a case; cases that change nothing share one. */
function modelOf(name: Case["model"], changes: Changes = {}): Promise<StableDiffusion> {
  const key = JSON.stringify([name, changes]);
  const folder = name.startsWith("sdxl") ? "tiny-sdxl" : "tiny-sd2";
  const scheduler = FIXTURE.schedulers[name];
  const file = "scheduler/scheduler_config.json";
  const all = { ...changes, [file]: { ...scheduler, ...changes[file] } };
  const found = open.get(key) ?? assembled(folder, all).then((path) => openStableDiffusion(path, device));
  open.set(key, found);
  return found;
}

/** Mean |difference| in units of 1/255. */
function meanDifference(a: Uint8Array, b: Uint8Array): number {
  return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;
}

beforeAll(() => {
  device = openDevice({ threads: 1 });
});
afterAll(async () => {
  await device.close();
  await removeFolders();
});

describe("the same seed gives the picture of diffusers", () => {
  test("the fixture can tell: its pictures differ from case to case", () => {
    const pictures = FIXTURE.cases.filter(({ width }) => width === 32).map(({ rgb }) => bytes(rgb));
    pictures.forEach((one, i) => {
      for (const other of pictures.slice(0, i)) expect(meanDifference(one, other)).toBeGreaterThan(4);
    });
  });

  test.each(
    FIXTURE.cases.map((one) => [`${one.model} ${one.pipeline ?? ""} ${one.sampler} ${one.seed}`, one] as const),
  )("%s", async (_, one) => {
    const model = await modelOf(one.model, one.changes);
    const { trajectory, states: begun } = await model.begin({
      prompt: one.prompt,
      negativePrompt: one.negative,
      sampler: one.sampler,
      steps: one.steps,
      guidance: one.guidance,
      clipSkip: one.clip_skip,
      seed: one.seed,
      width: one.width,
      height: one.height,
      init: one.pipeline === undefined ? undefined : picture(bytes(FIXTURE.init)),
      mask: one.pipeline === "Inpaint" ? picture(bytes(FIXTURE.mask)) : undefined,
      strength: one.strength,
    });
    let states = begun;
    while (states[0]!.stepIndex < trajectory.sampler.timesteps.length) states = await model.step(trajectory, states);
    const expected = new Float32Array(bytes(one.latents).buffer);
    const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const error = expected.reduce((most, v, j) => Math.max(most, Math.abs(v - states[0]!.latents[j]!)), 0) / scale;
    // the noise itself agrees to 2e-6 with torch's; errors grow with guidance from step to step
    expect(error).toBeLessThanOrEqual(2e-5);
    const [image] = await model.decode(trajectory, states);
    expect([image!.width, image!.height]).toEqual([one.width, one.height]);
    expect(meanDifference(image!.data, bytes(one.rgb))).toBeLessThanOrEqual(0.1); // required: 1
  });
});

describe("what the folder decides", () => {
  test.each([
    ["sdxl", { sampler: "euler", steps: 30, guidance: 5 }],
    ["sdxl-turbo", { sampler: "euler-a", steps: 1, guidance: 1 }],
    ["sd2", { sampler: "ddim", steps: 20, guidance: 7.5 }],
    ["sd-turbo", { sampler: "euler", steps: 1, guidance: 1 }],
  ] as const)("%s is used with %j", async (name, settings) => {
    const model = await modelOf(name);
    expect(model.defaults).toMatchObject({ ...settings, width: 32, height: 32 });
    const { trajectory } = await model.begin({ prompt: "a circle", seed: 1 });
    expect(trajectory.guided).toBe(settings.guidance > 1);
    expect(trajectory.added === undefined).toBe(!name.startsWith("sdxl"));
  });

  test("trailing timesteps alone make no turbo model: velocity prediction and a schedule that ends in noise are none", async () => {
    const file = "scheduler/scheduler_config.json";
    const velocity = await modelOf("sd-turbo", { [file]: { prediction_type: "v_prediction" } });
    const zero = await modelOf("sd-turbo", { [file]: { rescale_betas_zero_snr: true } });
    expect([velocity.defaults.steps, zero.defaults.steps]).toEqual([20, 20]);
  });

  test("the sizes that an XL's denoiser is told are the picture's own, nothing cropped", async () => {
    const { trajectory } = await (await modelOf("sdxl")).begin({ prompt: "a", seed: 1, width: 40, height: 24 });
    expect([...trajectory.added!.sizes.data]).toEqual([24, 40, 0, 0, 24, 40, 24, 40, 0, 0, 24, 40]);
  });

  test("a safety checker is not run, which is said", async () => {
    const path = await assembled("tiny-sd2", {
      "model_index.json": { safety_checker: ["stable_diffusion", "StableDiffusionSafetyChecker"] },
    });
    const { warnings } = await openStableDiffusion(path, device);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/: its safety checker is not run: look at pictures before you publish or serve them/);
    expect((await modelOf("sd2")).warnings).toEqual([]);
  });
});

describe("prompts of an XL", () => {
  const ask = { seed: 1, guidance: 4, promptSyntax: "a1111" } as const;
  const conditioningOf = async (request: object) => {
    const model = await modelOf("sdxl");
    const { trajectory } = await model.begin({ ...ask, prompt: "a red circle", ...request });
    const [, length = 0, width = 0] = trajectory.conditioning.shape;
    const row = (index: number) =>
      trajectory.conditioning.data.slice(index * length * width, (index + 1) * length * width);
    return { length, width, negative: row(0), prompt: row(1), pooled: trajectory.added!.pooled };
  };

  test("are read by both text encoders, whose states lie side by side", async () => {
    const { length, width, pooled } = await conditioningOf({});
    expect([length, width, pooled.shape]).toEqual([20, 32 + 24, [2, 20]]);
  });

  test("that are long are read in chunks; the first one's end stands for the whole", async () => {
    const first = "a red circle on the left of a blue square";
    const long = await conditioningOf({ prompt: `${first} BREAK a circle` });
    const short = await conditioningOf({ prompt: first });
    expect(long.length).toBe(2 * short.length);
    expect(long.prompt.subarray(0, short.prompt.length)).toEqual(short.prompt);
    expect(long.pooled.data).toEqual(short.pooled.data);
  });

  test("that are weighted change the states of both text encoders, not the whole prompt's", async () => {
    const [plain, weighted] = [await conditioningOf({}), await conditioningOf({ prompt: "a (red:1.5) circle" })];
    const changed = plain.prompt.map((value, i) => Math.abs(value - weighted.prompt[i]!));
    const column = (from: number, to: number) => changed.filter((_, i) => i % 56 >= from && i % 56 < to);
    expect(Math.max(...column(0, 32))).toBeGreaterThan(0.05);
    expect(Math.max(...column(32, 56))).toBeGreaterThan(0.05);
    expect(weighted.pooled.data).toEqual(plain.pooled.data);
  });

  test("that are negative and empty are zeros, unless they say something", async () => {
    const empty = await conditioningOf({});
    expect([
      empty.negative.every((value) => value === 0),
      empty.pooled.data.slice(0, 20).every((v) => v === 0),
    ]).toEqual([true, true]);
    const said = await conditioningOf({ negativePrompt: "red" });
    expect(said.negative.some((value) => value !== 0)).toBe(true);
  });

  test("take vectors of an embedding for each text encoder from one file", async () => {
    const folder = await assembled("tiny-sdxl");
    const path = join(folder, "style.safetensors");
    const vectors = (width: number) =>
      float32(
        [2, width],
        Float32Array.from({ length: 2 * width }, (_, i) => Math.sin(i)),
      );
    await saveSafetensors(
      path,
      new Map([
        ["clip_l", vectors(32)],
        ["clip_g", vectors(24)],
      ]),
    );
    const [known, unknown] = [
      await conditioningOf({ prompt: "a style circle", embeddings: [path] }),
      await conditioningOf({ prompt: "a style circle" }),
    ];
    expect(known.prompt).not.toEqual(unknown.prompt);
    expect(known.pooled.data).not.toEqual(unknown.pooled.data);
    await saveSafetensors(path, new Map([["emb_params", vectors(32)]]));
    await expect(conditioningOf({ embeddings: [path] })).rejects.toThrow(
      /style\.safetensors: expected a textual inversion embedding for Stable Diffusion XL, with the tensors clip_l and clip_g, got no clip_l among 1 tensors: emb_params/,
    );
  });
});

describe("what does not fit is refused", () => {
  test("an XL is not trained", async () => {
    const train = { kind: "lora", rank: 2, alpha: null, targets: ["to_q"], textEncoder: null };
    await expect(openTunedModel(await assembled("tiny-sdxl"), { train, seed: 0 } as never)).rejects.toThrow(
      "expected a text-to-image model to train, got a Stable Diffusion XL, which can be drawn with but not trained",
    );
  });

  test.each([
    [{ requires_aesthetics_score: true }, /requires_aesthetics_score: expected false, got true \(a refiner/],
    [{ text_encoder_2: [null, null] }, /text_encoder_2: expected CLIPTextModelWithProjection, got "none"/],
    [
      { _class_name: "StableDiffusionPipeline" },
      /cross_attention_dim \(the text encoder's hidden_size\): expected 32, got 56; unet addition_embed_type.*expected none in a StableDiffusionPipeline, got 20/,
    ],
  ])("an XL's index with %j", async (fields, message) => {
    await expect(
      openStableDiffusion(await assembled("tiny-sdxl", { "model_index.json": fields }), device),
    ).rejects.toThrow(message);
  });
});
