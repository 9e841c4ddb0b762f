/** @file Runs whose pictures are drawn and scored by workers: the same as alone, and what is told when both sides do not fit. */

import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { resolveRequest } from "#laurel/backends/resolve";
import { Artefacts } from "#laurel/cluster/artefacts";
import { jobId, speaker } from "#laurel/cluster/protocol";
import { openWorkers, type SubmitterOptions } from "#laurel/cluster/submit";
import { BackendError, CancelledError, ModelError, UsageError } from "#laurel/errors";
import { modelRecord, modelRecords } from "#laurel/library/models";
import { createPipelineRun } from "#laurel/pipeline/execute/pipeline-run";
import { runPipeline } from "#laurel/pipeline/execute/run-pipeline";
import { HttpError } from "#laurel/backends/http/error";
import { type Storage, StorageError } from "#laurel/storage/contract";
import { openFileStorage } from "#laurel/storage/file";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { contentOf, planOf, services } from "../pipeline/execute/pipelines.js";
import { CHOICE, type Fleet, openFleet } from "./fleet.js";

let fleet: Fleet;
beforeEach(async () => {
  fleet = await openFleet();
});
afterEach(() => fleet.close());

const PIPELINE = `
version: 1
prompts: [a red circle, a blue square, a green triangle]
seed: 5
settings: { batch: 2 }
steps:
  - generate: { count: 5 }
  - score:
  - select: { keep: 2 }
  - img2img: { count: 2, strength: 0.5 }
  - score:
  - select: { keep: 1 }
  - export: { to: best }
`;

const open = (options: SubmitterOptions = {}) =>
  openWorkers(fleet.queue, fleet.storage, "local", CHOICE, { waitMs: 5000, ...options });

/** The fleet's storage, with some of it done in another way. */
function changed(change: Partial<Storage>): Storage {
  const { storage } = fleet;
  return {
    address: storage.address,
    get: (...given) => storage.get(...given),
    has: (...given) => storage.has(...given),
    put: (...given) => storage.put(...given),
    delete: (...given) => storage.delete(...given),
    list: (...given) => storage.list(...given),
    probe: (...given) => storage.probe(...given),
    close: () => storage.close(),
    ...change,
  };
}

async function drawn(name: string, models: Pick<ReturnType<typeof services>, "backend" | "reward">) {
  const plan = await planOf(fleet.folder, PIPELINE);
  const run = await createPipelineRun(join(fleet.folder, name), plan, await modelRecords(models));
  try {
    await runPipeline(run, services(models));
  } finally {
    await run.close();
  }
  return { manifest: run.manifest, content: await contentOf(run.directory), directory: run.directory };
}

test("a run of several steps is that of one process, byte for byte", async () => {
  const models = { backend: createProceduralBackend({ pictures: true }), reward: createBrightnessReward() };
  const alone = await drawn("alone", models);
  for (let i = 0; i < 3; i++) await fleet.work(models);
  const shared = await drawn("shared", await open({ inFlight: 5 }));
  expect(shared.content).toEqual(alone.content);
  expect(shared.content.candidates).toHaveLength(3 * 9);
  expect(shared.manifest.models).toEqual(alone.manifest.models);
});

test("what is in the storage is not made again, by whoever asks", async () => {
  const requests: unknown[] = [];
  const models = {
    backend: createProceduralBackend({ onRequest: (one) => requests.push(one), pictures: true }),
    reward: createBrightnessReward(),
  };
  await fleet.work(models);
  const first = await drawn("first", await open());
  const [asked, scored] = [requests.length, models.reward.calls.length];
  const again = await drawn("again", await open());
  expect(again.content).toEqual(first.content);
  expect([requests.length, models.reward.calls.length]).toEqual([asked, scored]);
});

test("a picture that is lost or damaged in the storage is drawn again", async () => {
  await fleet.work({ backend: createProceduralBackend({ pictures: true }) });
  const first = await drawn("first", await open());
  const keys: string[] = [];
  for await (const { key } of fleet.storage.list("images/")) keys.push(key);
  await fleet.storage.delete(keys[0]!);
  await fleet.storage.put(keys[1]!, Buffer.from("half a pic"));
  const again = await drawn("again", await open());
  expect(again.content).toEqual(first.content);
});

