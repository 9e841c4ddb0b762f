/** @file Redis as BullMQ's server: connections that wait for it, and a look at whether it can be used. */

import { isIP } from "node:net";
import type * as bullmq from "bullmq";
import type { Job, Processor, Queue } from "bullmq";
import type * as ioredis from "ioredis";
import type { Redis, RedisOptions } from "ioredis";
import { loadPackage } from "../util/optional-package.js";
import type { QueueAddress } from "./address.js";
import { parsed } from "./bullmq-codec.js";
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
import { queueFault, reasonOf } from "./faults.js";
import { backoffMs, Presence } from "./presence.js";

type BullModule = typeof bullmq;
type RedisModule = Pick<typeof ioredis, "Redis">;

const OLDEST = [6, 2] as const;

/** Opens Redis without connecting. @throws UsageError when a package is missing */
export async function openRedis(address: QueueAddress, answerMs: number): Promise<QueueServer> {
  const bull = await loadPackage(async () => import("bullmq"), ["bullmq", "ioredis"], address.shown);
  const redis = await loadPackage(async () => import("ioredis"), ["bullmq", "ioredis"], address.shown);
  return new RedisServer(address, bull, redis, answerMs);
}

class RedisServer implements QueueServer {
  readonly presence: Presence;
  readonly keep = { age: 24 * 3600, count: 10_000 };
  readonly silenceMs = 10_000;
  readonly #ended = new AbortController();
  readonly ended = this.#ended.signal;
  readonly #queues = new Map<string, Queue>();
  readonly #options: RedisOptions;
  #client: Redis | undefined;

