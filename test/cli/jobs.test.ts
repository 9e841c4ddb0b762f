/** @file `laurel jobs` on a real Redis. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { JobError, type JobQueue } from "#laurel/queue/contract";
import { openQueue } from "#laurel/queue/open";
import { request, until, untilAborted } from "../queue/conformance.js";
import { freePort, noRedis, startRedis, type TestServer } from "../queue/servers.js";
import { laurel } from "./terminal.js";

const why = noRedis();

test.each([
  [["list"], /^error: --queue: expected redis/],
  [["list", "--queue", "http://h"], /^error: queue: expected redis:.*got http:/],
  [["retry", "--queue", "redis://h"], /^error: jobs retry: expected ids of jobs or --all, got neither\n$/],
  [["cancel", "a", "--all", "--queue", "redis://h"], /^error: jobs cancel: expected ids of jobs or --all, got both\n$/],
  [["rm", "--queue", "redis://h"], /^error: jobs rm: expected ids of jobs or --failed, got neither\n$/],
  [["list", "--state", "lost", "--queue", "redis://h"], /waiting or delayed or active/],
])("2: laurel jobs %j", async (args, message) => {
  const { exitCode, stdout, stderr } = await laurel(["jobs", ...args]);
  expect([exitCode, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(message);
});

describe.skipIf(why !== undefined)(`laurel jobs on Redis${why === undefined ? "" : `: skipped, ${why}`}`, () => {
  let server: TestServer;
  let queue: JobQueue;
  const failed = ["draw-a", "draw-b"].map((id) => request("local", { id, priority: 7 }));
  const active = request("local", { id: "draw-c", data: { hang: true } });
  const waiting = request("score", { id: "score-a" });
  const stop = new AbortController();

  beforeAll(async () => {
    server = await startRedis();
    queue = await openQueue(server.address);
    await queue.work(
      ["local"],
      async (job) => {
        if (job.data["hang"] === true) return untilAborted(job);
        throw new JobError({ name: "BackendError", message: "model: expected sd-1.5,\u001b[2J got none" }, false);
      },
      { name: "rack-7", concurrency: 2 },
    );
    for (const job of failed) await queue.run(job).catch(() => undefined);
    for (const job of [active, waiting]) void queue.run(job, { signal: stop.signal }).catch(() => undefined);
    await until(async () => (await queue.find(active.id))?.state === "active");
    await until(async () => (await queue.find(waiting.id))?.state === "waiting");
  });
  afterAll(async () => {
    stop.abort();
    await queue.close();
    await server.remove();
  });
  const jobs = async (...args: readonly string[]): ReturnType<typeof laurel> =>
    laurel(["jobs", ...args, "--queue", server.address]);

  test("lists jobs, the newest first, and the workers", async () => {
    const { exitCode, stdout, stderr } = await jobs("list");
    expect(exitCode).toBe(0);
    const lines = stdout.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^job +capability +state +priority +attempts +age +failure$/);
    expect(lines.slice(1).map((line) => line.split(/ +/).slice(0, 5))).toEqual(
      expect.arrayContaining([
        ["draw-a", "local", "failed", "7", "1"],
        ["draw-c", "local", "active", "10", "0"],
        ["score-a", "score", "waiting", "10", "0"],
      ]),
    );
    expect(stdout).toContain("model: expected sd-1.5,");
    expect(stdout).not.toContain("\u001b");
    expect(stderr).toBe("local: 1 active, 2 failed; 1 worker: rack-7\nscore: 1 waiting; no worker\n");
  });

  test("prints what JSON says, of some states and one capability", async () => {
    const { stdout, stderr } = await jobs(
      "list",
      "--json",
      "--state",
      "failed",
      "--capability",
      "local",
      "--limit",
      "1",
    );
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toEqual({
      schemaVersion: 1,
      address: server.address,
      queues: [
        { name: "local", counts: { waiting: 0, delayed: 0, active: 1, completed: 0, failed: 2 }, workers: ["rack-7"] },
      ],
      jobs: [expect.objectContaining({ id: "draw-b", state: "failed", attempts: 1, stalled: 0 })],
    });
  });

  test("retries, cancels and removes what can be, and says what cannot", async () => {
    expect(await jobs("retry", "draw-a", "draw-c", "nothing")).toEqual({
      exitCode: 4,
      stdout: "",
      stderr:
        "draw-c: there is no such job, or it has not failed\nnothing: there is no such job, or it has not failed\nwill try again 1 job\n",
    });
    await until(async () => (await queue.find("draw-a"))?.state === "failed");
    expect(await jobs("rm", "draw-a")).toMatchObject({ exitCode: 0, stderr: "forgot 1 job\n" });
    expect(await jobs("rm", "--failed")).toMatchObject({ exitCode: 0, stderr: "forgot 1 job\n" });
    // the run has gone: what it wanted is cancelled by hand
    const orphan = await openQueue(server.address);
    void orphan.run(request("nobody", { id: "orphan-a" })).catch(() => undefined);
    await until(async () => (await queue.find("orphan-a")) !== undefined);
    await orphan.close();
    expect(await jobs("cancel", "orphan-a")).toMatchObject({ exitCode: 0, stderr: "cancelled 1 job\n" });
    expect(await queue.find("orphan-a")).toBeUndefined();
  });

  test("cancels more jobs than are listed at once, those that stay where they are too", async () => {
    const address = `${server.address}?prefix=many`;
    const orphan = await openQueue(address);
    const worker = await openQueue(address);
    await worker.work(["many"], async () => new Promise(() => undefined), { name: "deaf", concurrency: 3 });
    for (let i = 0; i < 2500; i++) void orphan.run(request("many")).catch(() => undefined);
    await until(async () => (await worker.counts()).waiting === 2497);
    await orphan.close();
    const { stderr } = await laurel(["jobs", "cancel", "--all", "--queue", address]);
    expect(stderr).toBe("cancelled 2500 jobs\n");
    expect((await worker.counts()).waiting).toBe(0);
    await worker.close();
  });

  test("3: a server that is not there", async () => {
    const port = await freePort();
    const { exitCode, stderr } = await laurel(["jobs", "--queue", `redis://127.0.0.1:${port}`]);
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(/^error: redis:.*got nothing that listens on 127.0.0.1/);
  });
});
