/** @file A server that scores pictures over HTTP, for programs that draw them elsewhere: web UIs, node editors, scripts. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { CancelledError, UsageError } from "../errors.js";
import { MAX_PIXELS } from "../image/types.js";
import { listen, urlOf } from "../util/http-server.js";
import { Secret } from "../util/secret.js";
import { answer, problemAnswer } from "./body.js";
import { checkExposure, checkNames, checkToken, corsHeaders, type GuardOptions, preflightHeaders } from "./guard.js";
import { Judge, type OpenedReward, type RewardFacts } from "./judge.js";
import { SERVE_LIMITS, type ServeLimits } from "./limits.js";
import { ServerMetrics } from "./metrics.js";
import { Problem } from "./problem.js";
import { ROUTES, ScoreService } from "./service.js";

/** Connections at once. */
const MOST_CONNECTIONS = 256;
/** In which the headers of a request have to arrive, at most. */
const HEADERS_MS = 10_000;
/** How often connections are checked for being too slow, at most. */
const CHECK_MS = 5000;
/** What is being scored may end within this time when the server is closed. */
const GRACE_MS = 10_000;

/** How a server answers, and to whom. */
export interface ServeScoresOptions {
  /** Address or name to listen on. Others than this machine's own need a token. @default "127.0.0.1" */
  readonly host?: string | undefined;
  /** 0 takes a free one. @default 8787 */
  readonly port?: number | undefined;
  /** At least 16 characters; what every request but that for health has to carry as bearer token. */
  readonly token?: string | undefined;
  /** Names that the server is reached by, beside its own. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Origins of web pages that may ask, such as `https://pictures.example`. @default none */
  readonly allowedOrigins?: readonly string[] | undefined;
  /** @default {@link SERVE_LIMITS} */
  readonly limits?: Partial<ServeLimits> | undefined;
  /** Seconds without a request after which the reward is unloaded. @default never */
  readonly unloadAfter?: number | undefined;
  /** Loads the reward with the first request rather than at once. */
  readonly lazy?: boolean | undefined;
  /** Told of every answer. */
  readonly onAnswer?: ((answered: AnsweredRequest) => void) | undefined;
  /** Told of faults that callers only learn the existence of. */
  readonly onFault?: ((error: unknown) => void) | undefined;
}

/** An answer, for a log. It names nothing that was asked. */
export interface AnsweredRequest {
  readonly method: string;
  /** As documented; `other` for paths that are none. */
  readonly route: string;
  /** 499 where the caller had left. */
  readonly status: number;
  /** Pictures that were scored. */
  readonly images: number | undefined;
  readonly ms: number;
}

/** A server that answers. */
export interface ScoreServer {
  /** Its address: `http://127.0.0.1:8787`. */
  readonly url: string;
  /** What is known of its reward; undefined while it has never been loaded. */
  readonly reward: RewardFacts | undefined;
  /** Stops taking requests, lets those that are scored end within 10 seconds, and unloads the reward. */
  close(): Promise<void>;
}

/**
 * Serves scores until it is closed. The interface is described by its `GET /openapi.json`.
 * @param open loads the reward: at once, after it was unloaded, or when nothing could be loaded before
 * @throws UsageError when other machines could reach it without a token, or it cannot listen there; what `open` throws, unless it is `lazy`
 */
export async function serveScores(
  open: () => Promise<OpenedReward>,
  options: ServeScoresOptions = {},
): Promise<ScoreServer> {
  const { host = "127.0.0.1", port = 8787, token, allowedHosts = [], allowedOrigins = [], unloadAfter } = options;
  const limits = checkedLimits({ ...SERVE_LIMITS, ...options.limits });
  const guard = {
    host,
    allowedHosts,
    allowedOrigins,
    token: token === undefined ? undefined : new Secret(token, "token"),
  };
  checkExposure(guard);
  const judge = new Judge(open, unloadAfter === undefined ? undefined : unloadAfter * 1000);
  const server = new HttpScoreServer(judge, limits, guard, options);
  try {
    if (options.lazy !== true) await judge.use(() => Promise.resolve());
    await server.listen(port);
  } catch (error) {
    await judge.close();
    throw error;
  }
  return server;
}

function checkedLimits(limits: ServeLimits): ServeLimits {
  for (const [name, value] of Object.entries(limits)) {
    const least = name === "maxWaiting" ? 0 : Number.MIN_VALUE;
    if (!(value >= least && value < Infinity)) throw new UsageError(`${name}: expected a number above 0, got ${value}`);
  }
  return { ...limits, maxPixels: Math.min(limits.maxPixels, MAX_PIXELS) };
}

class HttpScoreServer implements ScoreServer {
  readonly #judge: Judge;
  readonly #guard: GuardOptions;
  readonly #options: ServeScoresOptions;
  readonly #server: Server;
  readonly #service: ScoreService;
  readonly #metrics: ServerMetrics;
  /** Aborts when what is still scored has to end. */
  readonly #ending = new AbortController();
  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;
  #busy = 0;

