import { afterAll, afterEach, describe, expect, it } from "vitest";
import { openComfyui } from "#laurel/backends/comfyui";
import type { ImageBackend } from "#laurel/backends/contract";
import { HttpServer } from "#laurel/backends/http/client";
import { HttpError } from "#laurel/backends/http/error";
import { CancelledError } from "#laurel/errors";
import { closeAll, connect, draw, MODEL, open, request, SIZE, started } from "./comfyui-subject.js";
import { backendConformance } from "./conformance.js";
import { FAULTS, REFUSALS } from "./faults.js";
import { type ComfyuiBehaviour, type ComfyuiServer, startComfyui } from "./servers/comfyui-server.js";
import { paint } from "./servers/webui-server.js";

afterEach(closeAll);

const prompts = (server: ComfyuiServer) => server.seen.filter(({ path }) => path === "/prompt");

describe.each([2023, 2025, 2026] as const)("the backend contract, on a server of %i", (generation) => {
  let server: Promise<ComfyuiServer> | undefined;
  let backend: ImageBackend | undefined;
  backendConformance({
    open: async () => {
      server ??= startComfyui({ generation });
      const client = new HttpServer({ name: "comfyui", url: (await server).url });
      return (backend = await openComfyui(client, { ...MODEL, pollMs: 10 }));
    },
    prompt: "a cat",
    settings: { steps: 4, ...SIZE },
  });
  afterAll(async () => {
    await backend?.dispose();
    await (await server)?.close();
  });
});

