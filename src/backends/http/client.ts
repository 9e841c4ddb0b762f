/** @file One server over HTTP: deadlines, bounded retries, a circuit breaker, limits on what comes back. */

import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import {
  BrokenCircuitError,
  circuitBreaker,
  ConsecutiveBreaker,
  handleWhen,
  type CircuitBreakerPolicy,
} from "cockatiel";
import { type Dispatcher, fetch, type FormData, type Response, WebSocket } from "undici";
import { CancelledError, UsageError } from "../../errors.js";
import { unlessAborted } from "../../util/abort.js";
import { networkReason } from "../../util/network-error.js";
import { redact, type Secret } from "../../util/secret.js";
import { type ConnectionOptions, connectionsTo, publicConnections, watchUpgrades } from "./connections.js";
import { describeBody, faultOfStatus, HttpError, retryAfter, waitOfBody } from "./error.js";
import { checkPublicUrl } from "./public-address.js";

/** How a server is spoken to. */
export interface HttpServerOptions {
  /** Names the server in messages, for example `webui http://127.0.0.1:7860`. */
  readonly name: string;
  /** Base address; a path in it is kept. */
  readonly url: string;
  /** Sent with every request; a secret is kept out of every message. */
  readonly headers?: Readonly<Record<string, string | Secret>> | undefined;
  /** Milliseconds for one request, from sending it to the last byte. @default 600000 */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds without a byte once an answer has begun. @default 60000 */
  readonly idleMs?: number | undefined;
  /** Largest answer. @default 256 MiB */
  readonly maximumBytes?: number | undefined;
  /** Attempts after the first, for requests that failed in passing. @default 4 */
  readonly retries?: number | undefined;
  /** First wait between attempts; each further one is twice as long, with full jitter. @default 500 */
  readonly backoffMs?: number | undefined;
  /** Longest wait between attempts, also when the server asks for more. @default 30000 */
  readonly maximumBackoffMs?: number | undefined;
  /** Failures in a row after which the server is left alone. @default 8 */
  readonly breakAfter?: number | undefined;
  /** Milliseconds for which it is left alone. @default 15000 */
  readonly breakMs?: number | undefined;
  /** Makes every connection, downloads included. @default by name, with TLS where the address says https, through the environment's proxy */
  readonly connect?: ConnectionOptions["connect"];
}

/** One request. */
export interface HttpRequest {
  /** @default POST with a body, GET without */
  readonly method?: "GET" | "POST" | "PUT" | undefined;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it is, instead of `body`. */
  readonly text?: string | undefined;
  /** Sent as a form with files, instead of `body`. */
  readonly form?: FormData | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
  readonly maximumBytes?: number | undefined;
  /** True for a question beside the work: sent once, and not counted against the server when it fails. @default false */
  readonly aside?: boolean | undefined;
}

/** A whole answer. */
export interface HttpReply {
  readonly status: number;
  /** Lower case, without parameters; "" when the server did not say. */
  readonly contentType: string;
  readonly bytes: Uint8Array;
  readonly header: (name: string) => string | undefined;
}

const MIB = 1 << 20;
const REDIRECTS = 5;
/** Milliseconds that closing waits for work: to learn what a server took last, and to have it cancelled. */
const FAREWELL_MS = 8000;

/** A server. Close it to give its connections back. */
export class HttpServer {
  readonly name: string;
  readonly #options: HttpServerOptions;
  readonly #base: URL;
  readonly #own: Dispatcher;
  readonly #sockets = new Set<Duplex>();
  readonly #work = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  #public: Dispatcher | undefined;
  readonly #breaker: CircuitBreakerPolicy;

