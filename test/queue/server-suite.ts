/** @file What a queue on a server keeps to when workers, servers and networks fail. */

import { type ChildProcess, spawn } from "node:child_process";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Server } from "node:net";
import { fileURLToPath } from "node:url";
import { expect, test, type TestContext } from "vitest";
import { type JobQueue, QueueError } from "#laurel/queue/contract";
import { openQueue, type OpenQueueOptions } from "#laurel/queue/open";
import { request, uniqueName, until, untilAborted } from "./conformance.js";
import { freePort, type TestServer } from "./servers.js";

const worker = { name: "host-1", lockMs: 500 } as const;
const PROGRAM = fileURLToPath(new URL("worker-process.js", import.meta.url));

type Context = Pick<TestContext, "onTestFinished">;

/** A queue of a test; closed when it ends. */
export async function open(context: Context, address: string, options?: OpenQueueOptions): Promise<JobQueue> {
  const queue = await openQueue(address, options);
  context.onTestFinished(async () => queue.close());
  return queue;
}

interface Process {
  readonly child: ChildProcess;
  readonly said: () => string;
}

async function startWorker(
  context: Context,
  address: string,
  queue: string,
  what: "die" | "exit" | "hang",
): Promise<Process> {
  const child = spawn(process.execPath, [PROGRAM, address, queue, what], { stdio: ["ignore", "pipe", "inherit"] });
  context.onTestFinished(() => void child.kill("SIGKILL"));
  let said = "";
  child.stdout.on("data", (bytes: Buffer) => (said += bytes.toString()));
  await until(() => said.includes("ready") || child.exitCode !== null || child.signalCode !== null);
  return { child, said: () => said };
}

/** What holds when processes die. */
export function testProcesses(address: () => string): void {
  test("a worker that is killed has its job done by another", async (context) => {
    const queue = await open(context, address());
    const job = request(uniqueName());
    const { child, said } = await startWorker(context, address(), job.queue, "hang");
    const run = queue.run(job);
    await until(() => said().includes(`took ${job.id}`));
    child.kill("SIGKILL");
    await queue.work([job.queue], async ({ attempt }) => Promise.resolve(`by another, ${attempt}`), worker);
    expect(await run).toBe("by another, 1");
    expect(await queue.find(job.id)).toMatchObject({ state: "completed", stalled: 1 });
  });

  test("a job that ends its workers is put aside, and told why; it can be tried again", async (context) => {
    const queue = await open(context, address());
    const job = request(uniqueName());
    const run = queue.run(job).catch((error: unknown) => error);
    for (const what of ["die", "exit"] as const) {
      const { child } = await startWorker(context, address(), job.queue, what);
      await until(() => child.exitCode !== null || child.signalCode !== null);
    }
    let calls = 0;
    const last = await queue.work([job.queue], async () => Promise.resolve(++calls), { ...worker, maximumStalls: 1 });
    expect(await run).toMatchObject({
      name: "BackendError",
      jobId: job.id,
      failure: { name: "WorkerVanished", message: expect.stringMatching(/vanished while they did it/) as string },
    });
    expect(calls).toBe(0);
    expect(await queue.find(job.id)).toMatchObject({ state: "failed", stalled: 2 });
    expect(await queue.retry(job.id)).toBe(true);
    await until(async () => (await queue.find(job.id))?.state === "completed");
    expect(calls).toBe(1);
    await last.close();
  });

  test("a job is cancelled in another process", async (context) => {
    const queue = await open(context, address());
    const job = request(uniqueName());
    const { said } = await startWorker(context, address(), job.queue, "hang");
    const stop = new AbortController();
    const run = queue.run(job, { signal: stop.signal }).catch((error: unknown) => (error as Error).name);
    await until(() => said().includes(`took ${job.id}`));
    stop.abort();
    expect(await run).toBe("CancelledError");
    await until(() => said().includes(`stopped ${job.id} cancelled`));
    await until(async () => (await queue.find(job.id))?.state === "failed");
  });
}

