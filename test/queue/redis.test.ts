import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openQueue } from "#laurel/queue/open";
import { describeQueue, request, uniqueName, until } from "./conformance.js";
import { closeListeners, describeRestarts, faultOf, open, testFaults, testProcesses } from "./server-suite.js";
import { noRedis, startRedis, type TestServer } from "./servers.js";

const why = noRedis();

/** A Redis of one test. */
async function started(...settings: readonly string[]): Promise<TestServer> {
  const server = await startRedis(settings);
  onTestFinished(async () => server.remove());
  return server;
}

describe.skipIf(why !== undefined)(`a queue on Redis${why === undefined ? "" : `: skipped, ${why}`}`, () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(async () => {
    closeListeners();
    await server.remove();
  });

  describeQueue({ session: () => async (options) => openQueue(server.address, options), many: 5000 }, () => {
    testProcesses(() => server.address);
    testFaults((port, host = "127.0.0.1") => `redis://${host}:${port}`);
  });

  describe("that keeps its data", () => {
    let kept: TestServer;
    beforeAll(async () => {
      kept = await startRedis(["--appendonly", "yes", "--appendfsync", "always"]);
    });
    afterAll(async () => kept.remove());
    describeRestarts(() => kept);
  });

  test("a server that comes back without its data is given the jobs again", async (context) => {
    const forgetful = await started();
    const [queue, workers] = [await open(context, forgetful.address), await open(context, forgetful.address)];
    const name = uniqueName();
    const runs = Array.from({ length: 20 }, async (_, index) => queue.run(request(name, { data: { index } })));
    await until(async () => (await queue.counts(name)).waiting === 20);
    await forgetful.kill();
    await forgetful.start();
    await workers.work([name], async ({ data }) => Promise.resolve(data["index"] ?? null), {
      name: "w",
      concurrency: 5,
    });
    expect(await Promise.all(runs)).toEqual(Array.from({ length: 20 }, (_, index) => index));
    expect(await queue.queues()).toEqual([name]);
  });

  test("a password that is missing, wrong, or not asked for", async () => {
    const { port } = await started("--requirepass", "geheim-redis");
    const at = (user: string): string => `redis://${user}127.0.0.1:${port}`;
    expect(await faultOf(at(""))).toContain("expected a password in the address, got none");
    const wrong = await faultOf(at(":falsch-geheim@"));
    expect(wrong).toContain("expected a user and password that the server accepts, got others");
    expect(wrong).not.toContain("falsch-geheim");
    expect(await faultOf(at(":geheim-redis@"))).toBe("ready");
    expect(await faultOf(`redis://:geheim-zu-viel@127.0.0.1:${server.port}`)).toContain(
      "as the server has none, got one",
    );
  });

  test("a password of any characters works, in all connections", async (context) => {
    const password = "a:b/c@d %41#?ä";
    const { port } = await started("--requirepass", password);
    const queue = await open(context, `redis://:${encodeURIComponent(password)}@127.0.0.1:${port}/3?prefix=team_a`);
    const job = request(uniqueName());
    await queue.work([job.queue], async () => Promise.resolve("ok"), { name: "w" });
    expect(await queue.run(job)).toBe("ok");
    expect(queue.address).toBe(`redis://127.0.0.1:${port}/3`);
  });

  test("prefixes keep teams apart", async (context) => {
    const [one, other] = [
      await open(context, `${server.address}?prefix=one`),
      await open(context, `${server.address}?prefix=other`),
    ];
    const job = request(uniqueName());
    await one.work([job.queue], async () => Promise.resolve(1), { name: "w" });
    expect(await one.run(job)).toBe(1);
    expect(await other.find(job.id)).toBeUndefined();
    expect(await other.queues()).toEqual([]);
  });

  test("a replica, a server that may forget, a full one, a database that is not there", async (context) => {
    const replica = await started("--replicaof", "127.0.0.1", `${server.port}`, "--replica-read-only", "yes");
    await until(async () => !/MASTERDOWN|LOADING/.test(await faultOf(replica.address)));
    expect(await faultOf(replica.address)).toContain("got a read-only replica");

    const forgets = await started("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru");
    const queue = await open(context, forgets.address);
    const notices: string[] = [];
    const job = request(uniqueName());
    await queue.work([job.queue], async () => Promise.resolve(1), {
      name: "w",
      onNotice: (text) => notices.push(text),
    });
    expect(await queue.run(job)).toBe(1);
    expect(notices).toEqual([expect.stringContaining("expected maxmemory-policy noeviction, got allkeys-lru")]);

    const full = await started("--maxmemory", "1", "--maxmemory-policy", "noeviction");
    expect(await faultOf(full.address)).toContain("expected a server with memory left, got a full one");
    expect(await faultOf(`${server.address}/99`)).toContain("expected a database that exists");
  });

  test("a primary that is a replica for a while is waited for", async (context) => {
    const { address, port } = await started();
    const queue = await open(context, address);
    const notices: string[] = [];
    const name = uniqueName();
    const working = await queue.work([name], async () => Promise.resolve("ok"), {
      name: "w",
      onNotice: (text) => notices.push(text),
    });
    const admin = new Redis(port, "127.0.0.1");
    await admin.replicaof("127.0.0.1", 1);
    const run = queue.run(request(name));
    await until(() => notices.some((notice) => /lost \(READONLY/.test(notice)));
    await admin.replicaof("NO", "ONE");
    admin.disconnect();
    expect(await run).toBe("ok");
    await until(() => working.connected);
  });

  test("TLS where there is none", async () => {
    expect(await faultOf(server.address.replace("redis:", "rediss:"))).toContain(
      "expected a server that speaks TLS, got one that does not",
    );
  });
});

test.each([
  ["", "got an empty text"],
  ["localhost:6379", "got no scheme://"],
  ["amqp://host", "got amqp://"],
  ["redis://host/jobs", 'got the database "jobs"'],
  ["redis://host?db=1", "got the setting db"],
  ["redis:///1", "got no host"],
  ["redis://host?prefix=a:b", "got a prefix of other than"],
  ["postgres://host/db?prefix=pg_x", "got a prefix"],
  ["redis://:geheim@ho st", "got redis:// and what is no address"],
])("the address %j is refused", async (address, message) => {
  const error = await openQueue(address).catch((cause: unknown) => cause);
  expect(error).toMatchObject({ name: "UsageError", message: expect.stringContaining(message) as string });
  expect((error as Error).message).not.toContain("geheim");
});
