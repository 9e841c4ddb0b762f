/** @file PostgreSQL as BullMQ's server: connections that wait for it, and a look at whether it can be used. */

import type * as bullmq from "bullmq";
import type { BackendFactory, Job, PostgresConnection, Processor, Queue, RedisQueueBackend } from "bullmq";
import type * as postgres from "pg";
import type { Client } from "pg";
import { loadPackage } from "../util/optional-package.js";
import type { QueueAddress } from "./address.js";
import {
  type JobEnd,
  type OwnWorkerOptions,
  CLOSE_MS,
  closingMs,
  CONNECT_MS,
  SILENT_MS,
  type QueueServer,
  type ServerWorker,
  within,
} from "./bullmq-server.js";
import { QueueError } from "./contract.js";
import { queueFault } from "./faults.js";
import { patiently, Presence } from "./presence.js";

type BullModule = typeof bullmq;
type PostgresModule = typeof postgres;

const OLDEST = 13;
/** Connections for what is asked of it; each listener has one more. */
const POOL = { shared: 4, events: 1, worker: 3 } as const;

/** New events are looked for this often even if none was told of. */
const LOOK_MS = 1000;

/** Opens PostgreSQL without connecting. @throws UsageError when a package is missing */
export async function openPostgres(address: QueueAddress, answerMs: number): Promise<QueueServer> {
  const bull = await loadPackage(async () => import("bullmq"), ["bullmq", "pg"], address.shown);
  const pg = await loadPackage(async () => import("pg"), ["bullmq", "pg"], address.shown);
  return new PostgresServer(address, bull, pg, answerMs);
}

class PostgresServer implements QueueServer {
  readonly presence: Presence;
  // to keep a number of them takes BullMQ longer the more there are, with each job that ends
  readonly keep = { age: 24 * 3600 };
  // events are read on from the last number, and those of two transactions may appear in another order than their numbers'
  readonly silenceMs = 1500;
  readonly #ended = new AbortController();
  readonly ended = this.#ended.signal;
  readonly #queues = new Map<string, Queue>();
  #connection: PostgresConnection | undefined;

  constructor(
    readonly address: QueueAddress,
    readonly bull: BullModule,
    readonly pg: PostgresModule,
    readonly answerMs: number,
  ) {
    this.presence = new Presence(address.shown);
  }

  async probe(): Promise<readonly string[]> {
    const client = new this.pg.default.Client({
      connectionString: this.address.url,
      connectionTimeoutMillis: 0.7 * this.answerMs,
    });
    client.on("error", () => undefined);
    client.on("notice", () => undefined);
    try {
      const done = await within(this.#look(client), 0.8 * this.answerMs);
      if (done === undefined) throw Object.assign(new Error("no answer in time"), { code: "SILENT" });
      return [];
    } catch (error) {
      throw await queueFault(this.address, error);
    } finally {
      void within(client.end(), CLOSE_MS).catch(() => undefined);
    }
  }

  async #look(client: Client): Promise<true> {
    await client.connect();
    const { rows } = await client.query<{ version: string; read_only: string; encoding: string }>(
      "SELECT current_setting('server_version') AS version, current_setting('transaction_read_only') AS read_only, current_setting('server_encoding') AS encoding",
    );
    const [row] = rows;
    const { shown, prefix } = this.address;
    if (row === undefined || Number.parseInt(row.version) < OLDEST) {
      throw new QueueError(`${shown}: expected PostgreSQL ${OLDEST} or later, got ${row?.version ?? "another server"}`);
    }
    if (row.read_only === "on") {
      throw new QueueError(`${shown}: expected a server that can be written to, got a read-only one (a standby?)`);
    }
    if (await this.#isOld(client)) await this.#migrate(client);
    // the rights to read, to write and to create there are others than to be there; BullMQ makes a sequence for each queue
    const rights = await client.query<{ create: boolean }>(`SELECT has_schema_privilege($1, 'CREATE') AS create`, [
      prefix,
    ]);
    if (rights.rows[0]?.create !== true)
      throw Object.assign(new Error("permission denied to create"), { code: "42501" });
    await client.query(`UPDATE "${prefix}".meta SET value = value WHERE false`);
    return true;
  }

  /** Whether BullMQ's tables are missing or of an earlier version. To look takes fewer rights than to create. */
  async #isOld(client: Client): Promise<boolean> {
    try {
      const version = await this.bull.assertSchemaCompatibility(client, this.address.prefix, {
        skipVersionCheck: true,
      });
      return version < this.bull.LATEST_SCHEMA_VERSION;
    } catch (error) {
      if (error instanceof this.bull.SchemaMigrationRequiredError) return true;
      throw error;
    }
  }

