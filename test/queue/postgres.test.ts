import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openQueue } from "#laurel/queue/open";
import { describeQueue, request, uniqueName } from "./conformance.js";
import { closeListeners, describeRestarts, faultOf, open, testFaults, testProcesses } from "./server-suite.js";
import { noPostgres, startPostgres, type TestServer } from "./servers.js";

const why = noPostgres();

describe.skipIf(why !== undefined)(`a queue on PostgreSQL${why === undefined ? "" : `: skipped, ${why}`}`, () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(async () => {
    closeListeners();
    await server.remove();
  });
  const address = (user = "postgres:geheim-pg", database = "postgres"): string =>
    `postgres://${user}@127.0.0.1:${server.port}/${database}`;

  async function ask(...statements: readonly string[]): Promise<void> {
    const client = new pg.Client({ connectionString: address() });
    await client.connect();
    for (const statement of statements) await client.query(statement);
    await client.end();
  }

  describeQueue({ session: () => async (options) => openQueue(server.address, options), many: 300 }, () => {
    testProcesses(() => server.address);
    testFaults((port, host = "127.0.0.1") => `postgres://postgres:x@${host}:${port}/postgres`);
  });

  describeRestarts(() => server);

  test("a user, a password, a database that is not there", async () => {
    expect(await faultOf(address("postgres"))).toContain("expected a password in the address, got none");
    const wrong = await faultOf(address("postgres:falsch-geheim"));
    expect(wrong).toContain("expected a user and password that the server accepts, got others");
    expect(wrong).not.toContain("falsch-geheim");
    expect(await faultOf(address("nobody:x"))).toContain("expected a user and password");
    expect(await faultOf(address(undefined, "nowhere"))).toContain("expected a database that exists, got another");
    expect(await faultOf(`${address()}?sslmode=require`)).toContain("expected a server that speaks TLS, got one that does not"); // prettier-ignore
  });

  test("told: PostgreSQL where Redis is expected", async () => {
    expect(await faultOf(`redis://127.0.0.1:${server.port}`)).toContain(
      "expected a Redis server, got a PostgreSQL server",
    );
  });

  test("a user without the right to create, until someone else has", async (context) => {
    await ask("CREATE ROLE worker LOGIN PASSWORD 'geheim-worker'", "REVOKE CREATE ON DATABASE postgres FROM PUBLIC");
    const theirs = `${address("worker:geheim-worker")}?prefix=theirs`;
    expect(await faultOf(theirs)).toContain("CREATE SCHEMA theirs AUTHORIZATION");
    await ask(
      "CREATE SCHEMA theirs AUTHORIZATION worker",
      "CREATE SCHEMA shut",
      "GRANT USAGE ON SCHEMA shut TO worker",
    );
    expect(await faultOf(`${address("worker:geheim-worker")}?prefix=shut`)).toContain(
      "to create the schema shut, got less",
    );
    expect(await faultOf(`${address()}?prefix=shut`)).toBe("ready");
    expect(await faultOf(`${address("worker:geheim-worker")}?prefix=shut`)).toContain(
      "to create the schema shut, got less",
    );
    const queue = await open(context, theirs);
    const job = request(uniqueName());
    await queue.work([job.queue], async () => Promise.resolve("ok"), { name: "w" });
    expect(await queue.run(job)).toBe("ok");
    expect(queue.address).toBe(`postgres://worker@127.0.0.1:${server.port}/postgres`);
  });

  test("a standby", async () => {
    await ask("ALTER ROLE worker SET default_transaction_read_only = on");
    expect(await faultOf(address("worker:geheim-worker"))).toContain("expected a server that can be written to, got a read-only one"); // prettier-ignore
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
});