/** What holds when the server dies: it is the test's own, killed and started again. */
export function describeRestarts(server: () => TestServer): void {
  const address = (): string => server().address;

  test("a server that goes and comes back is waited for, by submitters and workers", async (context) => {
    const [queue, workers] = [await open(context, address()), await open(context, address())];
    const name = uniqueName();
    const notices: string[] = [];
    const onNotice = (message: string): void => void notices.push(message);
    let begun = 0;
    let go = (): void => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    const working = await workers.work(
      [name],
      async ({ data }) => {
        begun++;
        await gate;
        return data["index"] ?? null;
      },
      { ...worker, lockMs: 1000, concurrency: 2, onNotice },
    );
    const runs = Array.from({ length: 6 }, async (_, index) =>
      queue.run(request(name, { data: { index } }), { onNotice }),
    );
    await until(() => begun === 2);
    await server().kill();
    await until(() => !working.connected);
    // these end, and one is submitted, while nobody can be told
    go();
    const late = queue.run(request(name, { data: { index: "late" } }), { onNotice });
    await server().start();
    expect(await Promise.all([...runs, late])).toEqual([0, 1, 2, 3, 4, 5, "late"]);
    await until(() => working.connected);
    expect(notices.filter((notice) => /lost .*waiting until it is back/.test(notice)).length).toBeGreaterThan(0);
    expect(notices.filter((notice) => /found again after \d+ s/.test(notice)).length).toBeGreaterThan(0);
    expect(notices.join()).not.toContain("geheim");
  });

  test("a closed queue is closed at once though its server is away", async (context) => {
    const queue = await open(context, address());
    const working = await queue.work([uniqueName()], untilAborted, worker);
    const left = queue.run(request(uniqueName())).catch((error: unknown) => error);
    await until(async () => (await queue.counts()).waiting > 0);
    await server().kill();
    await until(() => !working.connected);
    const begun = performance.now();
    await queue.close();
    // nothing waits longer than its limit of a few seconds
    expect(performance.now() - begun).toBeLessThan(20_000);
    expect(await left).toBeInstanceOf(QueueError);
    await server().start();
    await until(async () => (await faultOf(address())) === "ready");
  });
}

/** What a server that cannot be used is told as. `at` makes an address out of a port. */
export function testFaults(at: (port: number, host?: string) => string): void {
  test("told: nothing listens", async ({ expect: check }) => {
    const port = await freePort();
    check(await faultOf(at(port))).toContain(`got nothing that listens on 127.0.0.1, port ${port}`);
  });

  test("told: no such host", async ({ expect: check }) => {
    check(await faultOf(at(1, "no-such-host.invalid"))).toContain("got a name that is not known: no-such-host.invalid");
  });

  test("told: a web server", async ({ expect: check }) => {
    const port = await listening(createHttpServer((_, response) => response.end("<html>hello</html>")));
    check(await faultOf(at(port))).toContain("got a web server");
  });

  test("told: a server that says nothing", async ({ expect: check }) => {
    const port = await listening(createServer(() => undefined));
    check(await faultOf(at(port))).toContain("got one that says nothing");
  });

  test("told: a server that hangs up", async ({ expect: check }) => {
    const port = await listening(createServer((socket) => socket.destroy()));
    check(await faultOf(at(port))).toMatch(/expected a queue server, got|ECONNRESET|closed|terminated/);
  });

  test("told: a run and a worker say so, too", async ({ expect: check }) => {
    const queue = await openQueue(at(await freePort()));
    await check(queue.run(request("q"))).rejects.toThrow("got nothing that listens");
    const never = async (): Promise<null> => Promise.resolve(null);
    await check(queue.work(["q"], never, { name: "w" })).rejects.toThrow("got nothing that listens");
    await check(queue.list({}, 1)).rejects.toThrow(QueueError);
    await queue.close();
  });
}

const listeners: Server[] = [];

/** Ends the servers that stood in for a queue's. */
export function closeListeners(): void {
  for (const server of listeners.splice(0)) server.close();
}

async function listening(server: Server): Promise<number> {
  listeners.push(server);
  server.unref();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as { port: number }).port;
}

/** What is told of an address that cannot be used. */
export async function faultOf(address: string): Promise<string> {
  const queue = await openQueue(address, { answerMs: 1500 });
  try {
    return await queue.ready().then(
      () => "ready",
      (error: Error) => error.message,
    );
  } finally {
    await queue.close();
  }
}
