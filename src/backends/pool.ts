/** @file Several servers of one kind as one backend: the least busy draws next, one that is down is passed over and tried again later. */

import PQueue from "p-queue";
import { UsageError } from "../errors.js";
import { throwIfAborted, unlessAborted } from "../util/abort.js";
import type { GeneratedGroup, GenerateOptions, ImageBackend, ImageRequest } from "./contract.js";
import { drawGroups } from "./groups.js";
import type { HttpServer } from "./http/client.js";
import { HttpError } from "./http/error.js";
import { checkRequest } from "./resolve.js";

/** How the servers are used together. */
export interface PoolOptions {
  /** Groups at once, over all servers. @default as many as they take together */
  readonly concurrency?: number | undefined;
  /** At most so many groups begun in so many seconds, over all servers. @default no limit */
  readonly rate?: { readonly requests: number; readonly perSeconds: number } | undefined;
  /** Milliseconds for which a server that failed is passed over. @default 30000 */
  readonly restMs?: number | undefined;
}

type Open = (server: HttpServer) => Promise<ImageBackend>;

const REST_MS = 30_000;
/** Longest that a server is passed over because it asked for it. */
const MAXIMUM_REST_MS = 300_000;

/** One server. */
interface Member {
  readonly server: HttpServer;
  /** undefined until it could be opened. */
  backend: ImageBackend | undefined;
  /** Groups it is drawing. */
  busy: number;
  /** When it may be tried again, in milliseconds of performance.now; undefined while it works, Infinity when it cannot take part. */
  restsUntil: number | undefined;
}

/**
 * Opens a backend on each server and joins them. One server that answers is enough; the others are tried again later. A group that a server fails
 * is drawn by another: by one at a time, and by each once.
 * @throws UsageError when the servers do not draw alike, else what opening the first threw when none can be opened
 */
export async function poolOf(
  servers: readonly HttpServer[],
  open: Open,
  options: PoolOptions = {},
): Promise<ImageBackend> {
  const opened = await Promise.allSettled(servers.map(open));
  try {
    const first = opened.find((one) => one.status === "fulfilled")?.value;
    const reasons = opened.flatMap((one) => (one.status === "rejected" ? [one.reason as unknown] : []));
    // a server may be down; a configuration that no server can follow is another matter
    const wrong = reasons.find((reason) => !(reason instanceof HttpError));
    if (wrong !== undefined || first === undefined) throw wrong ?? reasons[0];
    const members = servers.map((server, i): Member => {
      const one = opened[i]!;
      if (one.status === "rejected")
        return { server, backend: undefined, busy: 0, restsUntil: performance.now() + restOf(one.reason, options) };
      expectAlike(first, one.value, server);
      return { server, backend: one.value, busy: 0, restsUntil: undefined };
    });
    if (servers.length === 1 && options.rate === undefined && options.concurrency === undefined) return first;
    const unreachable = reasons.map((reason) => `${(reason as Error).message}; it is passed over`);
    return joined(new Members(members, open, options), first, unreachable, options);
  } catch (error) {
    await Promise.all(servers.map((server) => server.close()));
    throw error;
  }
}

function joined(
  members: Members,
  first: ImageBackend,
  unreachable: readonly string[],
  { concurrency = members.slots, rate }: PoolOptions,
): ImageBackend {
  const limiter = new PQueue({
    concurrency,
    ...(rate === undefined ? {} : { interval: rate.perSeconds * 1000, intervalCap: rate.requests }),
  });
  let untold = unreachable;
  const backend: ImageBackend = {
    name: first.name,
    model: first.model,
    capabilities: { ...first.capabilities, concurrency },
    defaults: first.defaults,
    async *generate(request, options = {}) {
      checkRequest(backend, request);
      const draw = (part: ImageRequest, watched: GenerateOptions): Promise<GeneratedGroup> =>
        members.draw(part, watched, (work) => inTurn(limiter, work, watched.signal));
      for await (const group of drawGroups(request, concurrency, options, ({ seed, count }, watched) =>
        draw({ ...request, seed, count }, watched),
      )) {
        const warnings = [...untold, ...group.warnings];
        untold = [];
        yield { ...group, warnings };
      }
    },
    probe: (signal) => members.probe(signal),
    dispose: () => members.close(),
  };
  return backend;
}

/** Runs `work` when the limits allow; a cancellation does not wait for that, but for the work itself once it has begun. */
async function inTurn<T>(limiter: PQueue, work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const done = limiter.add(() => {
    begin();
    throwIfAborted(signal);
    return work();
  });
  done.catch(() => undefined);
  await unlessAborted(begun, signal);
  return done;
}

/** The servers, and whose turn it is. */
class Members {
  readonly #all: readonly Member[];
  readonly #open: Open;
  readonly #options: PoolOptions;
  /** Groups that one server draws at the same time. */
  readonly #each: number;
  #waiting: (() => void)[] = [];