  constructor(
    readonly address: QueueAddress,
    readonly bull: BullModule,
    readonly redis: RedisModule,
    readonly answerMs: number,
  ) {
    this.presence = new Presence(address.shown);
    this.#options = {
      host: address.host,
      port: address.port,
      db: address.database,
      ...(address.username === undefined ? {} : { username: address.username }),
      ...(address.password === undefined ? {} : { password: address.password.reveal() }),
      ...(address.tls ? { tls: isIP(address.host) === 0 ? { servername: address.host } : {} } : {}),
      connectTimeout: CONNECT_MS,
      keepAlive: 10_000,
      // a network that swallows everything; what blocks does so for 10 seconds at most
      socketTimeout: SILENT_MS,
      maxRetriesPerRequest: null,
      retryStrategy: (times) => backoffMs(times - 1),
    };
  }

  async probe(): Promise<readonly string[]> {
    const client = new this.redis.Redis({
      ...this.#options,
      lazyConnect: true,
      enableReadyCheck: false,
      // sent by hand: what the server says of them is told
      password: undefined as never,
      username: undefined as never,
      db: 0,
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      connectTimeout: 0.7 * this.answerMs,
    });
    let heard: unknown;
    client.on("error", (error: unknown) => (heard ??= error));
    try {
      const warnings = await within(this.#look(client), 0.8 * this.answerMs);
      if (warnings !== undefined) return warnings;
      throw Object.assign(new Error("no answer in time"), { code: "SILENT" });
    } catch (error) {
      throw await queueFault(this.address, /^Connection is closed/.test(reasonOf(error)) ? (heard ?? error) : error);
    } finally {
      client.disconnect();
    }
  }

  async #look(client: Redis): Promise<readonly string[]> {
    const { username, password, prefix, database } = this.address;
    await client.connect();
    if (password !== undefined) {
      await client.call("AUTH", ...(username === undefined ? [] : [username]), password.reveal());
    }
    const info = await client.info();
    const fact = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1];
    this.#checkVersion(fact("redis_version"));
    if (fact("redis_mode") === "cluster") throw new QueueError(`${this.address.shown}: expected one Redis server, got a cluster`); // prettier-ignore
    if (database !== 0) await client.select(database);
    // a replica, a full disk, a user without rights: only writing tells
    await client.set(`${prefix}:probe`, "1", "PX", 1000);
    await client.eval("return redis.call('SET', KEYS[1], '1', 'PX', 1000)", 1, `${prefix}:probe`);
    const policy = fact("maxmemory_policy");
    return policy === undefined || policy === "noeviction"
      ? []
      : [`${this.address.shown}: expected maxmemory-policy noeviction, got ${policy}: jobs may be forgotten when memory is short`]; // prettier-ignore
  }

  #checkVersion(version: string | undefined): void {
    const [major = 0, minor = 0] = (version ?? "").split(".").map(Number);
    if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return;
    throw new QueueError(`${this.address.shown}: expected Redis ${OLDEST.join(".")} or later, got ${version ?? "a server that does not say its version"}`); // prettier-ignore
  }

  queue(name: string): Queue {
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      queue = new this.bull.Queue(name, { ...this.#own(), connection: this.#shared() });
      queue.on("error", () => undefined);
      this.#queues.set(name, queue);
    }
    return queue;
  }

  events(name: string, after: string): ReturnType<QueueServer["events"]> {
    const options = { ...this.#own(), connection: this.#shared(), lastEventId: after, autorun: false };
    const events = new this.bull.QueueEvents(name, options);
    events.on("error", () => undefined);
    return events;
  }

  async lastEvent(name: string): Promise<string> {
    const [last] = await this.#shared().xrevrange(this.queue(name).toKey("events"), "+", "-", "COUNT", 1);
    return last?.[0] ?? "0-0";
  }

  async ends(name: string, ids: readonly string[]): Promise<readonly JobEnd[]> {
    const backend = this.queue(name).getBackend();
    // all are on their way before the first is answered
    return Promise.all(ids.map(async (id) => endOf(await backend.isFinished(id, true))));
  }

  worker(name: string, processor: Processor, options: OwnWorkerOptions): ServerWorker {
    // of its own: it ends what a lost server would never let end
    const client = this.#connect();
    const worker = new this.bull.Worker(name, processor, { ...options, ...this.#own(), connection: client });
    let closed = false;
    worker.once("closed", () => (closed = true));
    return {
      worker,
      abandon: async () => {
        if (!closed) await within(worker.getBackend().disconnectBlocking(false), CLOSE_MS);
        client.disconnect();
      },
    };
  }

  async giveBack(name: string, job: Job, token: string): Promise<void> {
    await job.moveToWait(token);
    // BullMQ tells nobody of a job with a priority: workers that wait would wait on
    await this.#shared().zadd(this.queue(name).toKey("marker"), 0, "0");
  }

  async remember(name: string): Promise<void> {
    await this.#shared().sadd(`${this.address.prefix}:queues`, name);
  }

  async names(): Promise<readonly string[]> {
    return (await this.#shared().smembers(`${this.address.prefix}:queues`)).sort();
  }

  async close(): Promise<void> {
    this.#ended.abort();
    for (const queue of this.#queues.values()) await within(queue.close(), closingMs(this.presence));
    this.#client?.disconnect();
  }

  /** Options that all of BullMQ's classes get. Its own check of the version prints; {@link probe} has looked. */
  #own(): { readonly prefix: string; readonly skipVersionCheck: true } {
    return { prefix: this.address.prefix, skipVersionCheck: true };
  }

  #shared(): Redis {
    if (this.#client !== undefined) return this.#client;
    const client = this.#connect();
    let last = "connection closed";
    client.on("error", (error: unknown) => (last = reasonOf(error)));
    client.on("close", () => {
      if (!this.ended.aborted) this.presence.lost(last);
    });
    client.on("ready", () => {
      last = "connection closed";
      this.presence.found();
    });
    this.#client = client;
    return client;
  }

  #connect(): Redis {
    const client = new this.redis.Redis(this.#options);
    client.on("error", () => undefined);
    return client;
  }
}

/** What BullMQ answers to whether a job has ended. */
function endOf(answer: number | readonly [number, string]): JobEnd {
  const [status, told] = typeof answer === "number" ? [answer, ""] : answer;
  switch (Number(status)) {
    case 1:
      return { state: "completed", written: parsed(told) };
    case 2:
      return { state: "failed", reason: told };
    case -1:
      return { state: "missing" };
    default:
      return { state: "under way" };
  }
}
