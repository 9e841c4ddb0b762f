/** @file `laurel worker` and `laurel run --queue`: on a real Redis, in this process and as processes that are killed. */

import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { freePort, noRedis, startRedis, type TestServer } from "../queue/servers.js";
import { type Ended, finish, start } from "./processes.js";
import { laurel, type Outcome } from "./terminal.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-workers-"));
  await mkdir(join(folder, "store"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Writes a pipeline of four prompts. */
async function pipeline(name: string, more: object = {}): Promise<string> {
  const file = join(folder, `${name}.yaml`);
  const steps = [{ generate: { count: 6 } }, { score: null }, { select: { keep: 2 } }, { export: { to: "best" } }];
  const prompts = ["a red circle", "a blue square", "a small green triangle", "a pink circle"];
  await writeFile(file, JSON.stringify({ version: 1, prompts, seed: 3, settings: { batch: 2 }, steps, ...more }));
  return file;
}

/** Digests of what a run left that does not tell of times. */
async function contentOf(out: string): Promise<Record<string, string>> {
  const [name = ""] = await readdir(out);
  const content: Record<string, string> = {};
  for (const entry of await readdir(join(out, name), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || ["run.json", "report.html"].includes(entry.name)) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = await readFile(path);
    const sorted = entry.name.endsWith(".jsonl") ? bytes.toString("utf8").split("\n").sort().join("\n") : bytes;
    content[path.slice(join(out, name).length + 1)] = createHash("sha256").update(sorted).digest("hex");
  }
  return content;
}

test.each([
  [
    ["worker"],
    /--queue: expected redis:\/\/host or postgres:\/\/host\/database, here or as LAUREL_QUEUE in the environment, got neither/,
  ],
  [
    ["worker", "--queue", "redis://h"],
    /--store: expected a folder or s3:\/\/bucket\/prefix, here or as LAUREL_STORE in the environment, got neither/,
  ],
  [["worker", "--queue", "http://h", "--store", "."], /expected redis:\/\//],
  [
    ["worker", "--queue", "NOWHERE", "--store", "."],
    /--queue: expected redis.* as NOWHERE in the environment, got neither/,
  ],
  [
    ["worker", "--capabilities", "local,,score"],
    /--capabilities: expected score, local:MODEL, NAME=FILE.yaml or one of local, .*, got ""/,
  ],
  [["worker", "--capabilities", "folder"], /--capabilities: expected score.*got "folder"/],
  [["worker", "--capabilities", "loca"], /expected .*got loca; did you mean local\?/],
  [["worker", "--capabilities", "a=nowhere.yaml"], /nowhere\.yaml: expected .*got no such file/],
  [
    ["worker", "--rate", "fast", "--queue", "redis://127.0.0.1:1", "--store", "."],
    /--rate: expected jobs\/seconds such as 10\/60, got "fast"/,
  ],
  [
    ["worker", "--listen", "here", "--queue", "redis://127.0.0.1:1", "--store", "."],
    /--listen: expected a port or host:port, got "here"/,
  ],
  [["run", "PIPELINE", "--store", "."], /--store: expected --queue beside it, got none/],
  [
    ["run", "pipelines/refl.yaml", "--queue", "redis://127.0.0.1:1", "--store", "."],
    /--queue: expected the run of a pipeline that draws and scores, got one that begins with a training, whose model no worker has/,
  ],
  [
    ["run", "pipelines/export-reward.yaml", "--queue", "redis://127.0.0.1:1", "--store", "."],
    /--queue: expected .* got one that exports a reward, which is done here/,
  ],
  [["run", "PIPELINE", "--in-flight", "3"], /--in-flight: expected --queue beside it, got none/],
])("%o is refused", async (args, message) => {
  const file = await pipeline("refused");
  const { exitCode, stderr, stdout } = await laurel(args.map((one) => (one === "PIPELINE" ? file : one)));
  expect(stderr).toMatch(message);
  expect([exitCode, stdout]).toEqual([2, ""]);
});

test("a queue server that is not there is told at once, with its address and without its password", async () => {
  const port = await freePort();
  const address = `redis://:secret@127.0.0.1:${port}`;
  const store = join(folder, "store");
  for (const args of [["worker"], ["run", await pipeline("unreachable")]]) {
    const { exitCode, stderr } = await laurel([...args, "--queue", address, "--store", store]);
    expect([exitCode, stderr]).toEqual([3, expect.stringContaining(`127.0.0.1:${port}`)]);
    expect(stderr).not.toContain("secret");
  }
});

test("a bucket that cannot be reached is told, and nothing of the package that speaks S3", async () => {
  const port = await freePort();
  const environment = { AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret-of-s3" };
  const store = `s3://bucket/p?endpoint=http://127.0.0.1:${port}`;
  const args = ["worker", "--queue", `redis://127.0.0.1:${port}`, "--store", store, "--capabilities", "score"];
  const { code, stderr } = await finish(start(args, { cwd: folder, environment }));
  expect([code, stderr]).toEqual([3, expect.stringMatching(/^error: (redis|s3):[^\n]*\n$/)]);
});

const absent = noRedis();
describe.skipIf(absent !== undefined)(`on Redis${absent === undefined ? "" : ` (skipped: ${absent})`}`, () => {
  let redis: TestServer;
  let given: string[];
  beforeAll(async () => {
    redis = await startRedis();
    given = ["--queue", redis.address, "--store", join(folder, "store")];
  });
  afterAll(() => redis.remove());

  /** Workers in this process, for as long as `work` takes. */
  async function withWorkers<T>(
    count: number,
    work: () => Promise<T>,
    args: readonly string[] = [],
  ): Promise<[T, Outcome[]]> {
    const stop = new AbortController();
    const workers = Array.from({ length: count }, (_, i) =>
      laurel(["worker", ...given, "--name", `w${i}`, ...args], { signal: stop.signal }),
    );
    try {
      const result = await work();
      stop.abort();
      return [result, await Promise.all(workers)];
    } finally {
      stop.abort();
      await Promise.allSettled(workers);
    }
  }

  test("two workers make the run that is made without a queue", async () => {
    const file = await pipeline("shared");
    expect(await laurel(["run", file, "--out", join(folder, "alone"), "-q"])).toMatchObject({ exitCode: 0 });
    const port = await freePort();
    const [run, workers] = await withWorkers(
      1,
      async () => {
        const ran = await laurel(["run", file, "--out", join(folder, "shared"), "--json", ...given]);
        const health = await fetch(`http://127.0.0.1:${port}/healthz`);
        expect([health.status, await health.json()]).toEqual([
          200,
          { status: "ok", worker: "w0", capabilities: ["local", "score"], active: 0 },
        ]);
        const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
        expect(metrics).toMatch(/^laurel_jobs_total\{queue="local",outcome="completed"\} 13$/m);
        expect(metrics).toMatch(/^laurel_queue_connected 1$/m);
        expect((await fetch(`http://127.0.0.1:${port}/else`)).status).toBe(404);
        return ran;
      },
      ["--listen", String(port)],
    );
    expect(run).toMatchObject({ exitCode: 0, stderr: "" });
    expect((JSON.parse(run.stdout) as { candidates: number }).candidates).toBe(24);
    expect(await contentOf(join(folder, "shared"))).toEqual(await contentOf(join(folder, "alone")));
    expect(workers[0]).toMatchObject({ exitCode: 0, stdout: "" });
    expect(workers[0]?.stderr).toMatch(/^worker w0 takes local, score from redis:[^]*worker w0 ended after 26 jobs\n$/);
  });

  test("the same again takes nothing from the workers but their description", async () => {
    const [run, [worker]] = await withWorkers(
      1,
      async () => laurel(["run", await pipeline("shared"), "--out", join(folder, "again"), "-q", ...given]),
      ["--jsonl"],
    );
    expect(run.exitCode).toBe(0);
    expect(await contentOf(join(folder, "again"))).toEqual(await contentOf(join(folder, "alone")));
    const jobs = worker!.stdout
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as { id: string });
    expect(jobs.map(({ id }) => id.split("-").slice(0, 2).join("-")).sort()).toEqual([
      "describe-backend",
      "describe-reward",
    ]);
  });

  test("without a worker for it, a run says which is wanted", async () => {
    const { exitCode, stderr } = await laurel([
      "run",
      await pipeline("nobody"),
      "--capability",
      "portraits",
      "--wait",
      "0.5",
      "--out",
      join(folder, "nobody"),
      ...given,
    ]);
    expect([exitCode, stderr]).toEqual([
      3,
      expect.stringMatching(
        /expected a worker for (portraits|score) within 0.5 s, none is there; start one with: laurel worker/,
      ),
    ]);
    expect(await readdir(join(folder, "nobody")).catch(() => [])).toEqual([]);
  });

  test("a worker ends when it had nothing to do for long enough", async () => {
    const { exitCode, stderr } = await laurel(["worker", ...given, "--idle-exit", "0.3", "-q"]);
    expect([exitCode, stderr]).toEqual([0, ""]);
  });

  test("workers with the demo models that are killed with SIGKILL, and a submitter that is interrupted, leave the run as it is alone", async () => {
    const file = await pipeline("killed");
    const environment = { LAUREL_QUEUE: `${redis.address}?prefix=killed`, LAUREL_STORE: join(folder, "store") };
    const process = (args: readonly string[]): ChildProcess => start(args, { cwd: folder, environment });
    const worker = (): ChildProcess => process(["worker", "--lock", "1", "--max-stalls", "50", "-q"]);
    const alone = await finish(process(["run", file, "--out", "demo-alone", "-q"]));
    expect(alone).toMatchObject({ code: 0, stderr: "" });
    const workers = [worker(), worker()];
    const out = join(folder, "demo-killed");
    const stored = async (): Promise<number> => {
      const [name = ""] = await readdir(out).catch(() => []);
      return (await readFile(join(out, name, "candidates.jsonl"), "utf8").catch(() => "")).split("\n").length - 1;
    };
    const submitting = process(["run", file, "--queue", "LAUREL_QUEUE", "--in-flight", "4", "--out", out, "-q"]);
    const submitted: Promise<Ended> = finish(submitting);
    for (const [i, count] of [4, 8].entries()) {
      while ((await stored()) < count) await sleep(20);
      workers[i]!.kill("SIGKILL");
      workers.push(worker());
    }
    submitting.kill("SIGINT");
    expect((await submitted).code).toBe(130);
    const [name = ""] = await readdir(out);
    const resumed = await finish(process(["resume", join(out, name), "--queue", "LAUREL_QUEUE", "-q"]));
    expect(resumed).toMatchObject({ code: 0, stderr: "" });
    for (const one of workers) one.kill("SIGKILL");
    expect(await contentOf(out)).toEqual(await contentOf(join(folder, "demo-alone")));
    expect(await stored()).toBe(24);
  });
});
