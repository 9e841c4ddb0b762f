/** @file The whole chain on WebGPU against the cpu, on tiny models: through SwiftShader where there is no hardware, skipped where there is neither. */

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openStableDiffusion, type StableDiffusion } from "#laurel/diffusion/stable-diffusion";
import {
  argMax,
  constant,
  cos,
  fusedMatMul,
  graph,
  input,
  multiHeadAttention,
  oneHot,
  sin,
} from "#laurel/graph/builder";
import { type ImageReward, openImageReward } from "#laurel/rewards/image-reward";
import { type Device, openDevice } from "#laurel/runtime/device";
import { chooseProvider, probeProvider } from "#laurel/runtime/probe";
import { float32, type Tensor } from "#laurel/tensor/tensor";

const fixture = (path: string): string => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));

/** Part of Debian's chromium. */
const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";
if (process.env["VK_DRIVER_FILES"] === undefined && existsSync(SWIFTSHADER)) {
  process.env["VK_DRIVER_FILES"] = SWIFTSHADER;
}
const probe = await probeProvider("webgpu");
const missing = existsSync(SWIFTSHADER) ? "" : "; install chromium and libvulkan1 for its SwiftShader";
const title = probe.works ? "on WebGPU" : `on WebGPU: skipped, ${probe.problem}${missing}`;