  constructor(all: readonly Member[], open: Open, options: PoolOptions) {
    this.#all = all;
    this.#open = open;
    this.#options = options;
    this.#each = all.find(({ backend }) => backend !== undefined)?.backend?.capabilities.concurrency ?? 1;
  }

  /** Groups that all of them draw at the same time. */
  get slots(): number {
    return this.#all.length * this.#each;
  }

  /** Draws one group on the least busy server that is up; `paced` runs each attempt within the limits of all servers. */
  async draw(
    request: ImageRequest,
    options: GenerateOptions,
    paced: (work: () => Promise<GeneratedGroup>) => Promise<GeneratedGroup>,
  ): Promise<GeneratedGroup> {
    const tried = new Set<Member>();
    const problems: string[] = [];
    for (;;) {
      const member = await this.#take(tried, options.signal);
      tried.add(member);
      try {
        const group = await paced(async () => firstGroup(await this.#opened(member), request, options));
        member.restsUntil = undefined;
        return { ...group, warnings: [...problems, ...group.warnings] };
      } catch (error) {
        if (!(error instanceof HttpError) || error.fault === "invalid-request") throw error;
        member.restsUntil = performance.now() + restOf(error, this.#options);
        problems.push(`${error.message}; another server draws instead`);
        if (this.#all.every((one) => tried.has(one) || one.restsUntil === Infinity)) throw error;
      } finally {
        member.busy--;
        for (const wake of this.#waiting.splice(0)) wake();
      }
    }
  }

  /** One line a server. @throws HttpError when none can be used */
  async probe(signal: AbortSignal | undefined): Promise<readonly string[]> {
    const asked = await Promise.allSettled(
      this.#all.map(async (member) => (await this.#opened(member)).probe?.(signal) ?? []),
    );
    const reached = asked.some(({ status }) => status === "fulfilled");
    const [failure] = asked.flatMap((one) => (one.status === "rejected" ? [one.reason as Error] : []));
    if (!reached && failure !== undefined) throw failure;
    return asked.flatMap((one) => (one.status === "fulfilled" ? one.value : [(one.reason as Error).message]));
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map(({ server, backend }) => backend?.dispose() ?? server.close()));
  }

  /** Waits for a server with a free place: of those that are up, or when all rest, of all. One that comes back gets a single group at first. */
  async #take(tried: ReadonlySet<Member>, signal: AbortSignal | undefined): Promise<Member> {
    for (;;) {
      const now = performance.now();
      const left = this.#all.filter((one) => !tried.has(one) && one.restsUntil !== Infinity);
      if (left.length === 0)
        throw new HttpError("expected a server that can take part, got none", { fault: "unavailable" });
      const up = left.filter(({ restsUntil = 0 }) => restsUntil <= now);
      const free = (up.length > 0 ? up : left)
        .filter(({ busy, restsUntil }) => busy < (restsUntil === undefined ? this.#each : 1))
        .sort((a, b) => a.busy - b.busy)[0];
      if (free !== undefined) {
        free.busy++;
        return free;
      }
      await unlessAborted(new Promise<void>((resolve) => this.#waiting.push(resolve)), signal);
    }
  }

  /** A member's backend, opened now if it could not be before. @throws HttpError when it still cannot, or draws with something else */
  async #opened(member: Member): Promise<ImageBackend> {
    if (member.backend !== undefined) return member.backend;
    const backend = await this.#open(member.server);
    const first = this.#all.find((one) => one.backend !== undefined)?.backend ?? backend;
    try {
      expectAlike(first, backend, member.server);
    } catch (error) {
      throw new HttpError(
        (error as Error).message,
        { fault: "bad-response", retryAfterMs: Infinity },
        { cause: error },
      );
    }
    member.backend = backend;
    return backend;
  }
}

/** @throws UsageError when two servers would draw different pictures from one request */
function expectAlike(first: ImageBackend, other: ImageBackend, { name }: HttpServer): void {
  if (first.model.name !== other.model.name) {
    throw new UsageError(`${name}: expected ${first.model.name} like the other servers, got ${other.model.name}`);
  }
  const lacking = first.capabilities.samplers.filter((sampler) => !other.capabilities.samplers.includes(sampler));
  if (lacking.length > 0) {
    throw new UsageError(
      `${name}: expected the samplers of the other servers, got none of the name ${lacking.join(", ")}`,
    );
  }
}

/** Milliseconds that a server which failed is passed over. */
function restOf(error: unknown, { restMs = REST_MS }: PoolOptions): number {
  const asked = error instanceof HttpError ? error.retryAfterMs : undefined;
  if (asked === Infinity) return Infinity;
  return Math.min(Math.max(asked ?? 0, restMs), MAXIMUM_REST_MS);
}

async function firstGroup(
  backend: ImageBackend,
  request: ImageRequest,
  options: GenerateOptions,
): Promise<GeneratedGroup> {
  for await (const group of backend.generate(request, options)) return group;
  return { images: [], warnings: [] };
}
