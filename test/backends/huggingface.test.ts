import { afterEach, describe, expect, it } from "vitest";
import type { GeneratedImage, ImageBackend } from "#laurel/backends/contract";
import { HttpServer } from "#laurel/backends/http/client";
import { HttpError } from "#laurel/backends/http/error";
import { openHuggingface } from "#laurel/backends/huggingface";
import type { HuggingfaceOptions } from "#laurel/backends/huggingface-route";
import { resolveRequest, type OpenRequest } from "#laurel/backends/resolve";
import { CancelledError, UsageError } from "#laurel/errors";
import { Secret } from "#laurel/util/secret";
import { backendConformance } from "./conformance.js";
import { FAULTS, REFUSALS } from "./faults.js";
import {
  type HuggingfaceBehaviour,
  type HuggingfaceServer,
  serves,
  startHuggingface,
} from "./servers/huggingface-server.js";
import { paint } from "./servers/webui-server.js";

const started: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.close()));
});

const HUB_TOKEN = new Secret("hf_0123456789");
const OWN_KEY = new Secret("key-0123456789");
const ENDPOINT = "https://endpoint.example/";
const PROVIDERS = ["hf-inference", "together", "nscale", "fal-ai", "wavespeed", "zai-org", "replicate"] as const;

function clientOf({ connect }: HuggingfaceServer, url = "https://router.huggingface.co"): HttpServer {
  const quick = { backoffMs: 1, maximumBackoffMs: 5, idleMs: 300 };
  const client = new HttpServer({ name: "huggingface", url, connect, ...quick });
  started.push(client);
  return client;
}

async function open(
  behaviour: HuggingfaceBehaviour,
  options: HuggingfaceOptions = {},
): Promise<{ server: HuggingfaceServer; backend: ImageBackend }> {
  const server = await startHuggingface(behaviour);
  started.push(server);
  const client = clientOf(server, options.endpoint);
  const model = options.endpoint === undefined ? { model: "someone/tiny" } : {};
  return { server, backend: openHuggingface(client, { token: HUB_TOKEN, pollMs: 5, ...model, ...options }) };
}

async function draw(
  backend: ImageBackend,
  change: Partial<OpenRequest> = {},
): Promise<{ images: GeneratedImage[]; warnings: string[] }> {
  const { request } = resolveRequest(backend, { prompt: "a cat", seed: 40, count: 1, ...change });
  const images: GeneratedImage[] = [];
  const warnings: string[] = [];
  for await (const group of backend.generate(request)) {
    images.push(...group.images);
    warnings.push(...group.warnings);
  }
  return { images, warnings };
}

const picture = (seed: number) => paint(seed, { width: 64, height: 64 });

describe("the backend contract", () => {
  let opened: Promise<HuggingfaceServer> | undefined;
  backendConformance({
    open: async () => {
      opened ??= startHuggingface({ mapping: [serves("together")], pictureMs: 5 });
      const { connect } = await opened;
      const client = new HttpServer({ name: "huggingface", url: "https://router.huggingface.co", connect });
      return openHuggingface(client, { model: "someone/tiny", token: HUB_TOKEN });
    },
    prompt: "a cat",
    settings: { width: 64, height: 64 },
  });
});