/** Sum of squares of differences over that of values: what rounding in another order leaves is 1e-12 or less, another formula 1e-4 or more. */
function error(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [gap, size] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    gap += (actual[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(gap / size);
}

function waves(shape: readonly number[], speed = 12.9898): Tensor<"float32"> {
  const count = shape.reduce((a, b) => a * b, 1);
  return float32(
    shape,
    Float32Array.from({ length: count }, (_, i) => Math.sin(speed * i + 1)),
  );
}

describe.skipIf(!probe.works)(title, { timeout: 300_000 }, () => {
  const warnings: string[] = [];
  const devices: Device[] = [];
  let cpu: Device;
  let gpu: Device;
  beforeAll(() => {
    cpu = openDevice();
    gpu = openDevice({ executionProvider: "webgpu", onWarning: (message) => warnings.push(message) });
    devices.push(cpu, gpu);
  });
  afterAll(() => Promise.all(devices.map((device) => device.close())));

  /** What a graph gives on both. */
  async function both(build: () => ReturnType<typeof graph>, feeds: Record<string, Tensor>) {
    const run = async (device: Device) => {
      const program = await device.compile(build());
      return Object.fromEntries(
        Object.entries(await program.run(feeds)).map(([name, { data }]) => [name, Array.from(data as Float32Array)]),
      );
    };
    return { actual: await run(gpu), expected: await run(cpu) };
  }

  test("the device says what it runs on", async () => {
    expect(await gpu.provider()).toBe("webgpu");
    expect(await cpu.provider()).toBe("cpu");
  });

  test("sine and cosine are exact for the angles of a step's embedding, where WGSL promises nothing", async () => {
    const angles = float32(
      [1, 501],
      Float32Array.from({ length: 501 }, (_, i) => 2 * i - 0.25),
    );
    const program = await gpu.compile(
      (() => {
        const x = input("x", "float32", [1, 501]);
        return graph("angles", { sine: sin(x), cosine: cos(x) });
      })(),
    );
    const { sine, cosine } = await program.run({ x: angles });
    const worst = (values: Tensor, exact: (x: number) => number): number =>
      Math.max(...Array.from(values.data as Float32Array, (v, i) => Math.abs(v - exact(angles.data[i]!))));
    // the series is within 2e-7, its float32 terms round to about as much
    expect(worst(sine!, Math.sin)).toBeLessThan(3e-6);
    expect(worst(cosine!, Math.cos)).toBeLessThan(3e-6);
  });

  test("attention and fused products are those of the cpu, whichever kernel or substitute computes them", async () => {
    const build = () => {
      const [q, k, v] = [input("q", "float32", ["N", 19, 32]), input("k", "float32", ["N", 7, 32]), input("v", "float32", ["N", 7, 32])]; // prettier-ignore
      const mask = constant(waves([1, 1, 19, 7], 3.7));
      const product = fusedMatMul(q, k, { transB: true, alpha: 0.25 });
      return graph("attention", {
        plain: multiHeadAttention(q, k, v, { heads: 2 }),
        masked: multiHeadAttention(q, k, v, { heads: 4, mask }),
        product,
      });
    };
    const feeds = { q: waves([3, 19, 32]), k: waves([3, 7, 32], 5.1), v: waves([3, 7, 32], 2.3) };
    const { actual, expected } = await both(build, feeds);
    for (const name of Object.keys(expected)) expect(error(actual[name]!, expected[name]!), name).toBeLessThan(1e-5);
  });

  test("an operator it lacks runs on the cpu, with one warning that names it", async () => {
    warnings.length = 0;
    const build = (name: string) => {
      const x = input("x", "float32", ["N", 8]);
      return graph(name, { y: oneHot(argMax(x, 1), 8) });
    };
    const { actual, expected } = await both(() => build("first"), { x: waves([4, 8]) });
    expect(actual).toEqual(expected);
    await gpu.compile(build("second"));
    expect(warnings).toEqual([
      "device webgpu: it has no kernel for OneHot (first in program first), which run on the cpu: results are the same, the copies cost time",
    ]);
  });

  test("auto does not take a rasteriser in software for hardware", async () => {
    const { chosen, probes } = await chooseProvider("linux");
    expect(probes.map(({ name }) => name)).toContain("webgpu");
    expect(chosen).toBe(probe.software ? "cpu" : probes.at(-1)!.name);
  });

  describe("Stable Diffusion and ImageReward", () => {
    const request = { prompt: "a red circle", seed: 3, steps: 2, count: 1 };
    let models: { readonly diffusion: StableDiffusion; readonly reward: ImageReward }[];
    beforeAll(async () => {
      models = await Promise.all(
        [cpu, gpu].map(async (device) => ({
          diffusion: await openStableDiffusion(fixture("models/tiny-sd"), device),
          reward: await openImageReward(fixture("rewards/image-reward"), device),
        })),
      );
    });

    test("text encoder, denoiser and decoder give the numbers of the cpu", async () => {
      const [expected, actual] = await Promise.all(
        models.map(async ({ diffusion }) => {
          const { trajectory, states } = await diffusion.begin(request);
          const stepped = await diffusion.step(trajectory, states);
          const [image] = await diffusion.decode(trajectory, stepped);
          return { conditioning: trajectory.conditioning.data, latents: stepped[0]!.latents, image: image!.data };
        }),
      );
      // float32 sums in another order, over three networks: each to about 1e-6 of its size
      expect(error(actual!.conditioning, expected!.conditioning)).toBeLessThan(1e-5);
      expect(error(actual!.latents, expected!.latents)).toBeLessThan(1e-4);
      // a level where a value lies between two
      const gaps = Array.from(expected!.image, (level, i) => Math.abs(level - actual!.image[i]!));
      expect(Math.max(...gaps)).toBeLessThanOrEqual(2);
    });

    test("scores and pixel gradients are those of the cpu", async () => {
      const { imageSize } = models[0]!.reward;
      const bytes = Uint8Array.from({ length: 3 * 40 * 40 }, (_, i) => (i * 37) % 256);
      const pixels = waves([1, 3, imageSize, imageSize]);
      const [expected, actual] = await Promise.all(
        models.map(async ({ reward }) => ({
          scores: (await reward.score("a red circle", [{ width: 40, height: 40, data: bytes }])).scores,
          slope: await reward.gradient("a red circle", pixels),
        })),
      );
      expect(actual!.scores[0]).toBeCloseTo(expected!.scores[0]!, 4);
      expect(actual!.slope.scores[0]).toBeCloseTo(expected!.slope.scores[0]!, 4);
      expect(error(actual!.slope.gradient.data, expected!.slope.gradient.data)).toBeLessThan(1e-4);
      expect(expected!.slope.gradient.data.some((value) => Math.abs(value) > 1e-6)).toBe(true);
    });
  });
});