test("pictures that are lost before they are scored or drawn from are stored again", async () => {
  const own = { backend: createProceduralBackend({ pictures: true }), reward: createBrightnessReward() };
  const alone = await drawn("alone", own);
  const lost = new Set<string>();
  // workers find no picture when they first look for it
  const losing = changed({
    get: async (key, options) => {
      if (key.startsWith("images/") && !lost.has(key)) await fleet.storage.delete(key);
      if (key.startsWith("images/")) lost.add(key);
      return fleet.storage.get(key, options);
    },
  });
  await fleet.work({ ...own, storage: losing });
  const queued = await drawn("queued", await open());
  expect(queued.content).toEqual(alone.content);
  expect(lost.size).toBe(27);
});

test("values that are no values are made again", async () => {
  await fleet.work();
  const { reward } = await open();
  const image = { width: 2, height: 2, data: new Uint8Array(12).fill(255) };
  const expected = await reward.score("a white square", [image]);
  for await (const { key } of fleet.storage.list("values/")) await fleet.storage.put(key, Buffer.from("<html>"));
  expect(await (await open()).reward.score("a white square", [image])).toEqual(expected);
  expect(expected.scores).toEqual([2]);
});

test("scores that are no numbers, members and held-out rewards travel", async () => {
  const nothing = createBrightnessReward(() => Number.NaN, ["too dark"]);
  const reward = {
    ...nothing,
    score: async (...given: Parameters<typeof nothing.score>) => ({
      ...(await nothing.score(...given)),
      members: { a: [1, Number.NaN] },
      heldOut: { b: [0.5, 2] },
    }),
  };
  await fleet.work({ reward });
  const image = { width: 2, height: 2, data: new Uint8Array(12) };
  const result = await (await open()).reward.score("x", [image, image]);
  expect(result).toEqual({
    scores: [Number.NaN, Number.NaN],
    warnings: ["too dark"],
    members: { a: [1, Number.NaN] },
    heldOut: { b: [0.5, 2] },
  });
});

test("embeddings and LoRAs go through the storage and keep their names", async () => {
  const files = { embeddings: join(fleet.folder, "word.safetensors"), loras: join(fleet.folder, "style.safetensors") };
  await writeFile(files.embeddings, "embedding");
  await writeFile(files.loras, "lora");
  let seen: { embeddings?: readonly string[] | undefined; loras?: readonly { path: string }[] | undefined } = {};
  const backend = createProceduralBackend({
    capabilities: { embeddings: true, loras: true },
    onRequest: (one) => (seen = one),
  });
  await fleet.work({ backend });
  const { backend: queued } = await open();
  const request = {
    prompt: "x",
    negativePrompt: undefined,
    promptSyntax: undefined,
    clipSkip: undefined,
    seed: 1,
    count: 1,
    batch: 1,
    steps: 2,
    guidance: undefined,
    sampler: "paint",
    width: 16,
    height: 16,
    strength: undefined,
    init: undefined,
    mask: undefined,
    embeddings: [files.embeddings],
    loras: [{ path: files.loras, scale: 0.5 }],
    loraAnneal: undefined,
  } as const;
  for await (const group of queued.generate(request)) expect(group.images).toHaveLength(1);
  expect(seen.loras).toEqual([{ path: expect.stringMatching(/files.[0-9a-f]{64}.style\.safetensors$/), scale: 0.5 }]);
  expect(seen.embeddings).toEqual([expect.stringMatching(/files.[0-9a-f]{64}.word\.safetensors$/)]);
});

test("without a worker the submitter says so, and how to start one", async () => {
  await expect(open({ waitMs: 300 })).rejects.toThrow(
    /expected a worker for (local|score) within 0.3 s, none is there; start one with: laurel worker/,
  );
  await expect(open({ waitMs: 300 })).rejects.toBeInstanceOf(BackendError);
});

test("a worker with another storage is refused", async () => {
  await fleet.work({ storage: openFileStorage(join(fleet.folder, "elsewhere")) });
  await expect(open()).rejects.toThrow(/expected the storage of the submitter, got one in which its probe is not/);
});

test("another version of Laurel is refused with both versions", async () => {
  await fleet.work();
  const { protocol, laurel } = speaker();
  const old = { kind: "describe-backend", protocol: protocol - 1, laurel: "0.0.1", probe: "probes/x" } as const;
  const job = { id: jobId(old), queue: "local", data: old, priority: 0 };
  await expect(fleet.queue.run(job)).rejects.toThrow(
    `expected a job of Laurel ${laurel} (protocol ${protocol}), which this worker runs, got one of a submitter with Laurel 0.0.1 (protocol ${protocol - 1})`,
  );
});

