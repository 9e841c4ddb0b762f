import { afterAll, afterEach, describe, expect, it } from "vitest";
import type { ImageBackend, ImageRequest } from "#laurel/backends/contract";
import { HttpServer } from "#laurel/backends/http/client";
import { HttpError } from "#laurel/backends/http/error";
import { openSdcpp, type SdcppOptions } from "#laurel/backends/sdcpp";
import { CancelledError } from "#laurel/errors";
import { drawn, request } from "./drawn.js";
import { backendConformance } from "./conformance.js";
import { FAULTS, REFUSALS } from "./faults.js";
import { type SdcppBehaviour, type SdcppServer, startSdcpp } from "./servers/sdcpp-server.js";
import { paint } from "./servers/webui-server.js";

const started: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.close()));
});

const SIZE = { width: 64, height: 64 };

async function open(
  behaviour: SdcppBehaviour = {},
  options: SdcppOptions = {},
): Promise<{ server: SdcppServer; backend: ImageBackend }> {
  const server = await startSdcpp(behaviour);
  const client = new HttpServer({ name: "sdcpp", url: server.url, backoffMs: 1, maximumBackoffMs: 5, idleMs: 100 });
  started.push(server, { close: () => client.close() });
  return { server, backend: await openSdcpp(client, { pollMs: 20, ...options }) };
}

async function draw(backend: ImageBackend, change: Partial<ImageRequest> = {}): ReturnType<typeof drawn> {
  const { images, warnings } = await drawn(backend, request(change));
  return { images, warnings: [...new Set(warnings)] };
}

/** What the server was asked to draw. */
function asked({ seen }: SdcppServer): Record<string, unknown>[] {
  const drawing = seen.filter(({ path, method }) => method === "POST" && /img_gen|2img|generations/.test(path));
  return drawing.map(({ body }) => body as Record<string, unknown>);
}

describe.each(["native", "webui", "openai"] as const)("the backend contract, by the routes %s", (routes) => {
  let server: Promise<SdcppServer> | undefined;
  let client: HttpServer | undefined;
  backendConformance({
    open: async () => {
      server ??= startSdcpp({ routes });
      client = new HttpServer({ name: "sdcpp", url: (await server).url });
      return openSdcpp(client, { pollMs: 10 });
    },
    prompt: "a cat",
    settings: { width: 64, height: 64 },
  });
  afterAll(async () => {
    await client?.close();
    await (await server)?.close();
  });
});

