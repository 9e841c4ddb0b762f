/** @file Pipelines run by the executable as a process: other processes, signals, servers that die, disks that are full. */

import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { readPipelineManifest } from "#laurel/pipeline/execute/pipeline-run";
import { startWebui } from "../backends/servers/webui-server.js";
import { type Ended, finish, start as startLaurel } from "./processes.js";

// Each test starts several processes; a busy machine takes its time.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 60_000 });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-test-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const start = (args: readonly string[]): ReturnType<typeof startLaurel> => startLaurel(args, { cwd: folder });
const laurel = (args: readonly string[]): Promise<Ended> => finish(start(args));

/** Writes a pipeline of `prompts` prompts, drawn by `backend`. */
async function pipeline(name: string, prompts: number, count: number, backend: object): Promise<string> {
  const file = join(folder, `${name}.yaml`);
  const document = {
    version: 1,
    prompts: Array.from({ length: prompts }, (_, i) => `a red circle number ${i}`),
    seed: 1,
    settings: { steps: 2, batch: 2 },
    backend,
    steps: [{ generate: { count } }, { score: null }, { select: { keep: 1 } }, { export: { to: "best" } }],
  };
  await writeFile(file, JSON.stringify(document));
  return file;
}

/** Waits until the one run below `out` has at least `count` candidates; resolves to its folder. */
async function whenStored(out: string, count: number): Promise<string> {
  for (;;) {
    const [name] = await readdir(out).catch(() => []);
    if (name !== undefined && (await candidates(join(out, name))).length >= count) return join(out, name);
    await sleep(10);
  }
}

/** The lines of a run's list, sorted. */
async function candidates(directory: string): Promise<string[]> {
  const text = await readFile(join(directory, "candidates.jsonl"), "utf8").catch(() => "");
  return text.split("\n").slice(0, -1).sort();
}

async function onlyRun(out: string): Promise<string> {
  return join(out, (await readdir(out))[0] ?? "");
}

test("a second process on a run is refused, and the first goes on", async () => {
  const out = join(folder, "busy");
  const first = start(["run", await pipeline("busy", 4, 10, { backend: "local" }), "--out", out, "--quiet"]);
  const ended = finish(first);
  const directory = await whenStored(out, 1);
  const { code, stderr } = await laurel(["resume", directory]);
  expect([code, stderr]).toEqual([2, expect.stringContaining(`got one held by process ${first.pid}`) as string]);
  const removal = await laurel(["runs", "rm", directory, "--yes"]);
  expect([removal.code, removal.stderr]).toEqual([2, expect.stringContaining("held by process") as string]);
  expect((await ended).code).toBe(0);
  expect(await candidates(directory)).toHaveLength(40);
});

test("Ctrl-C keeps what is stored; the second one ends the process at once", async () => {
  const server = await startWebui({ pictureMs: 300 });
  try {
    const file = await pipeline("interrupted", 4, 4, { backend: "webui", url: server.url });
    const out = join(folder, "interrupted");
    const child = start(["run", file, "--out", out]);
    const ended = finish(child);
    const directory = await whenStored(out, 2);
    const sent = performance.now();
    child.kill("SIGINT");
    const { code, stderr } = await ended;
    expect(performance.now() - sent).toBeLessThan(2500);
    expect(code).toBe(130);
    expect(stderr).toMatch(/cancelled with \d of 4 items and \d+ candidates; finish it with: laurel resume \S+\n$/);
    // what the server was drawing is not drawn to its end
    expect(server.stopped.length).toBeGreaterThan(0);
    expect((await readPipelineManifest(directory)).status).toBe("cancelled");
    const impatient = start(["resume", directory]);
    const gone = once(impatient, "close");
    await sleep(1500);
    impatient.kill("SIGINT");
    impatient.kill("SIGINT");
    expect(await gone).toEqual([130, null]);
    server.behaviour.pictureMs = 0;
    expect((await laurel(["resume", directory])).code).toBe(0);
    expect(await candidates(directory)).toHaveLength(16);
  } finally {
    await server.close();
  }
});

test("a server that dies pauses the run with code 3; with the server back, it is completed", async () => {
  const server = await startWebui({ pictureMs: 20 });
  const port = Number(new URL(server.url).port);
  const file = await pipeline("dead", 4, 6, { backend: "webui", url: server.url, retries: 1 });
  const undisturbed = join(folder, "undisturbed");
  expect((await laurel(["run", file, "--out", undisturbed, "--quiet"])).code).toBe(0);
  const out = join(folder, "dead");
  const running = laurel(["run", file, "--out", out]);
  const directory = await whenStored(out, 8);
  await server.close();
  const { code, stderr } = await running;
  expect(code).toBe(3);
  expect(stderr).toMatch(/the run is paused with \d of 4 items and \d+ candidates; go on with: laurel resume \S+/);
  expect((await readPipelineManifest(directory)).status).toBe("paused");
  const kept = await candidates(directory);
  expect(kept.length).toBeGreaterThanOrEqual(8);
  expect((await laurel(["resume", directory])).code).toBe(3);
  expect(await candidates(directory)).toEqual(kept);
  const again = await startWebui({}, port);
  try {
    expect((await laurel(["resume", directory, "--quiet"])).code).toBe(0);
  } finally {
    await again.close();
  }
  expect(await candidates(directory)).toEqual(await candidates(await onlyRun(undisturbed)));
});

describe("a disk that is full", () => {
  const mounted = join(tmpdir(), `laurel-test-disk-${process.pid}`);
  const mount = (...args: string[]): boolean => spawnSync("mount", args, { stdio: "ignore" }).status === 0;
  let small = false;
  beforeAll(async () => {
    await mkdir(mounted);
    small = mount("-t", "tmpfs", "-o", "size=200k", "tmpfs", mounted);
  });
  afterAll(async () => {
    if (small) spawnSync("umount", [mounted]);
    await rm(mounted, { recursive: true, force: true });
  });

  test("pauses the run with code 1; with room again, it is completed", async ({ skip }) => {
    if (!small) skip("this user cannot mount a small file system");
    const file = await pipeline("full", 4, 10, { backend: "local" });
    const undisturbed = join(folder, "roomy");
    expect((await laurel(["run", file, "--out", undisturbed, "--quiet"])).code).toBe(0);
    const { code, stderr } = await laurel(["run", file, "--out", mounted]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/the run is paused with \d of 4 items and \d+ candidates; go on with: laurel resume \S+/);
    expect(stderr).toContain("error: ENOSPC: no space left on device");
    const directory = await onlyRun(mounted);
    const stored = (await candidates(directory)).length;
    expect(stored).toBeGreaterThan(0);
    expect(stored).toBeLessThan(40);
    expect(mount("-o", "remount,size=20m", mounted)).toBe(true);
    const resumed = await laurel(["resume", directory, "--quiet"]);
    expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
    expect(await candidates(directory)).toEqual(await candidates(await onlyRun(undisturbed)));
    expect(await readdir(join(directory, "best"))).toEqual(await readdir(join(await onlyRun(undisturbed), "best")));
  });
});
