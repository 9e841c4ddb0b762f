import { afterEach, describe, expect, it } from "vitest";
import type { GeneratedGroup, ImageBackend, ImageRequest } from "#laurel/backends/contract";
import { HttpServer } from "#laurel/backends/http/client";
import { HttpError } from "#laurel/backends/http/error";
import { openOpenai } from "#laurel/backends/openai";
import { poolOf, type PoolOptions } from "#laurel/backends/pool";
import { resolveRequest } from "#laurel/backends/resolve";
import { openWebui } from "#laurel/backends/webui";
import { CancelledError, UsageError } from "#laurel/errors";
import { backendConformance } from "./conformance.js";
import { type OpenaiBehaviour, startOpenai } from "./servers/openai-server.js";
import { startWebui, type WebuiBehaviour, type WebuiServer } from "./servers/webui-server.js";

const started: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.close()));
});

function client(url: string, name = "webui"): HttpServer {
  const quick = { backoffMs: 1, maximumBackoffMs: 2, retries: 0, idleMs: 300, breakAfter: 1000 };
  const made = new HttpServer({ name: `${name} ${url}`, url, ...quick });
  started.push(made);
  return made;
}

/** A pool of WebUIs that behave so; an address instead of a behaviour is used as it is. */
async function open(
  behaviours: readonly (WebuiBehaviour | string)[],
  options: PoolOptions = {},
): Promise<{ servers: (WebuiServer | undefined)[]; backend: ImageBackend }> {
  const servers = await Promise.all(
    behaviours.map(async (one) => (typeof one === "string" ? undefined : startWebui(one))),
  );
  for (const server of servers) if (server !== undefined) started.push(server);
  const clients = behaviours.map((one, i) => client(typeof one === "string" ? one : servers[i]!.url));
  return { servers, backend: await poolOf(clients, (server) => openWebui(server, { pollMs: 5 }), options) };
}

const drawn = (server: WebuiServer | undefined): number[] =>
  (server?.seen ?? []).flatMap(({ path, body }) => (path.endsWith("txt2img") ? [(body as { seed: number }).seed] : []));

function request(backend: ImageBackend, change: Partial<ImageRequest> = {}): ImageRequest {
  const asked = { prompt: "a cat", seed: 40, count: 8, batch: 1, width: 64, height: 64, steps: 2 };
  return resolveRequest(backend, { ...asked, ...change }).request;
}

async function draw(
  backend: ImageBackend,
  change: Partial<ImageRequest> = {},
  signal?: AbortSignal,
): Promise<{ seeds: number[]; warnings: string[] }> {
  const groups: GeneratedGroup[] = [];
  for await (const group of backend.generate(request(backend, change), { signal })) groups.push(group);
  return {
    seeds: groups.flatMap(({ images }) => images.map(({ seed }) => seed)),
    warnings: groups.flatMap(({ warnings }) => warnings),
  };
}

const SEEDS = [40, 41, 42, 43, 44, 45, 46, 47];
/** Nobody listens there. */
const NOBODY = "http://127.0.0.1:64999";

describe("the backend contract", () => {
  let opened: Promise<WebuiServer[]> | undefined;
  backendConformance({
    open: async () => {
      opened ??= Promise.all([startWebui(), startWebui()]);
      const servers = (await opened).map(({ url }) => new HttpServer({ name: `webui ${url}`, url }));
      return poolOf(servers, (server) => openWebui(server, { pollMs: 5 }));
    },
    prompt: "a cat",
    settings: { width: 64, height: 64, steps: 4 },
  });
});