describe("a provider", () => {
  it.each(PROVIDERS)("%s draws through the router, with a token of Hugging Face", async (provider) => {
    const { backend, server } = await open({ mapping: [serves(provider)] }, { provider, billTo: "acme" });
    const { images } = await draw(backend, { steps: 4, guidance: 5, width: 64, height: 64, negativePrompt: "blur" });
    expect(images[0]?.image).toEqual(picture(40));
    const [hub, order] = server.seen;
    expect(hub?.headers).toMatchObject({ host: "huggingface.co", authorization: "Bearer hf_0123456789" });
    expect(order?.headers).toMatchObject({ host: "router.huggingface.co", "x-hf-bill-to": "acme" });
    const hosts = new Set(server.seen.map(({ headers }) => headers.host));
    expect(
      [...hosts].every((host) => ["huggingface.co", "router.huggingface.co", "files.example"].includes(host!)),
    ).toBe(true);
  });

  it.each(PROVIDERS.slice(1))("%s draws with its own key, which the hub is not shown", async (provider) => {
    const { backend, server } = await open({ mapping: [serves(provider)] }, { provider, token: OWN_KEY });
    expect((await draw(backend)).images[0]?.image).toEqual(picture(40));
    expect(server.seen[0]?.headers.authorization).toBeUndefined();
    expect(server.seen[1]?.headers.host).not.toBe("router.huggingface.co");
    expect(server.seen[1]?.headers.authorization).toContain("key-0123456789");
  });

  it("draws every seed in its own call, a few at a time, and asks the hub once", async () => {
    const { backend, server } = await open({ mapping: [serves("nscale")] });
    const { images, warnings } = await draw(backend, { count: 6, steps: 3 });
    expect(images.map(({ seed, reportedSeed }) => [seed, reportedSeed])).toEqual(
      [40, 41, 42, 43, 44, 45].map((seed) => [seed, null]),
    );
    expect(images.map(({ image }) => image)).toEqual([40, 41, 42, 43, 44, 45].map(picture));
    expect(server.seen.filter(({ headers }) => headers.host === "huggingface.co")).toHaveLength(1);
    expect(new Set(warnings)).toEqual(
      new Set(["huggingface: seed, steps: passed on, but the provider does not say whether it honours them"]),
    );
    expect(images[0]?.source).toBe("huggingface (nscale)");
  });

  it("records the seed that an answer reports", async () => {
    const { backend } = await open({ mapping: [serves("fal-ai")] });
    const { images, warnings } = await draw(backend);
    expect(images[0]).toMatchObject({ seed: 40, reportedSeed: 7 });
    expect(warnings[0]).toMatch(/expected the seeds asked for, got others/);
  });

  it("takes an address where base64 was asked for", async () => {
    const { backend } = await open({ mapping: [serves("together")], togetherUrl: true });
    expect((await draw(backend)).images[0]?.image).toEqual(picture(40));
  });

  it("is chosen on the hub: the first that draws, whichever form the hub writes", async () => {
    const chat = serves("together", { task: "conversational" });
    const list = await open({ mapping: [chat, serves("unheard-of"), serves("nscale"), serves("together")] });
    expect((await draw(list.backend)).images[0]?.source).toContain("nscale");
    const entry = { providerId: "tiny", status: "live", task: "text-to-image" };
    const table = await open({ mapping: { nscale: entry } });
    expect(await table.backend.probe!()).toEqual([expect.stringContaining("drawn by nscale as tiny")]);
  });

  it("warns of one that is only being tried out", async () => {
    const { backend } = await open({ mapping: [serves("nscale", { status: "staging" })] });
    expect((await draw(backend)).warnings[0]).toMatch(/for tests only/);
  });

  it.each([
    ["none at all", { mapping: [] }, {}, UsageError, /got none$/],
    ["none that draws", { mapping: [serves("together", { task: "conversational" })] }, {}, UsageError, /got none$/],
    [
      "not the one asked for",
      { mapping: [serves("nscale")] },
      { provider: "together" },
      UsageError,
      /together, which does not; it is served by nscale/,
    ],
    ["an unknown model", {}, {}, HttpError, /\/api\/models\/someone\/tiny: 404: Repository not found/],
    ["another answer", { mapping: "nscale" }, {}, HttpError, /expected the providers of a model/],
  ] as const)("is refused when the hub lists %s", async (_, behaviour, options, kind, message) => {
    const { backend } = await open({ ...behaviour } as HuggingfaceBehaviour, options);
    const error: unknown = await draw(backend).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(kind);
    expect((error as Error).message).toMatch(message);
  });

  it.each(["fal-ai", "wavespeed", "zai-org", "replicate"])("%s says why a queued picture failed", async (provider) => {
    const { backend } = await open({ mapping: [serves(provider)], failure: "NSFW content" });
    await expect(draw(backend)).rejects.toThrow(provider === "zai-org" ? /status is fail/ : /NSFW content/);
  });

  it("is asked again when a question after a queued picture fails, without a second order", async () => {
    const { backend, server } = await open({ mapping: [serves("fal-ai")] });
    server.fail([{ kind: "drop" }, { kind: "status", status: 503 }], /status/);
    expect((await draw(backend)).images[0]?.image).toEqual(picture(40));
    expect(server.seen.filter(({ method }) => method === "POST")).toHaveLength(1);
  });

  it("that never finishes is given up and told so", async () => {
    const { backend, server } = await open({ mapping: [serves("fal-ai")], polls: 1e9 }, { queueSeconds: 0.1 });
    await expect(draw(backend)).rejects.toThrow(/within 0.1 s, got it still queued/);
    expect(server.seen.at(-1)).toMatchObject({ method: "PUT", path: expect.stringContaining("/cancel") as string });
  });

  it.each([
    ["fal-ai", "PUT"],
    ["replicate", "POST"],
  ])("%s is told of a cancellation", async (provider, method) => {
    const { backend, server } = await open({ mapping: [serves(provider)], polls: 1e9 });
    const { request } = resolveRequest(backend, { prompt: "a cat", seed: 40, count: 1 });
    const drawing = backend.generate(request, { signal: AbortSignal.timeout(150) });
    await expect(drawing.next()).rejects.toBeInstanceOf(CancelledError);
    expect(server.seen.at(-1)).toMatchObject({ method, path: expect.stringContaining("/cancel") as string });
  });
});

