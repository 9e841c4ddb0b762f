/** @file Runs that start from a picture: what is kept of it, and that another picture in its place is noticed. */

import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { ImageRequest } from "#laurel/backends/contract";
import { decodeRgb } from "#laurel/image/decode";
import { encodePng } from "#laurel/image/png";
import type { RgbImage } from "#laurel/image/types";
import { generateRun, type RunResult } from "#laurel/pipeline/generate-run";
import { createRun, openRun, readRun, type Run } from "#laurel/pipeline/run-store";
import { bestOfN } from "#laurel/strategies/best-of-n";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { newRun, temporaryFolder } from "./runs.js";

const picture = (width: number, height: number, factor: number): RgbImage => ({
  width,
  height,
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * factor) % 256),
});
const init = picture(16, 16, 7);
const mask = picture(8, 8, 31);

const begin = async (): Promise<Run> =>
  createRun(await temporaryFolder(), { ...newRun({ count: 6, strength: 0.75 }), inputs: { init, mask } });

async function finish(run: Run, onRequest?: (request: ImageRequest) => void): Promise<RunResult> {
  const backend = createProceduralBackend({ pictures: true, ...(onRequest === undefined ? {} : { onRequest }) });
  try {
    return await generateRun(run, { backend, reward: createBrightnessReward(), strategy: bestOfN });
  } finally {
    await run.close();
  }
}

test("picture and mask are kept in the run's folder, and drawn from there", async () => {
  const run = await begin();
  const { inputs } = run.manifest;
  expect(await decodeRgb(await readFile(join(run.directory, inputs.init!.path)), "init")).toEqual(init);
  expect(await decodeRgb(await readFile(join(run.directory, inputs.mask!.path)), "mask")).toEqual(mask);
  const requests: ImageRequest[] = [];
  const { ranking } = await finish(run, (request) => requests.push(request));
  for (const request of requests) expect(request).toMatchObject({ init, mask, strength: 0.75 });
  for (const line of ranking) {
    expect(line.settings.strength).toBe(0.75);
    expect(line.inputs).toEqual({ init: inputs.init?.sha256, mask: inputs.mask?.sha256 });
  }
  const [best] = ranking;
  const text = (await readFile(join(run.directory, best!.image))).toString("latin1");
  expect(text).toContain("Denoising strength: 0.75");
});

test("another picture in place of the run's is noticed", async () => {
  const { directory, manifest, close } = await begin().then((run) => ({
    directory: run.directory,
    manifest: run.manifest,
    close: () => run.close(),
  }));
  await close();
  const path = join(directory, manifest.inputs.init!.path);
  const original = await readFile(path);
  await writeFile(path, await encodePng(picture(16, 16, 9)));
  await expect(finish(await openRun(directory))).rejects.toThrow(
    /init\.png: expected the picture that the run was made with \(SHA-256 [0-9a-f]{12}\), got another \([0-9a-f]{12}\)$/,
  );
  await rm(path);
  await expect(finish(await openRun(directory))).rejects.toThrow(
    /init\.png: expected a picture that the run was made with, got no such file$/,
  );
  await writeFile(path, original);
  expect((await finish(await openRun(directory))).status).toBe("complete");
});

test("a run.json from before there were pictures has none", async () => {
  const run = await createRun(await temporaryFolder(), newRun({ count: 2 }));
  await finish(run);
  const path = join(run.directory, "run.json");
  const { inputs, ...older } = JSON.parse(await readFile(path, "utf8")) as Record<string, Record<string, unknown>>;
  expect(inputs).toEqual({ init: null, mask: null });
  for (const part of ["request", "config"] as const) delete older[part]!["strength"];
  await writeFile(path, JSON.stringify(older));
  const { manifest } = await readRun(run.directory);
  expect(manifest.inputs).toEqual({ init: null, mask: null });
  expect(manifest.config.strength).toBeNull();
});