  /** @throws UsageError when the address is not an http(s) one */
  constructor(options: HttpServerOptions) {
    this.name = options.name;
    this.#options = options;
    this.#base = parseBase(options.url, options.name);
    this.#own = connectionsTo(this.#base, this.#connections());
    this.#breaker = circuitBreaker(
      handleWhen((error) => error instanceof HttpError && error.fault === "unavailable"),
      {
        halfOpenAfter: options.breakMs ?? 15_000,
        breaker: new ConsecutiveBreaker(options.breakAfter ?? 8),
      },
    );
  }

  /**
   * Sends a request and reads the whole answer; one that fails in passing is sent again.
   * @param path relative to the base address, for example `sdapi/v1/txt2img`
   * @throws HttpError for anything but a 2xx answer, CancelledError when the signal aborts
   */
  request(path: string, request: HttpRequest = {}): Promise<HttpReply> {
    return this.send(new URL(path.replace(/^\/+/, ""), this.#base), this.#headers(), request);
  }

  /** As {@link request}, to any address and with these headers alone: the server's own are kept from it. The address is the caller's, never an answer's. */
  async send(url: URL, headers: Readonly<Record<string, string>>, request: HttpRequest = {}): Promise<HttpReply> {
    const reply = await this.#attempts(request, () => this.#once(url, request, this.#own, headers));
    if (reply.status < 300) return reply;
    // keys must not follow a redirect to another host
    const { status } = reply;
    const location = reply.header("location") ?? "";
    throw this.fault("bad-response", `${url.pathname}: expected an answer, got a redirect to ${location}`, { status });
  }

  /** As {@link request}, with the answer parsed as JSON. @throws HttpError `bad-response` when it is none */
  async json(path: string, request: HttpRequest = {}): Promise<unknown> {
    return this.parse(path, await this.request(path, request));
  }

  /** An answer as JSON. @throws HttpError `bad-response` when it is none */
  parse(where: string, { status, bytes, contentType }: HttpReply): unknown {
    try {
      return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
    } catch (cause) {
      const actual = describeBody(bytes, contentType);
      throw this.fault("bad-response", `${where}: expected JSON, got ${actual}`, { status, cause });
    }
  }

  /**
   * Opens a WebSocket beside the requests, with the server's own headers. Nothing is repeated, and it may be lost at any time: what it tells has to be
   * asked for in another way as well. The caller closes it; what is still open when the server is closed is cut.
   */
  socket(path: string): WebSocket {
    const url = new URL(path.replace(/^\/+/, ""), this.#base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return new WebSocket(url, { dispatcher: watchUpgrades(this.#own, this.#sockets), headers: this.#headers() });
  }

  /**
   * Fetches a file that an answer of the server names. It may lie on the server itself or on a public host; the server's own headers go only to
   * the server. Redirects are followed under the same rule.
   */
  async download(address: string, request: HttpRequest = {}): Promise<HttpReply> {
    return this.#attempts(request, async () => {
      let url = this.#parse(address);
      for (let hops = 0; hops <= REDIRECTS; hops++) {
        const own = url.origin === this.#base.origin;
        if (!own) checkPublicUrl(url, this.name);
        this.#public ??= publicConnections(this.#connections());
        const reply = await this.#once(url, request, own ? this.#own : this.#public, own ? this.#headers() : {});
        const location = reply.header("location");
        if (reply.status < 300 || location === undefined) return reply;
        url = this.#parse(new URL(location, url).href);
      }
      throw this.fault("bad-response", `${address}: expected a file, got more than ${REDIRECTS} redirects`);
    });
  }

  /** An error that names the server, for answers that break its contract. */
  fault(
    fault: HttpError["fault"],
    message: string,
    facts: { status?: number; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ): HttpError {
    const { cause, ...rest } = facts;
    return new HttpError(redact(`${this.name}: ${message}`), { fault, ...rest }, { cause });
  }

  /** Does work that has something to tell the server when it is cancelled: {@link close} cancels it, and waits for it. */
  async during<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const done = work(AbortSignal.any([signal, this.#closing.signal]));
    this.#work.add(done);
    try {
      return await done;
    } finally {
      this.#work.delete(done);
    }
  }

  /** Gives the connections back once the work under way has ended, at most some seconds later; other requests fail. */
  async close(): Promise<void> {
    this.#closing.abort();
    if (this.#work.size > 0) {
      const ended = new AbortController();
      const late = sleep(FAREWELL_MS, undefined, { signal: ended.signal }).catch(() => undefined);
      await Promise.race([Promise.allSettled(this.#work), late]);
      ended.abort();
    }
    // a server that is gone never answers a socket's goodbye
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all([this.#own.destroy(), this.#public?.destroy()]);
  }

  async #attempts<T>(request: HttpRequest, attempt: () => Promise<T>): Promise<T> {
    const { retries = 4, backoffMs = 500, maximumBackoffMs = 30_000 } = this.#options;
    for (let failures = 0; ; failures++) {
      throwIfAborted(request.signal);
      try {
        const explained = async (): Promise<T> => {
          try {
            return await attempt();
          } catch (error) {
            throw this.#explain(error, request.signal);
          }
        };
        if (request.aside === true) return await explained();
        // while the breaker tries whether the server is back, all others wait for that one
        return await unlessAborted(this.#breaker.execute(explained), request.signal);
      } catch (error) {
        const failure = error instanceof BrokenCircuitError ? this.#leftAlone(error) : error;
        if (!(failure instanceof HttpError) || !failure.transient) throw failure;
        if (request.aside === true || failures >= retries) throw failure;
        const backoff = Math.random() * Math.min(backoffMs * 2 ** failures, maximumBackoffMs);
        const wait = Math.min(Math.max(backoff, failure.retryAfterMs ?? 0), maximumBackoffMs);
        await sleep(wait, undefined, request.signal === undefined ? {} : { signal: request.signal }).catch(
          () => undefined,
        );
      }
    }
  }

  async #once(
    url: URL,
    request: HttpRequest,
    dispatcher: Dispatcher,
    headers: Readonly<Record<string, string>>,
  ): Promise<HttpReply> {
    const timeoutMs = request.timeoutMs ?? this.#options.timeoutMs ?? 600_000;
    const deadline = AbortSignal.timeout(timeoutMs);
    const signal = request.signal === undefined ? deadline : AbortSignal.any([request.signal, deadline]);
    const path = url.pathname;
    const json = request.body === undefined ? undefined : JSON.stringify(request.body);
    const body = request.form ?? request.text ?? json;
    let response: Response;
    let bytes: Uint8Array;
    try {
      response = await fetch(url, {
        method: request.method ?? (body === undefined ? "GET" : "POST"),
        headers: request.body === undefined ? headers : { ...headers, "content-type": "application/json" },
        ...(body === undefined ? {} : { body }),
        redirect: "manual",
        dispatcher,
        signal,
      });
      bytes = await readBody(response, request.maximumBytes ?? this.#options.maximumBytes ?? 256 * MIB);
    } catch (error) {
      if (error instanceof TooLarge) throw this.fault("bad-response", `${path}: ${error.message}`);
      if (deadline.aborted && request.signal?.aborted !== true) {
        throw this.fault("unavailable", `${path}: expected an answer within ${timeoutMs / 1000} s, got none`, {
          cause: error,
        });
      }
      throw error;
    }
    const contentType = (response.headers.get("content-type") ?? "").split(";")[0]!.trim().toLowerCase();
    const reply: HttpReply = {
      status: response.status,
      contentType,
      bytes,
      header: (name) => response.headers.get(name) ?? undefined,
    };
    const redirect = response.status >= 300 && response.status < 400 && response.headers.has("location");
    if (response.ok || redirect) return reply;
    throw this.fault(
      faultOfStatus(response.status),
      `${path}: ${response.status}: ${describeBody(bytes, contentType)}`,
      {
        status: response.status,
        retryAfterMs: retryAfter(response.headers.get("retry-after"), Date.now()) ?? waitOfBody(bytes),
      },
    );
  }

  #leftAlone(cause: BrokenCircuitError): HttpError {
    return this.fault("unavailable", "left alone for a while after many failures in a row", {
      retryAfterMs: this.#options.breakMs ?? 15_000,
      cause,
    });
  }

  /** Errors of the network as HttpError; what is Laurel's own stays. */
  #explain(error: unknown, signal: AbortSignal | undefined): unknown {
    if (error instanceof HttpError) return error;
    if (signal?.aborted === true)
      return new CancelledError(`${this.name}: the request was cancelled`, { cause: error });
    const reason = networkReason(error);
    if (reason === undefined) return error;
    const [fault, text] = reason;
    return this.fault(fault, text, { cause: error });
  }

  #connections(): ConnectionOptions {
    return { idleMs: this.#options.idleMs ?? 60_000, connect: this.#options.connect };
  }

  #headers(): Record<string, string> {
    const headers: Record<string, string> = { "user-agent": "laurel" };
    for (const [name, value] of Object.entries(this.#options.headers ?? {})) {
      headers[name] = typeof value === "string" ? value : value.reveal();
    }
    return headers;
  }

  #parse(address: string): URL {
    try {
      return new URL(address);
    } catch (cause) {
      throw this.fault("bad-response", `expected the address of a file, got ${JSON.stringify(address.slice(0, 100))}`, {
        cause,
      });
    }
  }
}

class TooLarge extends Error {}

/** Reads at most `maximum` bytes, counted as they come: a server's own count is not trusted. */
async function readBody(response: Response, maximum: number): Promise<Uint8Array> {
  const tooLarge = (): TooLarge => new TooLarge(`expected at most ${maximum} bytes, got more`);
  if (Number(response.headers.get("content-length") ?? 0) > maximum) {
    await response.body?.cancel();
    throw tooLarge();
  }
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of response.body ?? []) {
    const chunk = piece as Uint8Array;
    size += chunk.byteLength;
    // leaving the loop cancels the stream
    if (size > maximum) throw tooLarge();
    pieces.push(chunk);
  }
  return Buffer.concat(pieces, size);
}

function parseBase(text: string, name: string): URL {
  const fail = (actual: string): never => {
    // a name may hold the address
    const where = name.replace(/\/\/[^/]*@/g, "//");
    throw new UsageError(`${where}: url: expected an http(s) address, got ${redact(actual)}`);
  };
  if (!URL.canParse(text)) fail(JSON.stringify(text));
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") fail(url.protocol);
  if (url.username !== "" || url.password !== "") fail("one with credentials in it; give them as a secret");
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new CancelledError("the request was cancelled", { cause: signal.reason });
}