describe("comfyui", () => {
  it("draws one prompt a seed, several in the queue, and records the seed that the server kept", async () => {
    const { backend, server } = await open({ pictureMs: 20 });
    const { images, warnings } = await draw(backend, { count: 5 });
    expect(images.map(({ seed, reportedSeed }) => [seed, reportedSeed])).toEqual(
      [40, 41, 42, 43, 44].map((s) => [s, s]),
    );
    expect(images.map(({ image }) => image)).toEqual([40, 41, 42, 43, 44].map((seed) => paint(seed, SIZE)));
    expect(warnings).toEqual([]);
    expect(prompts(server)).toHaveLength(5);
  });

  it("puts the settings into its own graph", async () => {
    const { backend, server } = await open({}, { model: "tiny", loras: [{ name: "detail", scale: 0.5 }] });
    const change = { count: 1, negativePrompt: "(ugly:1.5)", prompt: "a (black) cat, embedding:x", clipSkip: 2 };
    await draw(backend, { ...change, sampler: "dpmpp-2m-karras" });
    const [graph] = server.drawn;
    expect(graph!["positive"]!.inputs["text"]).toBe("a \\(black\\) cat, embedding :x");
    expect(graph!["negative"]!.inputs["text"]).toBe("\\(ugly:1.5\\)");
    expect(graph!["sampler"]!.inputs).toMatchObject({
      sampler_name: "dpmpp_2m",
      scheduler: "karras",
      steps: 4,
      cfg: 5,
    });
    expect(graph!["layer"]!.inputs["stop_at_clip_layer"]).toBe(-2);
    expect(graph!["lora0"]!.inputs).toMatchObject({ lora_name: "detail.safetensors", strength_model: 0.5 });
  });

  it.each([
    ["euler", undefined, { sampler_name: "euler", scheduler: "normal" }],
    ["euler", "simple", { sampler_name: "euler", scheduler: "simple" }],
    ["dpmpp-2m", "simple", { sampler_name: "dpmpp_2m", scheduler: "normal" }],
    ["dpmpp_2m", "simple", { sampler_name: "dpmpp_2m", scheduler: "simple" }],
    ["euler-a", undefined, { sampler_name: "euler_ancestral", scheduler: "normal" }],
    ["unipc-karras", undefined, { sampler_name: "uni_pc", scheduler: "karras" }],
  ])("asks for %s with the schedule %s as the server calls it", async (sampler, scheduler, inputs) => {
    const { backend, server } = await open({}, { ...MODEL, scheduler });
    await draw(backend, { count: 1, sampler });
    expect(server.drawn[0]!["sampler"]!.inputs).toMatchObject(inputs);
  });

  it("passes a1111 prompts on as they are, and says what ComfyUI does not read in them", async () => {
    const { backend, server } = await open();
    const { warnings } = await draw(backend, { prompt: "(red:1.3) [cat] BREAK", promptSyntax: "a1111", count: 1 });
    expect(server.drawn[0]!["positive"]!.inputs["text"]).toBe("(red:1.3) [cat] BREAK");
    expect(warnings).toEqual(["comfyui: ComfyUI takes [less], BREAK in a prompt for plain words"]);
  });

  it("takes the last steps from a picture, and repaints under a mask", async () => {
    const { backend, server } = await open();
    const picture = paint(1, { width: 96, height: 64 });
    await draw(backend, { init: picture, strength: 0.55, steps: 7, count: 1 });
    await draw(backend, { init: picture, mask: picture, strength: 1, count: 1 });
    const [started, repainted] = server.drawn;
    // ComfyUI takes int(steps / denoise) steps in all, the last `steps` of them
    const { steps, denoise } = started!["sampler"]!.inputs as { steps: number; denoise: number };
    expect([steps, Math.trunc(steps / denoise)]).toEqual([3, 7]);
    expect(started!["sampler"]!.inputs["latent_image"]).toEqual(["encode", 0]);
    expect(repainted!["repaint"]).toMatchObject({ class_type: "SetLatentNoiseMask" });
    expect(repainted!["sampler"]!.inputs["denoise"]).toBe(1);
    // the same picture is uploaded under one name
    expect(server.uploads.size).toBe(2);
  });

  it.each([2023, 2026] as const)(
    "uploads a picture once, and again after a failure, on a server of %i",
    async (generation) => {
      const { backend, server } = await open({ generation });
      const from = { init: paint(1, SIZE), strength: 0.5, count: 1 };
      const sent = () => server.seen.filter(({ path }) => path === "/upload/image").length;
      const first = await draw(backend, from);
      expect((await draw(backend, from)).images[0]!.image).toEqual(first.images[0]!.image);
      expect(sent()).toBe(1);
      server.behaviour.failures = 3;
      await expect(draw(backend, { ...from, seed: 9 })).rejects.toBeInstanceOf(HttpError);
      server.behaviour.failures = 0;
      expect((await draw(backend, from)).images[0]!.image).toEqual(first.images[0]!.image);
      expect([sent(), server.uploads.size]).toEqual([2, generation === 2023 ? 2 : 1]);
    },
  );

  it("asks for a checkpoint by name, and says which there are", async () => {
    const { backend } = await open({}, { model: "big" });
    expect(backend.model.name).toBe("sdxl/big.safetensors");
    await expect(open({}, {})).rejects.toThrow(
      /model: expected one of tiny.safetensors, sdxl\/big.safetensors, got none/,
    );
    await expect(open({}, { model: "tyny.safetensors" })).rejects.toThrow(/did you mean tiny.safetensors\?/);
    await expect(open({}, { ...MODEL, scheduler: "cosine" })).rejects.toThrow(
      /scheduler: expected one of normal, karras/,
    );
    await expect(open({}, { ...MODEL, loras: [{ name: "none" }] })).rejects.toThrow(
      /loras\[0\]: expected one of detail/,
    );
    await expect(open({}, { ...MODEL, output: "9" })).rejects.toThrow(/output: expected a workflow beside it/);
  });

  it("warns of other seeds and other sizes", async () => {
    const { backend } = await open({ otherSeeds: true, otherSize: true });
    const { images, warnings } = await draw(backend, { count: 1 });
    expect(images[0]).toMatchObject({ seed: 40, reportedSeed: 1040 });
    expect(warnings).toEqual([
      "comfyui: expected a picture of 64 x 64, got 72 x 64",
      "comfyui: expected seeds from 40, got 1040 instead of 40",
    ]);
  });

  it("finds its picture in the history when the socket is lost, and when there never is one", async () => {
    const { backend, server } = await open({ pictureMs: 60 });
    const steps: number[] = [];
    const onProgress = ({ step }: { step: number }): void => void steps.push(step);
    for await (const group of backend.generate(request(), { onProgress })) {
      expect(group.images).toHaveLength(1);
      server.dropSockets();
    }
    expect(steps.filter((step) => step === 4)).toHaveLength(3);
    expect(steps.length).toBeGreaterThan(3);
    const deaf = await open({ noSockets: true, pictureMs: 20 });
    expect((await draw(deaf.backend)).images.map(({ image }) => image)).toEqual(
      [40, 41, 42].map((s) => paint(s, SIZE)),
    );
  });

  it("tells progress again after its socket was lost while nobody waited", async () => {
    const { backend, server } = await open({ pictureMs: 60 });
    await draw(backend, { count: 1 });
    server.dropSockets();
    // the attempt to open it again falls into this pause
    await new Promise((resolve) => setTimeout(resolve, 700));
    const steps: number[] = [];
    const onProgress = ({ step }: { step: number }): void => void steps.push(step);
    for await (const group of backend.generate(request({ count: 2 }), { onProgress }))
      expect(group.images).toHaveLength(1);
    expect(steps.length).toBeGreaterThan(2);
  });

  it("takes its picture, whatever other nodes of the graph put into the history", async () => {
    const otherOutputs = { 7: { images: [{ source: "websocket" }] }, 8: null, 9: { images: "none", text: ["a"] } };
    const { backend } = await open({ otherOutputs });
    expect((await draw(backend, { count: 1 })).images[0]!.image).toEqual(paint(40, SIZE));
    const wrong = await open({ otherOutputs: { save: { images: [{ source: "websocket" }] } } });
    await expect(draw(wrong.backend, { count: 1 })).rejects.toThrow(/history: node save: .*images\.0\.filename/);
  });

  it("sends again what a restart lost, in the queue and in the history", async () => {
    const { backend, server } = await open({ pictureMs: 50 });
    const drawing = draw(backend, { count: 3 });
    await expect.poll(() => server.taken.length).toBe(3);
    server.forget();
    expect((await drawing).images.map(({ image }) => image)).toEqual([40, 41, 42].map((seed) => paint(seed, SIZE)));
    expect(prompts(server)).toHaveLength(6);
  });

  it("survives a restart at another moment, with the port closed in between", async () => {
    const { backend, server } = await open({ pictureMs: 40 });
    const drawing = draw(backend, { count: 4 });
    await expect.poll(() => server.drawn.length).toBeGreaterThanOrEqual(1);
    await server.close();
    const again = await startComfyui({}, Number(new URL(server.url).port));
    started.push(again);
    expect((await drawing).images.map(({ seed }) => seed)).toEqual([40, 41, 42, 43]);
  });

  it("draws again what somebody interrupted, and gives up in the end", async () => {
    const { backend, server } = await open({ interruptions: 2 });
    expect((await draw(backend, { count: 1 })).images).toHaveLength(1);
    server.behaviour.interruptions = 3;
    await expect(draw(backend, { count: 1 })).rejects.toThrow(/interrupted at the server/);
  });

  it("has a file written again that the server's cache names and that is gone", async () => {
    const { backend, server } = await open();
    await draw(backend, { count: 1 });
    server.behaviour.lostFiles = 1;
    expect((await draw(backend, { count: 1 })).images[0]!.image).toEqual(paint(40, SIZE));
    expect(server.drawn.at(-1)!["save"]!.class_type).toBe("SaveImage");
    server.behaviour.noFiles = 1;
    expect((await draw(backend, { count: 1 })).images).toHaveLength(1);
    server.behaviour.lostFiles = 3;
    await expect(draw(backend, { count: 1, seed: 1 })).rejects.toThrow(
      /expected a picture from node save, got the name of a file/,
    );
  });

  it.each([
    ["of a node", { failures: 1 }, "bad-response", /failure of KSampler sampler: ValueError: broken model/],
    [
      "for want of memory, in one line",
      {
        failures: 1,
        exception: { type: "torch.OutOfMemoryError", message: `9 GiB\n\nof 8${" and more".repeat(1e5)}` },
      },
      "unavailable",
      /: 9 GiB of 8.{1,300}\.\.\.$/,
    ],
    [
      "of the wanted output",
      { nodeErrors: { save: { errors: [{ message: "no" }], dependent_outputs: ["save"] } } },
      "invalid-request",
      /save: no/,
    ],
  ] as const)("says what failed: %s", async (_, behaviour, fault, message) => {
    const { backend } = await open(behaviour as ComfyuiBehaviour);
    const error: unknown = await draw(backend, { count: 1 }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ fault });
    expect((error as Error).message).toMatch(message);
  });

  it("says what the server finds wrong with a graph", async () => {
    const { backend } = await open();
    // another checkpoint may be gone since
    await expect(
      draw(backend, { count: 1, clipSkip: 12, guidance: 100, width: 64, steps: 1000 }),
    ).resolves.toBeDefined();
    const { backend: other, server } = await open();
    const body = {
      error: { type: "x", message: "Prompt outputs failed validation", details: "" },
      node_errors: { 4: { errors: [{ message: "Value not in list", details: "ckpt_name: 'x' not in []" }] } },
    };
    server.fail([{ kind: "status", status: 400, body: JSON.stringify(body) }], /prompt/);
    await expect(draw(other, { count: 1 })).rejects.toThrow(
      /400: Prompt outputs failed validation.*ckpt_name: 'x' not in/,
    );
  });

  it("ends a prompt that the server draws for too long", async () => {
    const { backend, server } = await open({ pictureMs: 5000 }, { ...MODEL, timeoutMs: 50 });
    await expect(draw(backend, { count: 1 })).rejects.toMatchObject({ fault: "unavailable" });
    expect(server.stopped).toHaveLength(1);
  });

  it.each([
    ["no picture", Buffer.from("<html>login</html>"), /expected a PNG/],
    ["a picture of more pixels than anybody can hold", oversized(), /expected/],
  ])("refuses %s", async (_, bytes, message) => {
    const { backend } = await open({ bytes });
    const error: unknown = await draw(backend, { count: 1 }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ fault: "bad-response" });
    expect((error as Error).message).toMatch(message);
  });

  it.each(FAULTS)("survives %s, wherever it happens", async (_, fault) => {
    const { backend, server } = await open();
    for (const path of [/prompt/, /history/, /view/, /upload/]) server.fail([fault], path);
    expect((await draw(backend, { init: paint(1, SIZE), strength: 0.5 })).images).toHaveLength(3);
  });

  it.each(REFUSALS)("says what is wrong: %s", async (_, fault, kind, message) => {
    const { backend, server } = await open();
    server.fail([fault], /prompt/);
    const error: unknown = await draw(backend, { count: 1 }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(HttpError);
    expect(error).toMatchObject({ fault: kind });
    expect((error as Error).message).toMatch(message);
    expect(prompts(server)).toHaveLength(1);
    server.fail([fault], /history/);
    if (kind === "bad-response") await expect(draw(backend, { count: 1 })).rejects.toMatchObject({ fault: kind });
  });

  it("refuses what is no ComfyUI", async () => {
    const server = await startComfyui();
    started.push(server);
    server.fail([{ kind: "status", status: 200, body: "<html><title>Router</title></html>" }], /system_stats/);
    await expect(connect(server)).rejects.toThrow(/expected JSON, got an HTML page \(Router\)/);
  });
});