test("a worker whose weights are others does not draw", async () => {
  const weights = join(fleet.folder, "weights.bin");
  await writeFile(weights, "one");
  const worker = await fleet.work({ backend: createProceduralBackend({ weights }) });
  const { backend } = await open();
  await worker.close();
  const others = join(fleet.folder, "others.bin");
  await writeFile(others, "two");
  await fleet.work({ backend: createProceduralBackend({ weights: others }) });
  const drawing = drawn("other", { backend, reward: createBrightnessReward() });
  await expect(drawing).rejects.toBeInstanceOf(ModelError);
  await expect(drawing).rejects.toThrow(
    /worker-1: expected the model of the other workers, procedural rectangles \([0-9a-f]{12}\), got/,
  );
});

test("a worker that lacks a model says which", async () => {
  await fleet.work({
    means: { reward: () => Promise.reject(new ModelError("image-reward-v1.0: expected its files, got none")) },
  });
  await expect(open()).rejects.toThrow(/worker-0: image-reward-v1.0: expected its files, got none/);
});

test("beside a worker that lacks a model, and one that may not write, the others make the run", async () => {
  const models = { backend: createProceduralBackend({ pictures: true }), reward: createBrightnessReward() };
  const alone = await drawn("alone", models);
  const readOnly = changed({
    probe: () => Promise.resolve(),
    put: () => Promise.reject(new StorageError("store: expected to write it, got a read-only file system", "denied")),
  });
  const lacking = () => Promise.reject(new ModelError("image-reward-v1.0: expected its files, got none"));
  await fleet.work({ ...models, storage: readOnly, concurrency: 3 });
  await fleet.work({ ...models, means: { reward: lacking, backend: lacking }, concurrency: 3 });
  await fleet.work(models);
  const shared = await drawn("shared", await open());
  expect(shared.content).toEqual(alone.content);
  expect(await fleet.queue.list({ states: ["failed"] }, 10)).toEqual([]);
});

test("workers are asked before the work of others, and nothing is left of a question", async () => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const plain = createProceduralBackend();
  const order: string[] = [];
  const backend = {
    ...plain,
    async *generate(...given: Parameters<typeof plain.generate>) {
      order.push(given[0].prompt);
      await gate;
      yield* plain.generate(...given);
    },
  };
  await fleet.work({ backend, onJob: ({ id }) => order.push(id.replace(/-[0-9a-f]{64}$/, "")) });
  const { backend: queued } = await open({ priority: 1 });
  const { request } = resolveRequest(queued, { prompt: "a red circle", seed: 1, count: 3, batch: 1 });
  const drawing = (async () => {
    for await (const { images } of queued.generate(request)) expect(images).toHaveLength(1);
  })();
  await expect.poll(async () => fleet.queue.counts("local")).toMatchObject({ active: 1, waiting: 2 });
  order.length = 0;
  const opening = open();
  await expect.poll(async () => fleet.queue.counts("local")).toMatchObject({ active: 1, waiting: 3 });
  release();
  await Promise.all([drawing, opening]);
  expect(order.filter((one) => one !== "describe-reward").slice(0, 2)).toEqual(["draw", "describe-backend"]);
  const ids = (await fleet.queue.list({}, 100)).map(({ id }) => id.split("-", 1)[0]);
  expect(ids).toEqual(["draw", "draw", "draw"]);
});

test("when one question fails the other is taken back, and neither stays", async () => {
  await fleet.work({
    capabilities: ["score"],
    means: { reward: () => Promise.reject(new UsageError("reward: expected a name, got none")) },
  });
  const begun = performance.now();
  await expect(open({ waitMs: 30_000 })).rejects.toThrow("reward: expected a name, got none");
  expect(performance.now() - begun).toBeLessThan(10_000);
  expect(await fleet.queue.list({}, 10)).toEqual([]);
  for await (const { key } of fleet.storage.list("probes/")) expect.unreachable(key);
});

