import { afterEach, describe, expect, it } from "vitest";
import type { ImageBackend, ImageRequest } from "#laurel/backends/contract";
import { HttpServer } from "#laurel/backends/http/client";
import { HttpError } from "#laurel/backends/http/error";
import { openWebui, type WebuiOptions } from "#laurel/backends/webui";
import { CancelledError, UsageError } from "#laurel/errors";
import { parseAttention } from "#laurel/prompts/attention-syntax";
import { Secret } from "#laurel/util/secret";
import { drawn, request } from "./drawn.js";
import { backendConformance } from "./conformance.js";
import { FAULTS, REFUSALS } from "./faults.js";
import { paint, startWebui, type WebuiBehaviour, type WebuiServer } from "./servers/webui-server.js";

const started: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.close()));
});

async function open(
  behaviour: WebuiBehaviour = {},
  options: WebuiOptions = {},
  headers: Record<string, Secret> = {},
): Promise<{ server: WebuiServer; backend: ImageBackend }> {
  const server = await startWebui(behaviour);
  started.push(server);
  const client = new HttpServer({
    name: "webui",
    url: server.url,
    headers,
    backoffMs: 1,
    maximumBackoffMs: 5,
    idleMs: 300,
  });
  started.push({ close: () => client.close() });
  return { server, backend: await openWebui(client, { pollMs: 10, ...options }) };
}

async function draw(backend: ImageBackend, change: Partial<ImageRequest> = {}): ReturnType<typeof drawn> {
  return drawn(backend, request(change));
}

describe("the backend contract", () => {
  let opened: Promise<WebuiServer> | undefined;
  backendConformance({
    open: async () => {
      opened ??= startWebui();
      return openWebui(new HttpServer({ name: "webui", url: (await opened).url }), { pollMs: 5 });
    },
    prompt: "a cat",
    settings: { steps: 4, width: 64, height: 64 },
  });
});