describe("cancellation", () => {
  it.each([2023, 2025, 2026] as const)(
    "stops and takes back one's own prompts alone, on a server of %i",
    async (generation) => {
      const { backend, server } = await open({ generation, pictureMs: 5000 });
      const controller = new AbortController();
      const drawing = backend.generate(request({ count: 4 }), { signal: controller.signal }).next();
      await expect.poll(() => server.taken.length).toBe(4);
      const own = [...server.taken];
      controller.abort();
      await expect(drawing).rejects.toBeInstanceOf(CancelledError);
      await expect.poll(() => server.queued()).toEqual([]);
      expect(server.stopped).toContain(own[0]);
      expect(own).toEqual(expect.arrayContaining([...server.stopped]));
    },
  );

  it("is told to the server before the backend is closed, by whoever does not wait for what was drawn", async () => {
    for (const aborts of [true, false]) {
      const { backend, server } = await open({ generation: 2025, pictureMs: 20_000 });
      const controller = new AbortController();
      const drawing = backend.generate(request({ count: 2 }), { signal: controller.signal }).next();
      drawing.catch(() => undefined);
      await expect.poll(() => server.taken.length).toBe(2);
      if (aborts) controller.abort();
      await backend.dispose();
      expect(server.stopped).toHaveLength(1);
      await expect.poll(() => server.queued()).toEqual([]);
    }
  });

  it.each([2023, 2025, 2026] as const)("reaches a server of %i that is slow to answer", async (generation) => {
    const { backend, server } = await open({ generation, pictureMs: 20_000 });
    const controller = new AbortController();
    const drawing = backend.generate(request({ count: 2 }), { signal: controller.signal }).next();
    await expect.poll(() => server.taken.length).toBe(2);
    server.behaviour.slowMs = 800;
    controller.abort();
    await expect(drawing).rejects.toBeInstanceOf(CancelledError);
    await expect.poll(() => server.queued()).toEqual([]);
  });

  it.each([2023, 2025, 2026] as const)(
    "takes back what was sent and not answered yet, on a server of %i",
    async (generation) => {
      const { backend, server } = await open({ generation, pictureMs: 5000, answerMs: 60 });
      const controller = new AbortController();
      const drawing = backend.generate(request({ count: 3 }), { signal: controller.signal }).next();
      await expect.poll(() => server.taken.length).toBe(3);
      controller.abort();
      await expect(drawing).rejects.toBeInstanceOf(CancelledError);
      await expect.poll(() => server.queued()).toEqual([]);
    },
  );

  it.each([2023, 2025, 2026] as const)(
    "leaves somebody else's alone that is being drawn, on a server of %i",
    async (generation) => {
      const { backend, server } = await open({ generation, pictureMs: 5000 });
      const other = server.foreign();
      await expect.poll(() => server.queued()).toEqual([other]);
      const controller = new AbortController();
      const drawing = backend.generate(request({ count: 2 }), { signal: controller.signal }).next();
      await expect.poll(() => server.taken.length).toBe(2);
      controller.abort();
      await expect(drawing).rejects.toBeInstanceOf(CancelledError);
      expect(server.queued()).toEqual([other]);
      expect(server.stopped).toEqual([]);
    },
  );

  it.each([
    [2023, false],
    [2025, true],
  ] as const)("on a server of %i with somebody waiting behind, interrupts: %s", async (generation, interrupts) => {
    const { backend, server } = await open({ generation, pictureMs: 5000 });
    const controller = new AbortController();
    const drawing = backend.generate(request({ count: 1 }), { signal: controller.signal }).next();
    await expect.poll(() => server.taken.length).toBe(1);
    const other = server.foreign();
    controller.abort();
    await expect(drawing).rejects.toBeInstanceOf(CancelledError);
    expect(server.stopped.length > 0).toBe(interrupts);
    expect(server.stopped).not.toContain(other);
  });
});

/** A PNG that says it has 40000 x 40000 pixels. */
function oversized(): Buffer {
  const head = Buffer.from("89504e470d0a1a0a0000000d4948445200009c4000009c400802000000", "hex");
  return Buffer.concat([head, Buffer.alloc(64)]);
}
