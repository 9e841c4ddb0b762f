/** @file The backend `comfyui` against a real ComfyUI with a checkpoint of random weights. Started by comfyui.py. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type ComfyuiOptions, openComfyui } from "#laurel/backends/comfyui";
import type { GeneratedImage, ImageBackend, ImageRequest } from "#laurel/backends/contract";
import { HttpServer } from "#laurel/backends/http/client";
import { resolveRequest } from "#laurel/backends/resolve";
import { CancelledError } from "#laurel/errors";
import { backendConformance } from "../backends/conformance.js";

const url = process.env["LAUREL_COMFYUI_URL"] ?? "";
const model = process.env["LAUREL_COMFYUI_MODEL"] ?? "";
const SIZE = { width: 64, height: 64 };

const opened: ImageBackend[] = [];
afterAll(() => Promise.all(opened.map((backend) => backend.dispose())));

async function open(options: ComfyuiOptions = { model }): Promise<ImageBackend> {
  const backend = await openComfyui(new HttpServer({ name: "comfyui", url }), { pollMs: 200, ...options });
  opened.push(backend);
  return backend;
}

function request(backend: ImageBackend, change: Partial<ImageRequest> = {}): ImageRequest {
  return resolveRequest(backend, { prompt: "a cat", seed: 40, count: 1, steps: 2, ...SIZE, ...change }).request;
}

async function draw(
  backend: ImageBackend,
  change: Partial<ImageRequest> = {},
): Promise<{ images: GeneratedImage[]; warnings: string[] }> {
  const [images, warnings]: [GeneratedImage[], string[]] = [[], []];
  for await (const group of backend.generate(request(backend, change))) {
    images.push(...group.images);
    warnings.push(...group.warnings);
  }
  return { images, warnings };
}

async function queue(): Promise<{ queue_running: unknown[][]; queue_pending: unknown[][] }> {
  return (await (await fetch(`${url}/queue`)).json()) as { queue_running: unknown[][]; queue_pending: unknown[][] };
}

/** The built-in graph as somebody else may send it, long enough to be met. */
function somebodysGraph(steps: number): Record<string, unknown> {
  const clip = ["1", 1];
  const node = (type: string, inputs: Record<string, unknown>) => ({ class_type: type, inputs });
  return {
    "1": node("CheckpointLoaderSimple", { ckpt_name: model }),
    "2": node("CLIPTextEncode", { text: "somebody's", clip }),
    "3": node("EmptyLatentImage", { width: 128, height: 64, batch_size: 1 }),
    "4": node("KSampler", {
      seed: 1,
      steps,
      cfg: 7,
      sampler_name: "euler",
      scheduler: "normal",
      denoise: 1,
      model: ["1", 0],
      positive: ["2", 0],
      negative: ["2", 0],
      latent_image: ["3", 0],
    }),
    "5": node("VAEDecode", { samples: ["4", 0], vae: ["1", 2] }),
    "6": node("SaveImage", { images: ["5", 0], filename_prefix: "somebody" }),
  };
}

async function sendAsSomebody(steps: number): Promise<string> {
  const body = JSON.stringify({ prompt: somebodysGraph(steps), client_id: "somebody" });
  const reply = await fetch(`${url}/prompt`, { method: "POST", body, headers: { "content-type": "application/json" } });
  return ((await reply.json()) as { prompt_id: string }).prompt_id;
}

async function statusOf(id: string): Promise<string | undefined> {
  const history = (await (await fetch(`${url}/history/${id}`)).json()) as Record<
    string,
    { status: { status_str: string } }
  >;
  return history[id]?.status.status_str;
}

describe("the backend contract", () => {
  let backend: Promise<ImageBackend> | undefined;
  backendConformance({ open: () => (backend ??= open()), prompt: "a cat", settings: { steps: 4, ...SIZE } });
});

