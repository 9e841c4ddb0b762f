/** @file A reward exported, opened again, and held to the reward it was made of. */

import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CancelledError } from "#laurel/errors";
import { loadReward } from "#laurel/export/reward/load-reward";
import { norm, recipeInput } from "#laurel/export/reward/test-vector";
import { exportReward } from "#laurel/library/export-reward";
import { decodeModel } from "#laurel/onnx/decode";
import { openAesthetic } from "#laurel/rewards/aesthetic";
import { openClipScore } from "#laurel/rewards/clip-score";
import { openHps } from "#laurel/rewards/hps";
import { openImageReward } from "#laurel/rewards/image-reward";
import { type Device, openDevice } from "#laurel/runtime/device";
import { TorchGenerator } from "#laurel/tensor/random";
import { float32, type Tensor } from "#laurel/tensor/tensor";
import { fixturePath, floats } from "../../rewards/fixture.js";

interface Golden {
  readonly prompts: string[];
  readonly shape: [number, number, number, number];
  readonly image: string;
  readonly "image-reward": { readonly scores: number[]; readonly gradient: string };
  readonly "clip-score": { readonly scores: number[]; readonly gradient: string };
}

const GOLDEN = JSON.parse(await readFile(fixturePath("gradients.json"), "utf8")) as Golden;
/** The other rewards, for the same pictures. */
const MORE = JSON.parse(await readFile(fixturePath("more-scores.json"), "utf8")) as Record<
  "hps" | "aesthetic",
  { readonly gradient: { readonly scores: number[]; readonly gradient: string } }
>;
const IMAGE_REWARD = fixturePath("image-reward");
const CLIP = fixturePath("clip");
const SIZE = { width: GOLDEN.shape[3], height: GOLDEN.shape[2] };
let device: Device;
let scratch: string;
let ensemble: string;

beforeAll(async () => {
  device = openDevice();
  scratch = await mkdtemp(join(tmpdir(), "laurel-export-"));
  ensemble = join(scratch, "ensemble");
  const rewards = [{ reward: IMAGE_REWARD }, { reward: CLIP, weight: -2 }];
  await exportReward({ out: ensemble, rewards, from: "image", size: SIZE, device });
});
afterAll(async () => {
  await device.close();
  await rm(scratch, { recursive: true });
});

const golden = (): Tensor<"float32"> => float32(GOLDEN.shape, floats(GOLDEN.image));

function largest(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  return Array.from(actual).reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
}