describe("a dedicated endpoint", () => {
  it.each(["bytes", "b64", "output"] as const)("answers with %s, whatever the label", async (form) => {
    const { backend, server } = await open({ endpoint: form }, { endpoint: ENDPOINT });
    expect((await draw(backend)).images[0]?.image).toEqual(picture(40));
    expect(server.seen[0]?.headers).toMatchObject({ host: "endpoint.example", authorization: "Bearer hf_0123456789" });
    expect(await backend.probe!()).toEqual([]);
  });

  it("does without a token", async () => {
    const server = await startHuggingface();
    started.push(server);
    const backend = openHuggingface(clientOf(server, ENDPOINT), { endpoint: ENDPOINT });
    expect((await draw(backend)).images).toHaveLength(1);
    expect(server.seen[0]?.headers.authorization).toBeUndefined();
  });

  it.each(["http://127.0.0.1:1/x.png", "https://169.254.169.254/latest", "file:///etc/passwd"])(
    "may not lead to %s",
    async (file) => {
      const { backend, server } = await open({ endpoint: "output", file }, { endpoint: ENDPOINT });
      await expect(draw(backend)).rejects.toMatchObject({ fault: "bad-response" });
      expect(server.seen).toHaveLength(1);
    },
  );

  it.each(FAULTS)("survives %s", async (_, fault) => {
    const { backend, server } = await open({}, { endpoint: ENDPOINT });
    server.fail([fault]);
    expect((await draw(backend)).images[0]?.image).toEqual(picture(40));
    expect(server.seen).toHaveLength(2);
  });

  it.each(REFUSALS)("says what is wrong: %s", async (_, fault, kind, message) => {
    const { backend, server } = await open({}, { endpoint: ENDPOINT });
    server.fail([fault]);
    const error: unknown = await draw(backend).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(HttpError);
    expect(error).toMatchObject({ fault: kind });
    expect((error as Error).message).toMatch(message);
    expect(server.seen).toHaveLength(1);
  });

  it("is asked a few times and no more while it answers 503, with pauses", async () => {
    const { backend, server } = await open({}, { endpoint: ENDPOINT });
    const body = JSON.stringify({ error: "Model is loading", estimated_time: 0.004 });
    server.fail(Array.from({ length: 100 }, () => ({ kind: "status", status: 503, body }) as const));
    await expect(draw(backend)).rejects.toThrow(/503: Model is loading/);
    expect(server.seen).toHaveLength(5);
  });
});

describe("options", () => {
  const refused = (options: HuggingfaceOptions): (() => unknown) => {
    const server = new HttpServer({ name: "huggingface", url: ENDPOINT });
    started.push(server);
    return () => openHuggingface(server, options);
  };

  it.each([
    ["provider and endpoint", { provider: "nscale", endpoint: ENDPOINT }, /url or provider, got both/],
    ["no model", { token: HUB_TOKEN }, /model: expected a model on the hub/],
    ["a model that is an address", { token: HUB_TOKEN, model: "https://x/y" }, /expected organisation\/name/],
    ["a model that climbs", { token: HUB_TOKEN, model: "../../secrets" }, /expected organisation\/name/],
    ["an unknown provider", { token: HUB_TOKEN, model: "a/b", provider: "acme" }, /provider: expected auto or one of/],
    [
      "a provider that only chats",
      { token: HUB_TOKEN, model: "a/b", provider: "groq" },
      /provider: expected auto or one of/,
    ],
    ["no token", { model: "a/b" }, /set HF_TOKEN/],
    ["somebody's key without saying whose", { model: "a/b", token: OWN_KEY }, /say which provider it is for/],
  ] as const)("are refused: %s", (_, options, message) => {
    expect(refused(options)).toThrow(UsageError);
    expect(refused(options)).toThrow(message);
  });
});
