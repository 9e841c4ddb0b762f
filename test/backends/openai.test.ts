import { afterEach, describe, expect, it } from "vitest";
import type { GeneratedGroup, ImageBackend, ImageRequest } from "#laurel/backends/contract";
import { HttpServer } from "#laurel/backends/http/client";
import { HttpError } from "#laurel/backends/http/error";
import { openOpenai, type OpenaiOptions } from "#laurel/backends/openai";
import { resolveRequest } from "#laurel/backends/resolve";
import { Secret } from "#laurel/util/secret";
import { backendConformance } from "./conformance.js";
import { FAULTS, REFUSALS } from "./faults.js";
import { type OpenaiBehaviour, startOpenai } from "./servers/openai-server.js";

const started: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.close()));
});

type Server = Awaited<ReturnType<typeof startOpenai>>;

async function open(
  behaviour: OpenaiBehaviour = {},
  options: OpenaiOptions = {},
  key?: string,
): Promise<{ server: Server; backend: ImageBackend }> {
  const server = await startOpenai(behaviour);
  const headers = key === undefined ? {} : { authorization: new Secret(`Bearer ${key}`) };
  const client = new HttpServer({
    name: "openai",
    url: `${server.url}/v1`,
    headers,
    backoffMs: 1,
    maximumBackoffMs: 5,
    idleMs: 300,
    retries: 2,
  });
  started.push(server, { close: () => client.close() });
  return { server, backend: openOpenai(client, options) };
}

async function draw(
  backend: ImageBackend,
  change: Partial<ImageRequest> = {},
): Promise<{ groups: GeneratedGroup[]; warnings: string[] }> {
  const { request, warnings } = resolveRequest(backend, {
    prompt: "a cat",
    seed: 5,
    count: 3,
    batch: 2,
    width: 64,
    height: 72,
    ...change,
  });
  const groups: GeneratedGroup[] = [];
  for await (const group of backend.generate(request)) groups.push(group);
  return { groups, warnings: [...warnings, ...new Set(groups.flatMap((one) => one.warnings))] };
}

describe("the backend contract", () => {
  let opened: Promise<Server> | undefined;
  backendConformance({
    open: async () =>
      openOpenai(new HttpServer({ name: "openai", url: `${(await (opened ??= startOpenai())).url}/v1` })),
    prompt: "a cat",
    settings: { width: 64, height: 64 },
  });
});