describe("an exported reward", () => {
  test("of pixels scores and differentiates as the reward it was made of", async () => {
    const out = join(scratch, "pixels");
    const { manifest } = await exportReward({ out, rewards: [{ reward: IMAGE_REWARD }], from: "pixels", device });
    expect(manifest.picture.shape).toEqual(["N", 3, 32, 32]);
    const own = await openImageReward(IMAGE_REWARD, device);
    const loaded = await loadReward(out, { device });
    const pixels = float32([2, 3, 32, 32], new TorchGenerator(1).randn(2 * 3 * 32 * 32));
    const prompt = "a red circle above a blue square";
    const expected = await own.gradient(prompt, pixels);
    const actual = await loaded.gradient(prompt, pixels);
    // the same nodes, but for a product with transposes written out
    expect(largest(actual.scores, expected.scores)).toBeLessThanOrEqual(1e-5);
    expect(largest(actual.gradient.data, expected.gradient.data) / largest(expected.gradient.data, new Float32Array(2 * 3 * 32 * 32))).toBeLessThanOrEqual(1e-5); // prettier-ignore
    expect((await loaded.score(prompt, pixels)).scores).toEqual(actual.scores);
    await loaded.dispose();
  });

  test("is the weighted sum of its members, for rows with a prompt and an upstream gradient each", async () => {
    const loaded = await loadReward(ensemble, { device });
    const upstream = [1, -0.5];
    const { scores, members, gradient, warnings } = await loaded.gradient(GOLDEN.prompts, golden(), upstream);
    expect(Object.keys(members)).toEqual(["image-reward", "clip-score"]);
    for (const name of ["image-reward", "clip-score"] as const)
      expect(largest(members[name]!, GOLDEN[name].scores)).toBeLessThanOrEqual(1e-5);
    expect(largest(scores, members["image-reward"]!.map((score, i) => score - 2 * members["clip-score"]![i]!))).toBeLessThanOrEqual(1e-6); // prettier-ignore
    // CLIP reads 20 tokens here
    expect(warnings).toHaveLength(1);
    const [first, second] = [floats(GOLDEN["image-reward"].gradient), floats(GOLDEN["clip-score"].gradient)];
    const row = first.length / 2;
    const expected = first.map((value, i) => upstream[Math.floor(i / row)]! * (value - 2 * second[i]!));
    // torch in double precision; what float32 leaves of a gradient through these depths
    expect(largest(gradient.data, expected) / norm(expected)).toBeLessThanOrEqual(1e-4);
    const alone = await loaded.score(GOLDEN.prompts[0]!, float32([1, 3, SIZE.height, SIZE.width], golden().data.slice(0, row))); // prettier-ignore
    expect(alone.scores[0]).toBe(scores[0]);
    await loaded.dispose();
  });

  test("of rewards that pad or read no text does their preprocessing, too", async () => {
    const out = join(scratch, "field");
    const rewards = [
      { reward: await openHps(fixturePath("hps/HPS_v2.1_compressed.pt"), device) },
      {
        reward: await openAesthetic(fixturePath("aesthetic/sac+logos+ava1-l14-linearMSE.pth"), device, { clip: CLIP }),
      },
    ];
    const { manifest } = await exportReward({ out, rewards, from: "image", size: SIZE, device });
    expect(manifest.rewards.map(({ fit, tokenizer, inputs }) => [fit, tokenizer?.kind, inputs])).toEqual([
      ["pad", "byte-pair", { ids: "hps.ids" }],
      ["crop", undefined, {}],
    ]);
    const loaded = await loadReward(out, { device });
    const { members, gradient } = await loaded.gradient(GOLDEN.prompts, golden());
    for (const name of ["hps", "aesthetic"] as const) {
      expect(largest(members[name]!, MORE[name].gradient.scores)).toBeLessThanOrEqual(1e-4);
    }
    const [first, second] = [floats(MORE.hps.gradient.gradient), floats(MORE.aesthetic.gradient.gradient)];
    const expected = first.map((value, i) => value + second[i]!);
    const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(largest(gradient.data as Float32Array, expected) / scale).toBeLessThanOrEqual(1e-4);
    await loaded.dispose();
  });

  test("of latents and a fixed batch gives its known answer again, on a device of its own", async () => {
    const out = join(scratch, "latents");
    const { manifest } = await exportReward({ out, from: "latents", batch: 2, singleFile: true, device });
    expect(manifest.decoder?.name).toBe("Laurel demo");
    expect((await readdir(out)).includes("weights.safetensors")).toBe(false);
    const loaded = await loadReward(out);
    const { prompts, shape, upstream, input, scores, gradientFirst, gradientNorm } = loaded.manifest.test;
    const result = await loaded.gradient(prompts, recipeInput(input, shape), upstream);
    expect(result.scores).toEqual(scores);
    expect(Array.from(result.gradient.data.slice(0, gradientFirst.length))).toEqual(gradientFirst);
    expect(norm(result.gradient.data)).toBeCloseTo(gradientNorm, 6);
    expect(gradientNorm).toBeGreaterThan(1e-3);
    await expect(loaded.score("a", recipeInput(input, [3, ...shape.slice(1)]))).rejects.toThrow(
      "latents: expected float32 [a multiple of 2,",
    );
    await loaded.dispose();
  });

  test("has one file of weights for both models, relative to it, and operators of ONNX alone", async () => {
    for (const file of ["reward.onnx", "reward_grad.onnx"]) {
      const { graph, opsetImport } = decodeModel(await readFile(join(ensemble, file)));
      expect(opsetImport.map(({ domain = "" }) => domain)).toEqual([""]);
      expect(graph.node.every(({ domain = "" }) => domain === "")).toBe(true);
      const places = graph.initializer.flatMap(({ externalData = [] }) => externalData);
      const locations = new Set(places.filter(({ key }) => key === "location").map(({ value }) => value));
      expect([...locations]).toEqual(["weights.safetensors"]);
    }
    expect((await readdir(ensemble)).sort()).toEqual(
      ["README.md", "example.mjs", "example.py", "laurel_reward.py", "manifest.json", "reward.onnx", "reward_grad.onnx", "tokenizers", "weights.safetensors"].sort(), // prettier-ignore
    );
  });
});