describe("a pool", () => {
  it("shares the work, every group once, in order, one at a time a server", async () => {
    const { backend, servers } = await open([{ pictureMs: 40 }, { pictureMs: 40 }]);
    expect(backend.capabilities.concurrency).toBe(2);
    expect(await draw(backend)).toEqual({ seeds: SEEDS, warnings: [] });
    const [a, b] = servers.map(drawn);
    expect([...a!, ...b!].sort()).toEqual(SEEDS);
    expect(Math.min(a!.length, b!.length)).toBeGreaterThanOrEqual(3);
    expect(servers.map((one) => one!.most())).toEqual([1, 1]);
  });

  it("gives a slow server less", async () => {
    const { backend, servers } = await open([{ pictureMs: 400 }, { pictureMs: 5 }]);
    await draw(backend);
    expect(drawn(servers[0]).length).toBeLessThan(drawn(servers[1]).length);
  });

  it("passes over a server that fails, tells so, and takes it up again after its rest", async () => {
    const { backend, servers } = await open([{ pictureMs: 20 }, { pictureMs: 20 }], { restMs: 1000 });
    servers[0]!.fail([{ kind: "drop" }], /txt2img/);
    const { seeds, warnings } = await draw(backend, { count: 6 });
    expect(seeds).toEqual(SEEDS.slice(0, 6));
    expect(drawn(servers[0])).toHaveLength(1); // the one that failed
    expect(servers[1]!.most()).toBe(1); // it does not get the other's work on top
    expect(warnings).toEqual([expect.stringMatching(/connection closed .*; another server draws instead/)]);
    await new Promise((resolve) => setTimeout(resolve, 1050));
    await draw(backend, { count: 6 });
    expect(drawn(servers[0]).length).toBeGreaterThan(1);
  });

  it("begins without a server that cannot be reached, names it once, and takes it up when it comes", async () => {
    const late = await startWebui();
    const url = late.url;
    await late.close();
    const { backend, servers } = await open([url, {}], { restMs: 50 });
    const first = await draw(backend, { count: 1 });
    expect(first.warnings).toEqual([`webui ${url}: connection refused; is the server running?; it is passed over`]);
    expect(drawn(servers[1])).toHaveLength(1);
    const back = await startWebui({}, Number(new URL(url).port));
    started.push(back);
    await new Promise((resolve) => setTimeout(resolve, 80));
    expect((await draw(backend)).warnings).toEqual([]);
    expect(drawn(back).length).toBeGreaterThan(0);
  });

  it("never has one group in two places at once", async () => {
    const { backend, servers } = await open([{ pictureMs: 30 }, { pictureMs: 30 }, { pictureMs: 30 }], { restMs: 1 });
    for (const server of servers) server!.fail([{ kind: "drop" }, { kind: "status", status: 503 }], /txt2img/);
    const { seeds } = await draw(backend, { count: 3 }).catch(() => ({ seeds: [] as number[] }));
    const asked = servers.flatMap(drawn);
    // a group is asked for again only after it failed, and by each server once
    for (const seed of SEEDS.slice(0, 3)) expect(asked.filter((one) => one === seed).length).toBeLessThanOrEqual(3);
    expect(seeds.length).toBeLessThanOrEqual(3);
    for (const server of servers) expect(new Set(drawn(server)).size).toBe(drawn(server).length);
  });

  it("is unavailable when all are down, and works when one is back", async () => {
    const { backend, servers } = await open([{}, {}], { restMs: 60_000 });
    const drops = Array.from({ length: 2 }, () => ({ kind: "drop" }) as const);
    for (const server of servers) server!.fail(drops, /txt2img/);
    const error: unknown = await draw(backend, { count: 1 }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(HttpError);
    expect(error).toMatchObject({ fault: "unavailable" });
    expect(servers.map(drawn)).toEqual([[40], [40]]);
    for (const server of servers) server!.unfail();
    expect((await draw(backend, { count: 1 })).seeds).toEqual([40]);
  });

  it("cannot be opened when nobody answers", async () => {
    await expect(open([NOBODY, NOBODY])).rejects.toMatchObject({ fault: "unavailable" });
  });

  it("does not ask another server when the request itself is refused", async () => {
    const { backend, servers } = await open([{}, {}]);
    await expect(draw(backend, { count: 1, steps: 500 })).rejects.toMatchObject({ fault: "invalid-request" });
    expect(servers.flatMap(drawn)).toEqual([40]);
  });

  it("is refused when its servers draw with different checkpoints", async () => {
    await expect(open([{}, { checkpoint: "other.safetensors [def]" }])).rejects.toThrow(UsageError);
    await expect(open([{}, { checkpoint: "other.safetensors [def]" }])).rejects.toThrow(
      /expected tiny.safetensors \[abc\] like the other servers, got other.safetensors/,
    );
  });

  it("leaves out for good a server that comes back with another checkpoint", async () => {
    const late = await startWebui();
    const url = late.url;
    await late.close();
    const { backend } = await open([url, {}], { restMs: 20 });
    const back = await startWebui({ checkpoint: "other" }, Number(new URL(url).port));
    started.push(back);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await draw(backend)).seeds).toEqual(SEEDS);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await draw(backend);
    expect(drawn(back)).toEqual([]);
    expect(back.seen.filter(({ path }) => path.endsWith("options"))).toHaveLength(1);
  });

  it("reaches every server with a cancellation", async () => {
    const { backend, servers } = await open([{ pictureMs: 5000 }, { pictureMs: 5000 }]);
    const controller = new AbortController();
    const drawing = draw(backend, {}, controller.signal);
    await expect.poll(() => servers.flatMap(drawn).length).toBe(2);
    controller.abort();
    await expect(drawing).rejects.toBeInstanceOf(CancelledError);
    expect(servers.map((one) => one!.stopped.length)).toEqual([1, 1]);
  });

  it("tells of each server when probed", async () => {
    const { backend, servers } = await open([{}, NOBODY]);
    expect(await backend.probe!()).toEqual([
      expect.stringContaining(`webui ${servers[0]!.url}: tiny.safetensors [abc]`),
      expect.stringContaining("connection refused"),
    ]);
  });
});

describe("a rate", () => {
  const paced = async (behaviours: readonly OpenaiBehaviour[], options: PoolOptions): Promise<ImageBackend> => {
    const servers = await Promise.all(behaviours.map((one) => startOpenai(one)));
    started.push(...servers);
    const clients = servers.map(({ url }) => client(`${url}/v1`, "openai"));
    return poolOf(clients, async (server) => openOpenai(server, { model: "tiny" }), options);
  };

  it("holds over all servers together", async () => {
    const backend = await paced([{}, {}], { rate: { requests: 2, perSeconds: 0.2 } });
    const startedAt = performance.now();
    await draw(backend, { count: 6 });
    // two at once, two after 0.2 s, two after 0.4 s
    expect(performance.now() - startedAt).toBeGreaterThan(380);
  });

  it("does not hold up a cancellation", async () => {
    const backend = await paced([{}], { rate: { requests: 1, perSeconds: 60 } });
    const startedAt = performance.now();
    await expect(draw(backend, {}, AbortSignal.timeout(200))).rejects.toBeInstanceOf(CancelledError);
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });

  it("goes with a number of calls at once", async () => {
    const server = await startOpenai({ callMs: 20 });
    started.push(server);
    const one = client(`${server.url}/v1`, "openai");
    const backend = await poolOf([one], async (on) => openOpenai(on, { model: "tiny" }), { concurrency: 2 });
    await Promise.all([draw(backend), draw(backend)]);
    expect(server.most()).toBe(2);
  });
});