  /** Creates BullMQ's tables, and the schema where it is missing: to be refused what is there already helps nobody. */
  async #migrate(client: Client): Promise<void> {
    const { prefix } = this.address;
    const found = await client.query("SELECT 1 FROM pg_namespace WHERE nspname = $1", [prefix]);
    const query = async (text: string, values?: unknown[]): Promise<{ rows: never[] }> => {
      if (found.rows.length > 0 && text.startsWith("CREATE SCHEMA")) return { rows: [] };
      return client.query<never>(text, values);
    };
    await this.bull.runMigrations({ query } as unknown as Client, prefix, { skipVersionCheck: true });
  }

  queue(name: string): Queue {
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      queue = new this.bull.Queue(name, { connection: {} }, this.#factory(this.#shared(), false));
      queue.on("error", () => undefined);
      this.#queues.set(name, queue);
    }
    return queue;
  }

  events(name: string, after: string): ReturnType<QueueServer["events"]> {
    const factory = this.#factory(this.#connect(POOL.events, this.ended), true, `${name}:qe`);
    // a notice that came before it listened is found when it looks the next time
    const options = { connection: {}, lastEventId: after, autorun: false, blockingTimeout: LOOK_MS };
    const events = new this.bull.QueueEvents(name, options, factory);
    events.on("error", () => undefined);
    return events;
  }

  async lastEvent(name: string): Promise<string> {
    const { rows } = await this.#shared().pool.query<{ last: string }>(
      `SELECT coalesce(max(id), 0)::text AS last FROM "${this.address.prefix}".event WHERE queue = $1`,
      [name],
    );
    return rows[0]?.last ?? "0";
  }

  async ends(name: string, ids: readonly string[]): Promise<readonly JobEnd[]> {
    const { rows } = await this.#shared().pool.query<EndRow>(
      `SELECT id, state::text AS state, return_value, failed_reason FROM "${this.address.prefix}".job WHERE queue = $1 AND id = ANY($2::text[])`,
      [name, ids],
    );
    const found = new Map(rows.map((row) => [row.id, row]));
    return ids.map((id) => endOf(found.get(id)));
  }

  worker(name: string, processor: Processor, options: OwnWorkerOptions): ServerWorker {
    const abandoned = new AbortController();
    const connection = this.#connect(POOL.worker, AbortSignal.any([this.ended, abandoned.signal]));
    const factory = this.#factory(connection, true, `${name}:w:${options.name ?? ""}`);
    const worker = new this.bull.Worker(name, processor, { ...options, connection: {} }, factory);
    return {
      worker,
      abandon: async () => {
        abandoned.abort();
        await within(connection.close(), CLOSE_MS);
      },
    };
  }

  async giveBack(_: string, job: Job, token: string): Promise<void> {
    await job.moveToWait(token);
  }

  async remember(name: string): Promise<void> {
    // a queue writes its settings, and by that its name, when it is opened
    await this.queue(name).waitUntilReady();
    await this.queue(name).getBackend().setQueueMeta({ laurel: "1" });
  }

  async names(): Promise<readonly string[]> {
    const { rows } = await this.#shared().pool.query<{ queue: string }>(
      `SELECT DISTINCT queue FROM "${this.address.prefix}".meta ORDER BY queue`,
    );
    return rows.map((row) => row.queue);
  }

  async close(): Promise<void> {
    this.#ended.abort();
    for (const queue of this.#queues.values()) await within(queue.close(), closingMs(this.presence));
    if (this.#connection !== undefined) await within(this.#connection.close(), closingMs(this.presence));
  }

  #shared(): PostgresConnection {
    return (this.#connection ??= this.#connect(POOL.shared, this.ended));
  }

  /** Makes BullMQ's classes use PostgreSQL through `connection`. They do what they do on Redis, and are typed as such. */
  #factory(connection: PostgresConnection, owned: boolean, listed?: string): BackendFactory<RedisQueueBackend> {
    const { PostgresQueueBackend } = this.bull;
    type Options = ConstructorParameters<typeof PostgresQueueBackend>[2];
    return ((name: string, options: Options) =>
      new PostgresQueueBackend(
        connection,
        name,
        options,
        owned,
        listed,
      )) as unknown as BackendFactory<RedisQueueBackend>;
  }

  /** A connection that waits for its server. BullMQ's own gives up for good when the server is away while it begins. */
  #connect(max: number, ended: AbortSignal): PostgresConnection {
    const connection = new this.bull.PostgresConnection({
      connectionString: this.address.url,
      schema: this.address.prefix,
      skipVersionCheck: true,
      max,
      keepAlive: true,
      connectionTimeoutMillis: CONNECT_MS,
      query_timeout: SILENT_MS,
      idleTimeoutMillis: 30_000,
    });
    connection.on("error", () => undefined);
    const { pool } = connection;
    const query = pool.query.bind(pool) as (text: string, values?: readonly unknown[]) => Promise<never>;
    const listen = connection.getListenClient.bind(connection);
    let ready: Promise<void> | undefined;
    return Object.assign(connection, {
      getListenClient: async () => patiently(this.presence, ended, listen),
      waitUntilReady: async () =>
        (ready ??= patiently(this.presence, ended, async () => {
          await query("SELECT 1");
        }).then(() => {
          setTimeout(() => connection.emit("ready"), 0);
        })),
      pool: Object.assign(pool, {
        query: async (text: string, values?: readonly unknown[]) =>
          patiently(this.presence, ended, async () => query(text, values)),
      }),
    });
  }
}

interface EndRow {
  readonly id: string;
  readonly state: string;
  readonly return_value: unknown;
  readonly failed_reason: string | null;
}

function endOf(row: EndRow | undefined): JobEnd {
  if (row === undefined) return { state: "missing" };
  if (row.state === "completed") return { state: "completed", written: row.return_value };
  return row.state === "failed" ? { state: "failed", reason: row.failed_reason ?? "" } : { state: "under way" };
}