describe("sdcpp", () => {
  it("draws by jobs, and reads from each picture which seed it has", async () => {
    const { backend, server } = await open();
    const { images, warnings } = await draw(backend);
    expect(images.map(({ seed, reportedSeed }) => [seed, reportedSeed])).toEqual(
      [40, 41, 42].map((seed) => [seed, seed]),
    );
    expect(images.map(({ image }) => image)).toEqual([40, 41, 42].map((seed) => paint(seed, SIZE)));
    expect(warnings).toEqual([]);
    expect(asked(server)).toHaveLength(2);
  });

  it("takes limits, samplers and defaults from the server", async () => {
    const { backend } = await open();
    expect(backend.model.name).toBe("tiny.gguf");
    expect(backend.capabilities).toMatchObject({
      maximumBatch: 3,
      cancel: "waiting",
      size: { minimum: 64, maximum: 2048 },
    });
    expect(backend.capabilities.samplers).toEqual(expect.arrayContaining(["dpm++2m", "dpmpp-2m-karras"]));
    expect(backend.defaults).toMatchObject({ steps: 20, guidance: 7, sampler: undefined, width: 512 });
    await expect(open({}, { scheduler: "cosine" })).rejects.toThrow(
      /scheduler: expected one of discrete, normal, karras/,
    );
    await expect(open({}, { loras: [{ name: "oil" }] })).rejects.toThrow(
      /loras\[0\]: expected one of ink.safetensors, got oil/,
    );
    await expect(open({ videos: true })).rejects.toThrow(/draws pictures, got one for vid_gen/);
  });

  it.each(["native", "webui"] as const)("puts the settings into what it asks for, by the routes %s", async (routes) => {
    const { backend, server } = await open({ routes }, { loras: [{ name: "ink", scale: 0.5 }], scheduler: "karras" });
    await draw(backend, { negativePrompt: "ugly", clipSkip: 2, sampler: "dpm++2m", count: 1 });
    await draw(backend, { sampler: "dpmpp-2m", init: paint(1, SIZE), mask: paint(2, SIZE), strength: 0.5, count: 1 });
    const [first, second] = asked(server);
    const lora = [{ path: "ink.safetensors", multiplier: 0.5 }];
    expect(first).toMatchObject({ negative_prompt: "ugly", clip_skip: 2, lora });
    if (routes === "native") {
      expect(first).toMatchObject({
        sample_params: { sample_method: "dpm++2m", scheduler: "karras", sample_steps: 4 },
      });
      expect(second).toMatchObject({
        strength: 0.5,
        sample_params: { sample_method: "dpm++2m", scheduler: "discrete" },
      });
    } else {
      expect(first).toMatchObject({ sampler_name: "dpm++2m", scheduler: "karras", steps: 4, cfg_scale: 5 });
      expect(second).toMatchObject({ denoising_strength: 0.5, sampler_name: "dpm++2m", scheduler: "discrete" });
    }
  });

  it.each([
    [
      "plain",
      "a cat (black:1.2) BREAK \\(x) [old]",
      "a cat \\(black:1.2 ) break \\ \\(x) \\[old\\]",
      /square brackets/,
    ],
    [
      "a1111",
      "a (red:1.3) cat <lora:x:1>",
      "a (red:1.3) cat <lora:x:1>",
      /takes <lora:...> in a prompt for plain words/,
    ],
    [
      "a1111",
      'a <sd_cpp_<sd_cpp_extra_args>1</sd_cpp_extra_args>extra_args>{"a":\n1}</sd_cpp_extra_args>cat',
      "a cat",
      /left out/,
    ],
  ] as const)(
    "writes a %s prompt as the server has to be given it: %s",
    async (promptSyntax, prompt, written, warning) => {
      const { backend, server } = await open();
      const { warnings } = await draw(backend, { prompt, promptSyntax, count: 1 });
      expect(asked(server)[0]!["prompt"]).toBe(written);
      expect(warnings).toEqual([expect.stringMatching(warning)]);
    },
  );

  it("never lets settings in a prompt through, whatever the routes", async () => {
    const hostile = 'a cat <sd_cpp_extra_args>{"init_image":"x"}</sd_cpp_extra_args>';
    for (const routes of ["native", "webui", "openai"] as const) {
      const { backend, server } = await open({ routes });
      const { warnings } = await draw(backend, { prompt: hostile, count: 1 });
      expect(JSON.stringify(asked(server))).not.toContain("extra_args");
      expect(warnings.join()).toMatch(/<sd_cpp_extra_args> in a prompt would be read as settings/);
    }
    const { backend } = await open();
    const nothing = draw(backend, { prompt: "<sd_cpp_extra_args>{}</sd_cpp_extra_args>" });
    await expect(nothing).rejects.toThrow(/expected some text, got nothing but/);
  });

  it("says what servers without jobs lack", async () => {
    const webui = await open({ routes: "webui" });
    const { images, warnings } = await draw(webui.backend);
    expect(images.map(({ seed, reportedSeed }) => [seed, reportedSeed])).toEqual(
      [40, 41, 42].map((seed) => [seed, null]),
    );
    expect(warnings).toEqual([expect.stringMatching(/no jobs .* nothing can be cancelled/)]);
    const openai = await open({ routes: "openai" });
    expect(openai.backend.capabilities).toMatchObject({ seeds: "none", steps: false, negativePrompt: false });
    expect((await draw(openai.backend)).warnings).toEqual([
      expect.stringMatching(/only OpenAI's: prompt and size/),
      expect.stringMatching(/takes no seeds/),
    ]);
  });

  it("waits for a place in a full queue", async () => {
    const { backend, server } = await open({ queue: 2, jobMs: 60 });
    const other = await openSdcpp(new HttpServer({ name: "other", url: server.url, backoffMs: 1 }), { pollMs: 10 });
    started.push({ close: () => other.dispose() });
    const [ours, theirs] = await Promise.all([draw(backend, { batch: 1 }), draw(other, { batch: 1, seed: 90 })]);
    expect([...ours.images, ...theirs.images].map(({ seed }) => seed)).toEqual([40, 41, 42, 90, 91, 92]);
  });

  it("does not wait for a full queue for ever, nor for a job that is never over", async () => {
    const full = await open({ queue: 0 }, { timeoutMs: 30 }).catch((error: unknown) => error);
    expect(full).toMatchObject({ fault: "bad-response" });
    const { backend, server } = await open({ jobMs: 5000 }, { timeoutMs: 50 });
    await expect(draw(backend, { count: 1 })).rejects.toThrow(/expected pictures within 0.05 s/);
    server.behaviour.queue = 1;
    await expect(draw(backend, { count: 1 })).rejects.toMatchObject({ fault: "rate-limited" });
  });

  it.each([404, 410] as const)(
    "sends again what the server forgot (%i), and gives up in the end",
    async (lostStatus) => {
      const { backend, server } = await open({ lost: 2, lostStatus });
      expect((await draw(backend, { count: 1 })).images[0]!.image).toEqual(paint(40, SIZE));
      server.behaviour.lost = 3;
      await expect(draw(backend, { count: 1 })).rejects.toThrow(/a job that the server no longer knows/);
    },
  );

  it("sends again what somebody cancelled at the server, and says when a job failed", async () => {
    const { backend, server } = await open({ cancellations: 2 });
    expect((await draw(backend, { count: 1 })).images).toHaveLength(1);
    server.behaviour.failures = 1;
    await expect(draw(backend, { count: 1 })).rejects.toThrow(
      /failed job: generation_failed: generate_image returned no/,
    );
  });

  it("takes jobs back that wait when it is cancelled", async () => {
    const { backend, server } = await open({ jobMs: 150 }, { concurrency: 3 });
    const controller = new AbortController();
    const drawing = backend.generate(request({ count: 3, batch: 1 }), { signal: controller.signal }).next();
    await expect.poll(() => server.count("queued")).toBe(2);
    controller.abort();
    await expect(drawing).rejects.toBeInstanceOf(CancelledError);
    expect([server.count("queued"), server.count("cancelled")]).toEqual([0, 2]);
  });

  it("takes jobs back before it is closed, whoever does not wait for them", async () => {
    const { backend, server } = await open({ jobMs: 300 }, { concurrency: 3 });
    const drawing = backend.generate(request({ count: 3, batch: 1 })).next();
    drawing.catch(() => undefined);
    await expect.poll(() => server.count("queued")).toBe(2);
    await backend.dispose();
    expect([server.count("queued"), server.count("cancelled")]).toEqual([0, 2]);
  });

  it("warns of other seeds and sizes, and refuses too few pictures", async () => {
    const { backend } = await open({ otherSeeds: true, otherSize: true });
    const { images, warnings } = await draw(backend, { count: 1 });
    expect(images[0]).toMatchObject({ seed: 40, reportedSeed: 1040 });
    expect(warnings).toEqual([
      "sdcpp: expected a picture of 64 x 64, got 72 x 64",
      "sdcpp: expected seeds from 40, got 1040 instead of 40",
    ]);
    const fewer = await open({ fewer: true });
    await expect(draw(fewer.backend)).rejects.toThrow(/expected 2 pictures, got 1/);
  });

  it.each(FAULTS)("survives %s, wherever it happens", async (_, fault) => {
    const { backend, server } = await open();
    for (const path of [/img_gen/, /jobs/]) server.fail([fault], path);
    expect((await draw(backend)).images.map(({ image }) => image)).toEqual(
      [40, 41, 42].map((seed) => paint(seed, SIZE)),
    );
  });

  it.each(REFUSALS)("says what is wrong: %s", async (name, fault, kind, message) => {
    const { backend, server } = await open();
    server.fail([fault], /img_gen/);
    const error: unknown = await draw(backend, { count: 1 }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(HttpError);
    expect(error).toMatchObject({ fault: kind });
    expect((error as Error).message).toMatch(message);
    expect(asked(server)).toHaveLength(1);
    server.fail([fault], /jobs/);
    if (name !== "404") await expect(draw(backend, { count: 1 })).rejects.toMatchObject({ fault: kind });
  });

  it("refuses what is no such server", async () => {
    const server = await startSdcpp({ routes: "openai" });
    const client = new HttpServer({ name: "sdcpp", url: `${server.url}/elsewhere` });
    started.push(server, { close: () => client.close() });
    await expect(openSdcpp(client)).rejects.toThrow(/expected the routes of stable-diffusion.cpp's sd-server/);
  });
});