test("jobs that lose their device together have it opened anew once", async () => {
  let resets = 0;
  const failing: (() => void)[] = [];
  let dead = true;
  const plain = createProceduralBackend();
  const backend = {
    ...plain,
    async *generate(...given: Parameters<typeof plain.generate>) {
      if (dead) {
        await new Promise<void>((resolve) => void failing.push(resolve));
        throw new BackendError("program unet: expected the device process to answer, got its end (SIGKILL)");
      }
      yield* plain.generate(...given);
    },
  };
  const reset = async (): Promise<void> => {
    resets++;
    dead = false;
    return Promise.resolve();
  };
  await fleet.work({
    backend,
    concurrency: 3,
    means: { backend: async () => ({ backend, record: await modelRecord(backend) }), reset },
  });
  const { backend: queued } = await open();
  const { request } = resolveRequest(queued, { prompt: "a red circle", seed: 1, count: 3, batch: 1 });
  const drawing = (async () => {
    let count = 0;
    for await (const { images } of queued.generate(request)) count += images.length;
    return count;
  })();
  await expect.poll(() => failing.length).toBe(3);
  for (const fail of failing) fail();
  expect(await drawing).toBe(3);
  expect(resets).toBe(1);
});

test("a request that a server refuses fails its item, and the others are drawn", async () => {
  const plain = createProceduralBackend({ pictures: true });
  const backend = {
    ...plain,
    async *generate(...given: Parameters<typeof plain.generate>) {
      if (given[0].prompt === "a blue square")
        throw new HttpError("server: expected a kind prompt, got squares", { fault: "invalid-request" });
      yield* plain.generate(...given);
    },
  };
  await fleet.work({ backend });
  const { manifest, content } = await drawn("partial", await open());
  expect(manifest.status).toBe("partial");
  expect(manifest.items).toEqual({ total: 3, finished: 2, failed: 1 });
  expect(content.items[1]?.error).toContain("expected a kind prompt");
  const failed = await fleet.queue.list({ states: ["failed"] }, 10);
  expect(failed.map(({ queue }) => queue)).toContain("local");
});

test("an aborted run stops what workers draw", async () => {
  const abort = new AbortController();
  let stopped = false;
  const plain = createProceduralBackend({ groupMs: 20_000, pictures: true });
  const backend = {
    ...plain,
    async *generate(...given: Parameters<typeof plain.generate>) {
      try {
        yield* plain.generate(...given);
      } catch (error) {
        stopped = error instanceof CancelledError;
        throw error;
      }
    },
  };
  await fleet.work({ backend });
  const models = await open();
  const plan = await planOf(fleet.folder, PIPELINE);
  const run = await createPipelineRun(join(fleet.folder, "aborted"), plan, await modelRecords(models));
  const working = runPipeline(run, services({ ...models, signal: abort.signal }));
  setTimeout(() => abort.abort(), 300);
  await expect(working).rejects.toBeInstanceOf(CancelledError);
  await run.close();
  await expect.poll(() => stopped, { timeout: 5000 }).toBe(true);
  expect((await fleet.queue.counts("local")).waiting).toBe(0);
});

test("a file of the storage that is another than named is refused", async () => {
  const artefacts = new Artefacts(fleet.storage);
  const path = join(fleet.folder, "a.safetensors");
  await writeFile(path, "weights");
  const named = await artefacts.putFile(path);
  await fleet.storage.put(`files/${named.sha256.slice(0, 2)}/${named.sha256}`, Buffer.from("others"));
  await expect(artefacts.file(named, join(fleet.folder, "files"))).rejects.toThrow(
    /expected the file a.safetensors \([0-9a-f]{64}\), got another content/,
  );
  expect(await readdir(join(fleet.folder, "files")).catch(() => [])).toEqual([]);
});

test("a job that is no job of this version is refused", async () => {
  await fleet.work();
  const job = { id: "draw-x", queue: "local", data: { ...speaker(), kind: "draw", request: 5 }, priority: 0 };
  await expect(fleet.queue.run(job)).rejects.toThrow(/expected one that a submitter of this version makes/);
});

test("a picture takes three objects written and six read or looked for", async () => {
  const counted = { get: 0, put: 0, has: 0 };
  const { storage } = fleet;
  const counting = changed({
    get: (...given) => (counted.get++, storage.get(...given)),
    has: (...given) => (counted.has++, storage.has(...given)),
    put: (...given) => (counted.put++, storage.put(...given)),
  });
  await fleet.work({ storage: counting });
  const { backend, reward } = await openWorkers(fleet.queue, counting, "local", CHOICE, { waitMs: 5000 });
  Object.assign(counted, { get: 0, put: 0, has: 0 });
  const { request } = resolveRequest(backend, { prompt: "a red circle", seed: 1, count: 1 });
  for await (const { images } of backend.generate(request))
    await reward.score(
      "a red circle",
      images.map(({ image }) => image),
    );
  expect(counted).toMatchObject({ put: 3, get: 6, has: 0 });
});