describe("a real ComfyUI", () => {
  it("draws the same picture from a seed again, and reports the seed", async () => {
    const backend = await open();
    const first = await draw(backend, { seed: 7 });
    await draw(backend, { seed: 8 });
    const again = await draw(backend, { seed: 7 });
    expect(again.images[0]!.image).toEqual(first.images[0]!.image);
    expect(first.images[0]).toMatchObject({ seed: 7, reportedSeed: 7 });
    expect(first.warnings).toEqual([]);
  });

  it("takes every one of Laurel's samplers that is offered, and clip skip", async () => {
    const backend = await open();
    const ours = backend.capabilities.samplers.filter((name) => /-/.test(name));
    expect(ours).toContain("dpmpp-2m-karras");
    for (const sampler of ours) expect((await draw(backend, { sampler })).images).toHaveLength(1);
    expect((await draw(backend, { clipSkip: 2 })).images).toHaveLength(1);
  });

  it("reads an escaped prompt as plain words: brackets change nothing but themselves", async () => {
    const backend = await open();
    const plain = await draw(backend, { prompt: "a (cat)" });
    const same = await draw(backend, { prompt: "a \\(cat\\)", promptSyntax: "a1111" });
    const weighted = await draw(backend, { prompt: "a (cat)", promptSyntax: "a1111" });
    expect(plain.images[0]!.image).toEqual(same.images[0]!.image);
    expect(plain.images[0]!.image).not.toEqual(weighted.images[0]!.image);
  });

  it("goes as far from a picture as the strength says, and repaints where the mask is white alone", async () => {
    const backend = await open();
    const grey = (value: (x: number) => number) => ({
      ...SIZE,
      data: Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => value(Math.floor(i / 3) % 64)),
    });
    const steps: number[] = [];
    const wanted = request(backend, { init: grey(() => 90), strength: 0.5, steps: 8 });
    for await (const group of backend.generate(wanted, { onProgress: ({ step }) => steps.push(step) })) {
      expect(group.images).toHaveLength(1);
    }
    // what the socket told on the way, and the end
    expect(steps.length).toBeGreaterThan(1);
    expect(steps.at(-1)).toBe(8);
    // with nothing to repaint the picture only goes through the autoencoder, whatever the seed
    const still = { init: grey(() => 90), mask: grey(() => 0), strength: 1, steps: 2 };
    const [one, other] = [await draw(backend, { ...still, seed: 1 }), await draw(backend, { ...still, seed: 2 })];
    expect(one.images[0]!.image).toEqual(other.images[0]!.image);
    const half = { ...still, mask: grey((x) => (x < 32 ? 0 : 255)) };
    const [left, right] = [await draw(backend, { ...half, seed: 1 }), await draw(backend, { ...half, seed: 2 })];
    expect(left.images[0]!.image).not.toEqual(right.images[0]!.image);
  });

  it("says what the server finds wrong, and what failed", async () => {
    await expect(open({ model: "none" })).rejects.toThrow(/model: expected one of .*, got none/);
    const folder = await mkdtemp(join(tmpdir(), "laurel-comfyui-"));
    try {
      const graph = {
        ...somebodysGraph(2),
        "3": { class_type: "EmptyLatentImage", inputs: { width: 4, height: 64, batch_size: 1 } },
      };
      const workflow = join(folder, "workflow.json");
      await writeFile(workflow, JSON.stringify(graph));
      const slots = { prompt: "2.text", seed: "4.seed" };
      const backend = await open({ workflow, slots });
      await expect(draw(backend, { width: undefined, height: undefined, steps: undefined })).rejects.toThrow(
        /400: .*Value 4 smaller than min of 16: width/,
      );
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("draws with a workflow of the user's", async () => {
    const folder = await mkdtemp(join(tmpdir(), "laurel-comfyui-"));
    try {
      const workflow = join(folder, "workflow.json");
      await writeFile(workflow, JSON.stringify(somebodysGraph(2)).replace("somebody's", "photo of {{prompt}}"));
      const slots = { seed: "4.seed", steps: "4.steps", width: "3.width", height: "3.height" };
      const backend = await open({ workflow, slots });
      const { images, warnings } = await draw(backend, { count: 2 });
      expect(images.map(({ image, reportedSeed }) => [image.width, image.height, reportedSeed])).toEqual([
        [64, 64, 40],
        [64, 64, 41],
      ]);
      expect(warnings).toEqual([]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("stops its own prompts and leaves somebody else's alone", async () => {
    const backend = await open();
    const cancelled = async (steps: number, before: () => Promise<void>): Promise<void> => {
      const controller = new AbortController();
      const wanted = request(backend, { count: 3, steps, seed: 500 });
      const drawing = backend.generate(wanted, { signal: controller.signal }).next();
      await expect.poll(async () => (await queue()).queue_running.length, { timeout: 60_000 }).toBe(1);
      await before();
      controller.abort();
      await expect(drawing).rejects.toBeInstanceOf(CancelledError);
    };
    // alone: what is being drawn is stopped, what waits is taken back
    await cancelled(1000, () => Promise.resolve());
    await expect
      .poll(async () => await queue(), { timeout: 30_000 })
      .toMatchObject({ queue_running: [], queue_pending: [] });
    // somebody waits behind: servers whose interrupt would meet anybody draw ours to its end
    let other = "";
    await cancelled(80, async () => void (other = await sendAsSomebody(3)));
    await expect.poll(() => statusOf(other), { timeout: 120_000 }).toBe("success");
    expect(await queue()).toMatchObject({ queue_running: [], queue_pending: [] });
    // and the other way round: somebody's is being drawn, ours wait
    const running = await sendAsSomebody(60);
    await expect.poll(async () => (await queue()).queue_running[0]?.[1], { timeout: 60_000 }).toBe(running);
    const waiting = new AbortController();
    const behind = backend.generate(request(backend, { count: 2, seed: 600 }), { signal: waiting.signal }).next();
    await expect.poll(async () => (await queue()).queue_pending.length, { timeout: 60_000 }).toBe(2);
    waiting.abort();
    await expect(behind).rejects.toBeInstanceOf(CancelledError);
    await expect.poll(() => statusOf(running), { timeout: 200_000 }).toBe("success");
  });
});