describe("webui", () => {
  it("draws from the seeds it is asked for and records what the server reports", async () => {
    const { backend, server } = await open();
    const { images, warnings } = await draw(backend);
    expect(images.map(({ seed, reportedSeed }) => [seed, reportedSeed])).toEqual(
      [40, 41, 42].map((seed) => [seed, seed]),
    );
    expect(images.map(({ image }) => image)).toEqual(
      [40, 41, 42].map((seed) => paint(seed, { width: 64, height: 64 })),
    );
    expect(warnings).toEqual([]);
    expect(server.seen.filter(({ path }) => path.endsWith("txt2img"))).toHaveLength(2);
  });

  it("leaves the grid out", async () => {
    const { backend } = await open({ grid: true });
    expect((await draw(backend)).images.map(({ image }) => image)).toEqual(
      [40, 41, 42].map((seed) => paint(seed, { width: 64, height: 64 })),
    );
  });

  it("does without info", async () => {
    const { backend } = await open({ noInfo: true });
    expect((await draw(backend)).images.map(({ reportedSeed }) => reportedSeed)).toEqual([null, null, null]);
  });

  it("warns of other seeds and other sizes", async () => {
    const { backend } = await open({ otherSeeds: true, otherSize: true });
    const { images, warnings } = await draw(backend, { count: 1 });
    expect(images[0]).toMatchObject({ seed: 40, reportedSeed: 1040 });
    expect(warnings).toEqual([
      "webui: expected a picture of 64 x 64, got 72 x 64",
      "webui: expected seeds from 40, got 1040 instead of 40",
    ]);
  });

  it("draws again what somebody interrupted at the server, and gives up in the end", async () => {
    const { backend, server } = await open({ interruptions: 1 });
    expect((await draw(backend, { count: 1 })).images).toHaveLength(1);
    expect(server.seen.filter(({ path }) => path.endsWith("txt2img"))).toHaveLength(2);
    server.behaviour.interruptions = 3;
    await expect(draw(backend, { count: 1 })).rejects.toThrow(/interrupted at the server/);
  });

  it("tells the server of a cancellation, for its own task alone", async () => {
    const { backend, server } = await open({ pictureMs: 5000 });
    const controller = new AbortController();
    const drawing = backend.generate(request({ count: 1 }), {
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    const startedAt = performance.now();
    await expect(drawing.next()).rejects.toBeInstanceOf(CancelledError);
    expect(performance.now() - startedAt).toBeLessThan(1500);
    expect(server.stopped).toHaveLength(1);
  });

  it("does not interrupt where the server cannot tell tasks apart", async () => {
    const { backend, server } = await open({ pictureMs: 300, noTasks: true });
    await expect(
      backend.generate(request({ count: 1 }), { signal: AbortSignal.timeout(50) }).next(),
    ).rejects.toBeInstanceOf(CancelledError);
    expect(server.stopped).toEqual([]);
  });

  it.each(FAULTS)("survives %s", async (_, fault) => {
    const { backend, server } = await open();
    server.fail([fault], /txt2img/);
    expect((await draw(backend)).images).toHaveLength(3);
  });

  it("survives a slow answer", async () => {
    const { backend, server } = await open();
    server.fail([{ kind: "slow", millisecondsPerChunk: 0 }], /txt2img/);
    expect((await draw(backend, { count: 1 })).images).toHaveLength(1);
  });

  it.each(REFUSALS)("says what is wrong: %s", async (_, fault, kind, message) => {
    const { backend, server } = await open();
    server.fail([fault], /txt2img/);
    const error: unknown = await draw(backend, { count: 1 }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(HttpError);
    expect(error).toMatchObject({ fault: kind });
    expect((error as Error).message).toMatch(message);
    expect(server.seen.filter(({ path }) => path.endsWith("txt2img"))).toHaveLength(1);
  });

  it("survives a restart of the server in the middle", async () => {
    const { backend, server } = await open({ pictureMs: 300 });
    const drawing = draw(backend, { count: 4, batch: 1 });
    await expect
      .poll(() => server.seen.filter(({ path }) => path.endsWith("txt2img")).length)
      .toBeGreaterThanOrEqual(2);
    await server.close();
    const again = await startWebui({}, Number(new URL(server.url).port));
    started.push(again);
    expect((await drawing).images.map(({ seed }) => seed)).toEqual([40, 41, 42, 43]);
  });

  it("is shared by two users without mixing their pictures or stopping each other's", async () => {
    const { backend, server } = await open({ pictureMs: 40 });
    const other = await openWebui(new HttpServer({ name: "webui", url: server.url }), { pollMs: 10 });
    const cancelled = other.generate(request({ seed: 900 }), { signal: AbortSignal.timeout(30) });
    const both = Promise.all([
      draw(backend, { batch: 1 }),
      draw(other, { seed: 90, batch: 1 }),
      cancelled.next().catch(() => undefined),
    ]);
    const [ours, theirs] = await both;
    await other.dispose();
    const size = { width: 64, height: 64 };
    expect(ours.images.map(({ image }) => image)).toEqual([40, 41, 42].map((seed) => paint(seed, size)));
    expect(theirs.images.map(({ image }) => image)).toEqual([90, 91, 92].map((seed) => paint(seed, size)));
  });

  it.each(["jpeg", "webp"] as const)("takes pictures as %s", async (format) => {
    const { backend } = await open({ format });
    const { images } = await draw(backend, { count: 1 });
    expect(images[0]?.image).toMatchObject({ width: 64, height: 64 });
  });

  it.each([
    ["euler-a", { sampler_name: "Euler a" }],
    ["dpmpp-2m", { sampler_name: "DPM++ 2M", scheduler: "Uniform" }],
    ["dpmpp-2m-karras", { sampler_name: "DPM++ 2M", scheduler: "Karras" }],
    ["DPM++ 2M", { sampler_name: "DPM++ 2M" }],
    ["k_euler", { sampler_name: "k_euler" }],
  ])("asks for %s as the server calls it", async (sampler, fields) => {
    const { backend, server } = await open();
    await draw(backend, { count: 1, sampler });
    const asked = server.seen.find(({ path }) => path.endsWith("txt2img"))?.body as Record<string, unknown>;
    expect({ sampler_name: asked["sampler_name"], scheduler: asked["scheduler"] }).toEqual({
      scheduler: undefined,
      ...fields,
    });
  });

  it("asks older servers for the sampler that has the schedule in its name", async () => {
    const { backend, server } = await open({ noSchedules: true });
    expect(backend.capabilities.samplers).not.toContain("euler-karras");
    await draw(backend, { count: 1, sampler: "dpmpp-2m-karras" });
    const asked = server.seen.find(({ path }) => path.endsWith("txt2img"))?.body;
    expect(asked).toMatchObject({ sampler_name: "DPM++ 2M Karras" });
    expect(asked).not.toHaveProperty("scheduler");
  });

  it("writes a plain prompt so that the server reads it as it stands", async () => {
    const { backend, server } = await open();
    const prompt = "a cat (black) [old] \\o/ AND a BREAK of day, #1 <lora:x:1>";
    await draw(backend, { prompt, negativePrompt: "(ugly:1.5)", count: 1 });
    const asked = server.seen.find(({ path }) => path.endsWith("txt2img"))?.body;
    expect(asked).toMatchObject({
      prompt: "a cat \\(black\\) \\[old\\] \\\\o/ and a break of day, #1 <lora :x:1>",
      negative_prompt: "\\(ugly:1.5\\)",
      override_settings: { enable_prompt_comments: false },
    });
    // Laurel's own reader of that syntax finds the plain words in it, at their usual weight
    const read = parseAttention((asked as { prompt: string }).prompt);
    expect(read).toEqual([
      { kind: "text", text: "a cat (black) [old] \\o/ and a break of day, #1 <lora :x:1>", weight: 1 },
    ]);
  });

  it.each([
    ["an HTML page", "<html><title>Gradio</title></html>", /expected JSON, got an HTML page \(Gradio\)/],
    ["no images", JSON.stringify({ images: null, info: "" }), /expected 1 pictures, got 0/],
    ["garbage for a picture", JSON.stringify({ images: ["AAAA"], info: "" }), /expected a PNG/],
    ["no base64", JSON.stringify({ images: ["<svg>"], info: "" }), /in base64/],
    ["broken info", JSON.stringify({ images: ["AAAA"], info: "{" }), /info: expected JSON/],
    ["another answer", JSON.stringify({ hello: 1 }), /expected an answer of the WebUI's API/],
  ])("refuses %s", async (_, body, message) => {
    const { backend, server } = await open();
    server.fail([{ kind: "status", status: 200, body }], /txt2img/);
    const error: unknown = await draw(backend, { count: 1 }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(HttpError);
    expect((error as HttpError).fault).toBe("bad-response");
    expect((error as HttpError).message).toMatch(message);
  });

  it("says what the server finds wrong with a request", async () => {
    const { backend } = await open();
    await expect(draw(backend, { steps: 500 })).rejects.toThrow(/422: body\.steps/);
  });

  it("logs in, and says when it may not", async () => {
    const secret = new Secret(`Basic ${Buffer.from("ann:pass-word").toString("base64")}`);
    const { backend } = await open({ credentials: "ann:pass-word" }, {}, { authorization: secret });
    expect((await draw(backend, { count: 1 })).images).toHaveLength(1);
    await expect(open({ credentials: "ann:pass-word" })).rejects.toMatchObject({ fault: "unauthorised" });
  });

  it("asks for a checkpoint by name", async () => {
    const { backend, server } = await open({}, { model: "tiny", scheduler: "Karras" });
    await draw(backend, { count: 1, sampler: "DPM++ 2M" });
    const asked = server.seen.find(({ path }) => path.endsWith("txt2img"))?.body;
    expect(asked).toMatchObject({ override_settings: { sd_model_checkpoint: "tiny" }, scheduler: "Karras" });
    await expect(open({}, { model: "huge" })).rejects.toBeInstanceOf(UsageError);
  });

  it("passes a1111 prompts on as they are written, and clip skip as the server's setting", async () => {
    const { backend, server } = await open();
    await draw(backend, { prompt: "a (red:1.3) circle", promptSyntax: "a1111", clipSkip: 2, count: 1 });
    const asked = server.seen.find(({ path }) => path.endsWith("txt2img"))?.body;
    expect(asked).toMatchObject({ prompt: "a (red:1.3) circle", override_settings: { CLIP_stop_at_last_layers: 2 } });
  });

  it("starts from a picture, and repaints under a mask", async () => {
    const { backend, server } = await open();
    const picture = paint(1, { width: 64, height: 64 });
    await draw(backend, { init: picture, strength: 0.5, count: 1 });
    await draw(backend, { init: picture, mask: picture, strength: 1, count: 1 });
    const asked = server.seen.filter(({ path }) => path.endsWith("img2img")).map(({ body }) => body);
    expect(asked[0]).toMatchObject({ denoising_strength: 0.5 });
    expect(asked[1]).toMatchObject({ denoising_strength: 1, inpainting_fill: 1 });
  });
});