describe("what cannot be exported", () => {
  test.each([
    [{ from: "pixels", size: SIZE }, /size: expected none for pixels/],
    [{ size: { width: 4, height: 40 } }, /size: expected a width of 8 to 8192 pixels, got 4/],
    [{ from: "latents", size: { width: 33, height: 32 } }, /size: expected sides divisible by \d+, got 33x32/],
    [{ model: "somewhere" }, /model: expected one only for latents/],
    [{ batch: 0 }, /batch: expected a whole number from 1, got 0/],
    [{ rewards: [] }, /rewards: expected at least one/],
    [{ rewards: [{ reward: "image-reward", weight: 0 }] }, /weight: expected a number other than 0/],
    [{ from: "pixels", rewards: [{ reward: "image-reward" }, { reward: CLIP }] }, /pixels: expected rewards that read the same pixels/], // prettier-ignore
  ] as const)("%j is refused, and leaves nothing", async (options, message) => {
    const parent = await mkdtemp(join(scratch, "refused-"));
    await expect(exportReward({ ...options, out: join(parent, "out"), device })).rejects.toThrow(message);
    expect(await readdir(parent)).toEqual([]);
  });

  test("a reward without a gradient is refused by its name", async () => {
    const { name, model, range, score, dispose } = await openClipScore(CLIP, device);
    const plain = { name: `${name}-plain`, model, range, score, dispose };
    await expect(exportReward({ out: join(scratch, "plain"), rewards: [{ reward: plain }], device })).rejects.toThrow(
      /expected a differentiable reward.*got clip-score-plain/,
    );
  });

  test("a folder that is taken stays as it is, unless it is an earlier export and force is given", async () => {
    const taken = await mkdtemp(join(scratch, "taken-"));
    await writeFile(join(taken, "mine.txt"), "mine");
    await expect(exportReward({ out: taken, device })).rejects.toThrow(/expected an empty folder, or force/);
    await expect(exportReward({ out: taken, force: true, device })).rejects.toThrow(/expected an earlier export/);
    expect(await readdir(taken)).toEqual(["mine.txt"]);
    const earlier = join(scratch, "earlier");
    await cp(ensemble, earlier, { recursive: true });
    await exportReward({ out: earlier, rewards: [{ reward: IMAGE_REWARD }], from: "pixels", force: true, device });
    expect((await loadReward(earlier, { device })).manifest.name).toBe("image-reward");
  });

  test("a cancelled export leaves nothing", async () => {
    const parent = await mkdtemp(join(scratch, "cancelled-"));
    const controller = new AbortController();
    const onProgress = (stage: string): void => {
      if (stage === "models") controller.abort();
    };
    await expect(
      exportReward({ out: join(parent, "out"), device, signal: controller.signal, onProgress }),
    ).rejects.toBeInstanceOf(CancelledError);
    expect(await readdir(parent)).toEqual([]);
  });
});

describe("a damaged export", () => {
  async function copy(name: string): Promise<string> {
    const folder = join(scratch, name);
    await cp(ensemble, folder, { recursive: true });
    return folder;
  }

  test("names every file that is missing or has changed", async () => {
    const folder = await copy("damaged");
    await rm(join(folder, "reward.onnx"));
    const weights = await readFile(join(folder, "weights.safetensors"));
    weights[weights.length - 1]! ^= 1;
    await writeFile(join(folder, "weights.safetensors"), weights);
    await expect(loadReward(folder, { device })).rejects.toThrow(
      /reward\.onnx: expected a file, got no such file; weights\.safetensors: expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}/,
    );
  });

  test("with a manifest of another format, another kind or another form is refused", async () => {
    const folder = await copy("format");
    const path = join(folder, "manifest.json");
    const manifest = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
    for (const [change, message] of [
      [{ format: 2 }, "expected an exported reward of format 1, got format 2"],
      [{ kind: "training" }, 'expected an exported reward of format 1, got kind "training"'],
      [
        { picture: 1, from: "sound" },
        /manifest\.json: expected the manifest of an exported reward, got from: .*; picture: /,
      ],
    ] as const) {
      await writeFile(path, JSON.stringify({ ...manifest, ...change }));
      await expect(loadReward(folder, { device })).rejects.toThrow(message);
    }
    await expect(loadReward(scratch, { device })).rejects.toThrow(/manifest\.json: expected the manifest/);
  });

  test("an input of another shape, and prompts that are too many, are told from what is expected", async () => {
    const loaded = await loadReward(ensemble, { device });
    await expect(loaded.score("a", float32([1, 3, 8, 8], new Float32Array(192)))).rejects.toThrow(
      `image: expected float32 [N,3,${SIZE.height},${SIZE.width}], got float32 [1,3,8,8]`,
    );
    await expect(loaded.score(["a"], golden())).rejects.toThrow("prompts: expected 2, one a row, got 1");
    await expect(loaded.gradient("a", golden(), [1])).rejects.toThrow("upstream: expected 2 numbers, got 1");
  });
});
