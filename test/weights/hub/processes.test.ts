import type { ChildProcess } from "node:child_process";
import { readdir, readFile, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { HubCache } from "#laurel/weights/hub/cache";
import { expect, onTestFinished, test } from "vitest";
import { type Ended, finish, start } from "../../cli/processes.js";
import { temporaryFolder } from "../../pipeline/runs.js";
import { contents, etagOf, type FakeHub, startHub, text } from "./server.js";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const ID = "laurel/tiny";
const WEIGHTS = { bytes: contents(4_000_000, 1) };
const FILES = { "config.json": text("{}"), "model.safetensors": WEIGHTS };

/** A real process that pulls. */
function pull(hub: FakeHub, cache: string): { readonly process: ChildProcess; readonly ended: Promise<Ended> } {
  const environment = { HOME: cache, HF_HUB_CACHE: cache, HF_ENDPOINT: hub.endpoint };
  const child = start(["models", "pull", ID], { cwd: tmpdir(), environment });
  onTestFinished(() => void child.kill("SIGKILL"));
  return { process: child, ended: finish(child) };
}

/** Sizes of the files in a folder; none when it is not there yet. */
async function sizes(folder: string): Promise<Map<string, number>> {
  const names = await readdir(folder).catch(() => []);
  const pairs = names.map(async (name): Promise<[string, number]> => {
    return [name, (await stat(join(folder, name)).catch(() => undefined))?.size ?? 0];
  });
  return new Map(await Promise.all(pairs));
}

/** Resolves once an unfinished file holds more than `bytes`. */
async function untilReceived(blobs: string, bytes: number): Promise<number> {
  for (;;) {
    for (const [name, size] of await sizes(blobs)) if (name.endsWith(".incomplete") && size > bytes) return size;
    await sleep(10);
  }
}

test("two processes at once fetch each file once, and no reader sees a part of one", { timeout: 180_000 }, async () => {
  const hub = await startHub({ [ID]: { commit: COMMIT, files: FILES } });
  hub.pace = 10;
  const folder = join(await temporaryFolder(), "hub");
  const cache = new HubCache(folder);
  const children = [pull(hub, folder), pull(hub, folder)];
  const seen = new Set<number>();
  let whole = false;
  const watching = (async () => {
    while (!whole) {
      const size = (await stat(cache.blob(ID, etagOf(WEIGHTS))).catch(() => undefined))?.size;
      if (size !== undefined) seen.add(size);
      // a revision is named only when all its files are there
      const snapshot = await cache.snapshot({ id: ID, revision: "main" });
      if (snapshot !== undefined) expect(await cache.files(snapshot)).toEqual(["config.json", "model.safetensors"]);
      await sleep(5);
    }
  })();
  const outcomes = await Promise.all(children.map(({ ended }) => ended));
  whole = true;
  await watching;
  const path = cache.snapshotFolder(ID, COMMIT);
  expect(outcomes.map(({ code, stdout }) => [code, stdout])).toEqual([0, 1].map(() => [0, `${path}\n`]));
  expect([...seen]).toEqual([WEIGHTS.bytes.length]);
  expect(hub.asked.filter(({ host }) => host === "cdn")).toHaveLength(1);
  expect(Buffer.compare(await readFile(join(path, "model.safetensors")), WEIGHTS.bytes)).toBe(0);
});

test(
  "a process that is killed leaves nothing to be found, and the next goes on from there",
  { timeout: 180_000 },
  async () => {
    const hub = await startHub({ [ID]: { commit: COMMIT, files: FILES } });
    hub.pace = 20;
    const folder = join(await temporaryFolder(), "hub");
    const cache = new HubCache(folder);
    const blobs = join(cache.repository(ID), "blobs");
    const first = pull(hub, folder);
    await untilReceived(blobs, 500_000);
    first.process.kill("SIGKILL");
    await first.ended;
    const [left = 0] = [...(await sizes(blobs))]
      .filter(([name]) => name.endsWith(".incomplete"))
      .map(([, size]) => size);
    expect(left).toBeGreaterThan(500_000);
    expect(left).toBeLessThan(WEIGHTS.bytes.length);
    expect(await cache.snapshot({ id: ID, revision: "main" })).toBeUndefined();
    expect(await stat(cache.blob(ID, etagOf(WEIGHTS))).catch(() => undefined)).toBeUndefined();

    hub.pace = 0;
    const second = await pull(hub, folder).ended;
    expect(second.code).toBe(0);
    expect(hub.asked.filter(({ host }) => host === "cdn").map(({ range }) => range)).toEqual([
      undefined,
      `bytes=${left}-`,
    ]);
    expect(Buffer.compare(await readFile(cache.blob(ID, etagOf(WEIGHTS))), WEIGHTS.bytes)).toBe(0);
    expect([...(await sizes(blobs)).keys()].filter((name) => name.endsWith(".incomplete"))).toEqual([]);
  },
);
