/** @file The conformance suite on the local backend, with a Stable Diffusion of random weights. */

import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { createLocalBackend } from "#laurel/backends/local";
import { openStableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { openDevice } from "#laurel/runtime/device";
import { backendConformance } from "./conformance.js";

const FOLDER = fileURLToPath(new URL("../fixtures/models/tiny-sd", import.meta.url));
const device = openDevice();
afterAll(() => device.close());

describe("the local backend", () => {
  const open = async (): Promise<ReturnType<typeof createLocalBackend>> =>
    createLocalBackend(await openStableDiffusion(FOLDER, device));
  backendConformance({ open, prompt: "a cat", settings: { steps: 2 } });

  test("it passes on what the model warns of, once", async () => {
    const folder = await mkdtemp(join(tmpdir(), "laurel-local-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    await cp(FOLDER, folder, { recursive: true });
    const path = join(folder, "scheduler", "scheduler_config.json");
    await writeFile(path, (await readFile(path, "utf8")).replace("PNDMScheduler", "DEISMultistepScheduler"));
    const backend = createLocalBackend(await openStableDiffusion(folder, device));
    const request = { prompt: "a cat", negativePrompt: "a dog", seed: 1, count: 2, batch: 1, steps: 2, guidance: 1 };
    const unset = { width: undefined, height: undefined, init: undefined, mask: undefined, strength: undefined };
    const warnings: string[] = [];
    for await (const group of backend.generate({ ...request, ...unset, sampler: "ddim" }))
      warnings.push(...group.warnings);
    expect(warnings).toEqual([
      expect.stringContaining("DEISMultistepScheduler is not among the samplers") as string,
      expect.stringContaining("negative prompt: it has no effect without guidance") as string,
    ]);
  });
});