  constructor(judge: Judge, limits: ServeLimits, guard: GuardOptions, options: ServeScoresOptions) {
    this.#judge = judge;
    this.#guard = guard;
    this.#options = options;
    this.#service = new ScoreService(judge, limits, () => this.#metrics, (error) => options.onFault?.(error)); // prettier-ignore
    this.#metrics = new ServerMetrics({ loaded: () => judge.loaded, active: () => this.#service.active });
    const receiveMs = limits.receiveSeconds * 1000;
    this.#server = createServer({
      requestTimeout: receiveMs,
      headersTimeout: Math.min(HEADERS_MS, receiveMs),
      connectionsCheckingInterval: Math.min(CHECK_MS, receiveMs),
    });
    this.#server.maxConnections = MOST_CONNECTIONS;
    const take = (request: IncomingMessage, response: ServerResponse): void => void this.#take(request, response);
    this.#server.on("request", take).on("checkContinue", take).on("clientError", refuseMalformed);
  }

  get url(): string {
    return urlOf(this.#server);
  }

  get reward(): RewardFacts | undefined {
    return this.#judge.facts;
  }

  /** @throws UsageError when the port or the address cannot be had */
  listen(port: number): Promise<void> {
    const { host } = this.#guard;
    return listen(this.#server, host.replace(/^\[(.*)\]$/, "$1"), port, `${host}:${port}`);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeIdleConnections();
    if (this.#busy > 0) {
      const grace = setTimeout(() => this.#ending.abort(), GRACE_MS);
      const ended = new Promise<void>((resolve) => (this.#onIdle = resolve));
      await Promise.race([ended, new Promise((resolve) => this.#ending.signal.addEventListener("abort", resolve))]);
      clearTimeout(grace);
    }
    this.#ending.abort();
    await this.#judge.close();
    this.#server.closeAllConnections();
    await closed;
  }

  /** Answers one request; nothing it does or holds ends the server. */
  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const started = performance.now();
    const { method = "" } = request;
    let route = "other";
    this.#busy++;
    const left = new AbortController();
    response
      .on("error", () => undefined)
      .once("close", () => {
        if (!response.writableFinished) left.abort();
      });
    let status: number;
    try {
      const known = (path: string): void => void (route = path);
      status = await this.#answer(request, response, AbortSignal.any([left.signal, this.#ending.signal]), known);
    } catch (error) {
      const problem = this.#problemOf(error);
      status = left.signal.aborted ? 499 : problem.status;
      const told = problemAnswer(problem);
      answer(request, response, {
        ...told,
        headers: { ...told.headers, ...corsHeaders(request.headers, this.#guard) },
      });
    }
    this.#metrics.answered(route, status);
    this.#options.onAnswer?.({ method, route, status, images: this.#service.imagesOf(request), ms: performance.now() - started }); // prettier-ignore
    if (--this.#busy === 0) this.#onIdle?.();
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
    known: (path: string) => void,
  ): Promise<number> {
    const { headers, method = "" } = request;
    checkNames(headers, this.#guard);
    const { pathname, searchParams } = addressOf(request.url ?? "/");
    const expected = Object.hasOwn(ROUTES, pathname) ? ROUTES[pathname] : undefined;
    if (expected !== undefined) known(pathname);
    const cors = corsHeaders(headers, this.#guard);
    if (method === "OPTIONS" && expected !== undefined) {
      response.writeHead(204, { ...cors, ...preflightHeaders([expected]) }).end();
      return 204;
    }
    if (pathname !== "/healthz") checkToken(headers, this.#guard.token);
    if (expected === undefined)
      throw new Problem(404, `path: expected one of ${Object.keys(ROUTES).join(", ")}, got another`);
    if (method !== expected && !(method === "HEAD" && expected === "GET")) {
      throw new Problem(405, `method: expected ${expected}, got ${method.slice(0, 20)}`, {
        headers: { allow: expected },
      });
    }
    if (this.#closing !== undefined) throw ending();
    const made = await this.#service.answer(pathname, { request, response, query: searchParams, signal });
    answer(request, response, { ...made, headers: { ...made.headers, ...cors } });
    return made.status;
  }

  #problemOf(error: unknown): Problem {
    if (error instanceof Problem) return error;
    if (error instanceof CancelledError) return ending();
    this.#options.onFault?.(error);
    return new Problem(500, "something went wrong here; the server's log says what", { cause: error });
  }
}

function ending(): Problem {
  return new Problem(503, "expected a server that goes on, got one that ends", { headers: { "retry-after": "10" } });
}

/** @throws Problem 400 */
function addressOf(url: string): URL {
  try {
    return new URL(url, "http://laurel");
  } catch {
    throw new Problem(400, "address: expected a path, got something else");
  }
}

/** Answers what is no HTTP, or came too slowly. */
function refuseMalformed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === "ECONNRESET") return void socket.destroy();
  const [status, detail] =
    error.code === "ERR_HTTP_REQUEST_TIMEOUT"
      ? [408, "request: expected all of it sooner, got a part"]
      : error.code === "HPE_HEADER_OVERFLOW"
        ? [431, "headers: expected at most 16 KiB, got more"]
        : [400, "request: expected HTTP/1.1, got something else"];
  const { type, body } = problemAnswer(new Problem(status as number, detail as string));
  const lines = [`HTTP/1.1 ${status} -`, "Connection: close", `Content-Type: ${type}`, `Content-Length: ${Buffer.byteLength(body)}`]; // prettier-ignore
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
}