describe("openai", () => {
  it("draws, and says that it takes no seeds", async () => {
    const { backend, server } = await open();
    const { groups, warnings } = await draw(backend);
    const images = groups.flatMap((one) => one.images);
    expect(images.map(({ seed, reportedSeed }) => [seed, reportedSeed])).toEqual([
      [5, null],
      [6, null],
      [7, null],
    ]);
    expect(images[0]?.image).toMatchObject({ width: 64, height: 72 });
    expect(warnings).toEqual([expect.stringMatching(/takes no seeds/)]);
    expect(server.seen.map(({ body }) => body)).toEqual([
      { prompt: "a cat", n: 2, size: "64x72" },
      { prompt: "a cat", n: 1, size: "64x72" },
    ]);
  });

  it("warns of every setting that the contract has no word for", async () => {
    const { backend } = await open();
    const { warnings } = await draw(backend, { negativePrompt: "dog", steps: 9, guidance: 4, sampler: "ddim" });
    for (const what of ["negative prompt", "steps", "guidance", "sampler"])
      expect(warnings.join("\n")).toMatch(new RegExp(`${what} is not supported`));
  });

  it("fetches pictures that come as addresses, from the server itself", async () => {
    const { backend } = await open({ urls: true });
    expect((await draw(backend)).groups.flatMap((one) => one.images)).toHaveLength(3);
  });

  it("fetches none from the local network", async () => {
    const { backend } = await open({ url: "http://169.254.169.254/latest/meta-data" });
    await expect(draw(backend)).rejects.toThrow(
      /expected a public http\(s\) address, got the private address 169\.254\.169\.254/,
    );
  });

  it("records a prompt that was rewritten", async () => {
    const { backend } = await open({ revise: true });
    const { groups, warnings } = await draw(backend, { count: 1 });
    expect(groups[0]?.images[0]?.revisedPrompt).toBe("a cat, in oil");
    expect(warnings.join()).toMatch(/rewrote the prompt/);
  });

  it("sends its key and says when it is wrong, without showing it", async () => {
    const { backend } = await open({ key: "sk-right-key" }, {}, "sk-right-key");
    expect((await draw(backend)).groups).toHaveLength(2);
    const { backend: wrong } = await open({ key: "sk-right-key" }, {}, "sk-wrong-key");
    const error: unknown = await draw(wrong).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ fault: "unauthorised" });
    expect(String(error)).not.toContain("sk-wrong-key");
  });

  it("asks dall-e-3 for one picture a call, as base64", async () => {
    const { backend, server } = await open({}, { model: "dall-e-3", quality: "high" });
    await draw(backend, { batch: 3 });
    expect(server.seen).toHaveLength(3);
    expect(server.seen[0]?.body).toMatchObject({ n: 1, response_format: "b64_json", quality: "high" });
  });

  it("draws several groups at once, and yields them in order", async () => {
    const { backend, server } = await open({ callMs: 20 }, { concurrency: 3 });
    const { groups } = await draw(backend, { count: 8, batch: 1 });
    expect(groups.map((one) => one.images[0]?.seed)).toEqual([5, 6, 7, 8, 9, 10, 11, 12]);
    expect(server.most()).toBe(3);
  });

  it.each(FAULTS)("survives %s", async (_, fault) => {
    const { backend, server } = await open();
    server.fail([fault]);
    expect((await draw(backend)).groups.flatMap(({ images }) => images)).toHaveLength(3);
  });

  it.each(REFUSALS)("says what is wrong: %s", async (_, fault, kind, message) => {
    const { backend, server } = await open();
    server.fail([fault]);
    const error: unknown = await draw(backend, { count: 1 }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(HttpError);
    expect(error).toMatchObject({ fault: kind });
    expect((error as Error).message).toMatch(message);
    expect(server.seen).toHaveLength(1);
  });

  it("yields what is under way beside a call that fails, and begins no more", async () => {
    const { backend, server } = await open({ callMs: 50 }, { concurrency: 3 });
    server.fail([{ kind: "status", status: 400, body: "no" }]);
    const { request } = resolveRequest(backend, { prompt: "a cat", seed: 5, count: 9, batch: 1 });
    const seeds: number[] = [];
    const drawing = (async () => {
      for await (const { images } of backend.generate(request)) seeds.push(...images.map(({ seed }) => seed));
    })();
    await expect(drawing).rejects.toMatchObject({ fault: "invalid-request" });
    expect(seeds).toEqual([6, 7]);
    expect(server.seen).toHaveLength(3);
  });

  it("says whether it can be reached, for nothing", async () => {
    const { backend, server } = await open();
    expect(await backend.probe!()).toEqual([expect.stringContaining("it answers")]);
    server.fail([{ kind: "status", status: 401, body: JSON.stringify({ error: { message: "bad key" } }) }]);
    await expect(backend.probe!()).rejects.toMatchObject({ fault: "unauthorised" });
    expect(server.seen.map(({ method, path }) => `${method} ${path}`)).toEqual(["GET /v1/models", "GET /v1/models"]);
  });

  it.each([
    ["no pictures", { data: [] }, /expected 2 pictures, got 0/],
    ["neither form", { data: [{}, {}] }, /expected b64_json or url/],
    ["garbage", { data: [{ b64_json: "AAAA" }, { b64_json: "AAAA" }] }, /expected a PNG/],
    ["another answer", { images: [] }, /expected a list of pictures/],
  ])("refuses %s", async (_, json, message) => {
    const { backend, server } = await open();
    server.fail([{ kind: "status", status: 200, body: JSON.stringify(json) }]);
    await expect(draw(backend)).rejects.toThrow(message);
  });

  it.each([
    ["a text", JSON.stringify({ error: "prompt required" }), /400: prompt required/],
    ["an object", JSON.stringify({ error: "server_error", message: "boom" }), /400: server_error: boom/],
  ])("reads errors that are %s", async (_, body, message) => {
    const { backend, server } = await open();
    server.fail([{ kind: "status", status: 400, body }]);
    await expect(draw(backend)).rejects.toThrow(message);
  });
});
