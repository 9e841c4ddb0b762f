/** @file What programs need, what there is, and holding one program at a time. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { type DiffusionGroup, openStableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { add, graph, input, mul, parameter, relu, reshape } from "#laurel/graph/builder";
import type { Graph } from "#laurel/graph/types";
import { availableMemory, gigabytes, memoryNeed } from "#laurel/runtime/memory";
import { type Device, type DeviceOptions, openDevice } from "#laurel/runtime/device";
import { float32 } from "#laurel/tensor/tensor";

const DEMO = fileURLToPath(new URL("../../models/demo/stable-diffusion", import.meta.url));
const REQUEST = { prompt: "a red circle above a blue square", seed: 7, steps: 2, count: 1 };

const devices: Device[] = [];
afterAll(() => Promise.all(devices.map((device) => device.close())));
function open(options: DeviceOptions): Device {
  const device = openDevice(options);
  devices.push(device);
  return device;
}

/** x w, then three sums of it. */
function chain(name: string): Graph {
  const x = input("x", "float32", ["N", 10]);
  const scaled = mul(x, parameter("w", [10]));
  const wide = reshape(relu(scaled), ["N", 5, 2]);
  return graph(name, { y: add(wide, wide) });
}
const WEIGHTS = new Map([["w", float32([10], new Float32Array(10).fill(2))]]);
const FEEDS = {
  x: float32(
    [1, 10],
    Float32Array.from({ length: 10 }, (_, i) => i),
  ),
};

describe("what a program needs", () => {
  test("is its weights in float32, and the inner tensors that are alive at once", () => {
    // of the three tensors of 40 bytes a row, two are alive at a time; the reshaped one is the same memory
    expect(memoryNeed(chain("chain"))).toEqual({ weights: 40, activations: 80 });
    expect(memoryNeed(chain("chain"), 3)).toEqual({ weights: 40, activations: 240 });
  });

  test("is told in words", () => {
    expect([gigabytes(3.44e9), gigabytes(5.2e6)]).toEqual(["3.4 GB", "5.2 MB"]);
  });
});

describe("what there is", () => {
  async function machine(files: Readonly<Record<string, string>>): Promise<string> {
    const root = await mkdtemp(join(tmpdir(), "laurel-memory-"));
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), text);
    }
    return root;
  }

  test.each([
    ["without a limit it is what the system can free", "max", 8_000_000_000],
    ["with one it is what the group leaves, files' pages not counted as used", "3000000000", 1_900_000_000],
  ])("%s", async (_, limit, expected) => {
    const group = "sys/fs/cgroup/work/job";
    const root = await machine({
      "proc/meminfo": "MemTotal:       16000000 kB\nMemAvailable:    7812500 kB\n",
      "proc/self/cgroup": "0::/work/job\n",
      [`${group}/memory.max`]: limit,
      [`${group}/memory.current`]: "2000000000",
      [`${group}/memory.stat`]: "anon 1100000000\ninactive_file 500000000\nactive_file 400000000\n",
    });
    expect(availableMemory(root)).toBe(expected);
    await rm(root, { recursive: true });
  });

  test("here it is some", () => expect(availableMemory()).toBeGreaterThan(1e6));
});

describe("a program that does not fit", () => {
  test("is refused before it is loaded, naming the sizes and what to do", async () => {
    await expect(open({ memoryLimit: 30 }).compile(chain("chain"), { weights: WEIGHTS })).rejects.toThrow(
      "program chain: expected 0.0 MB of memory for its weights, got 0.0 MB free; end other programs, or give --low-memory",
    );
  });

  test("is warned of where only its inner tensors are too large", async () => {
    const warnings: string[] = [];
    const device = open({ memoryLimit: 100, onWarning: (message) => warnings.push(message) });
    await device.compile(chain("chain"), { weights: WEIGHTS });
    expect(warnings).toEqual([
      "program chain needs about 0.0 MB of memory, 0.0 MB are free: it may be slow, or be ended by the system; end other programs, or give --low-memory",
    ]);
  });
});

describe("low memory", () => {
  test("holds one program at a time, and gives what each gives", async () => {
    const device = open({ lowMemory: true });
    const first = await device.compile(chain("first"), { weights: WEIGHTS });
    const second = await device.compile(chain("second"), { weights: WEIGHTS });
    expect(device.loadedPrograms).toBe(0);
    for (const program of [first, second, first]) {
      const { y } = await program.run(FEEDS);
      expect(Array.from(y!.data as Float32Array)).toEqual([0, 4, 8, 12, 16, 20, 24, 28, 32, 36]);
      expect(device.loadedPrograms).toBe(1);
    }
  });

  test("draws the same picture bit for bit; in tiles one that is close", async () => {
    // twice the model's own side, for two tiles along each
    const request = { ...REQUEST, width: 128, height: 128 };
    const draw = async (device: Device, vaeTile?: number) => {
      const diffusion = await openStableDiffusion(DEMO, device, { vaeTile });
      const { value } = await diffusion.generate(request).next();
      const { images, warnings } = value as DiffusionGroup;
      await diffusion.dispose();
      return { data: images[0]!.image.data, warnings };
    };
    const [plain, low] = [open({}), open({ lowMemory: true })];
    const whole = await draw(plain);
    expect((await draw(low)).data).toEqual(whole.data);
    const tiled = await draw(low, 64);
    expect(tiled.warnings).toEqual([
      "pictures are decoded in tiles of 64 pixels, and differ slightly from those decoded whole",
    ]);
    expect(whole.warnings).toEqual([]);
    const gaps = Array.from(whole.data, (level, i) => Math.abs(level - tiled.data[i]!));
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    // GroupNorm sees the statistics of a tile, here of 8x8 cells, the fewest there may be: 8 levels of 255; a tile out of place gives 40
    expect(mean).toBeGreaterThan(0);
    expect(mean).toBeLessThan(12);
  });

  test("a tile too small for the model is refused on opening", async () => {
    await expect(openStableDiffusion(DEMO, open({}), { vaeTile: 16 })).rejects.toThrow(
      "vae tile: expected at least 64 pixels for this model, got 16",
    );
  });
});
