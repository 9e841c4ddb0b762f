/** @file What a server of scores does for each of its routes. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { CancelledError, LaurelError } from "../errors.js";
import { packageVersion } from "../pipeline/package-info.js";
import { throwIfAborted } from "../util/abort.js";
import { type Answer, json, readBody } from "./body.js";
import type { Judge, LoadedReward } from "./judge.js";
import type { ServeLimits } from "./limits.js";
import type { ServerMetrics } from "./metrics.js";
import { openApi } from "./openapi.js";
import { Problem } from "./problem.js";
import { type Asked, LONGEST_PROMPT, rankSchema, readAsked, scoreSchema } from "./requests.js";
import { type ScoredItems, scoreItems, select } from "./scoring.js";

/** Bytes of bodies that are held at once, as a multiple of the longest: many that wait are small, or few. */
const HELD_BODIES = 4;

/** A request with what its route needs. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  /** Aborts when its sender leaves, or the server ends. */
  readonly signal: AbortSignal;
}

/** The methods of each path. `GET` answers `HEAD` too. */
export const ROUTES: Readonly<Record<string, "GET" | "POST">> = {
  "/healthz": "GET",
  "/metrics": "GET",
  "/openapi.json": "GET",
  "/v1/info": "GET",
  "/v1/score": "POST",
  "/v1/rank": "POST",
  "/v1/unload": "POST",
};

/** The routes' work. */
export class ScoreService {
  #active = 0;
  /** Bytes of the bodies of active requests. */
  #held = 0;
  /** Seconds that the last request was scored. */
  #lastSeconds = 1;
  /** Pictures scored by the last call, for the log. */
  readonly #images = new WeakMap<IncomingMessage, number>();

  /** @param onFault told of what goes wrong here and is not told to callers */
  constructor(
    private readonly judge: Judge,
    private readonly limits: ServeLimits,
    private readonly metrics: () => ServerMetrics,
    private readonly onFault: (error: unknown) => void,
  ) {}

  /** Requests that are read, wait or are scored. */
  get active(): number {
    return this.#active;
  }

  /** Pictures that were scored for a request. */
  imagesOf(request: IncomingMessage): number | undefined {
    return this.#images.get(request);
  }

  /** What is answered on a path of {@link ROUTES}. @throws Problem, CancelledError when the caller has left */
  async answer(path: string, call: Call): Promise<Answer> {
    switch (path) {
      case "/healthz":
        return json({ status: "ok" });
      case "/metrics":
        return { status: 200, type: "text/plain; version=0.0.4; charset=utf-8", body: await this.metrics().text() };
      case "/openapi.json":
        return json(openApi());
      case "/v1/info":
        return json(this.#info());
      case "/v1/unload":
        return json({ schemaVersion: 1, unloaded: await this.judge.unload() });
      default:
        return json(await this.#admitted(() => this.#score(call, path === "/v1/rank")));
    }
  }

  #info(): object {
    const { maxBodyBytes, maxPixels, maxImages, maxWaiting } = this.limits;
    return {
      schemaVersion: 1,
      name: "laurel",
      version: packageVersion(),
      loaded: this.judge.loaded,
      reward: this.judge.facts ?? null,
      limits: { maxBodyBytes, maxPixels, maxImages, maxWaiting, maxPromptLength: LONGEST_PROMPT },
      active: this.#active,
    };
  }

  /** Sends away what is too much, before any of it is read. */
  async #admitted<T>(work: () => Promise<T>): Promise<T> {
    if (this.#active > this.limits.maxWaiting) {
      const seconds = Math.max(1, Math.ceil(this.#lastSeconds * this.#active));
      throw busy(`expected at most ${this.limits.maxWaiting} requests that wait, got one more`, seconds);
    }
    this.#active++;
    try {
      return await work();
    } finally {
      this.#active--;
    }
  }

  async #score({ request, response, query, signal }: Call, ranks: boolean): Promise<object> {
    const { maxBodyBytes, maxImages } = this.limits;
    let held = 0;
    const hold = (bytes: number): void => {
      if (this.#held + bytes > HELD_BODIES * maxBodyBytes) throw busy("expected fewer bytes of waiting requests", 5);
      this.#held += bytes;
      held += bytes;
    };
    try {
      const body = await readBody(request, response, maxBodyBytes, hold);
      const options = { schema: ranks ? rankSchema : scoreSchema, most: maxImages };
      const asked = await readAsked(body, request.headers["content-type"] ?? "", query, options);
      return await this.#answered(request, asked, signal, ranks);
    } finally {
      this.#held -= held;
    }
  }

  async #answered(request: IncomingMessage, asked: Asked, signal: AbortSignal, ranks: boolean): Promise<object> {
    const { facts, scored } = await this.#judged(asked, signal);
    this.#images.set(request, asked.items.length);
    const told = { schemaVersion: 1, reward: facts.name, key: facts.key, ...scored, reference: facts.reference };
    return ranks ? { ...told, ...select(scored.results, asked) } : told;
  }

  /** Scores in turn. What goes wrong with the model is the server's fault, and only its log says what. */
  async #judged(
    asked: Asked,
    signal: AbortSignal,
  ): Promise<{ readonly facts: LoadedReward["facts"]; readonly scored: ScoredItems }> {
    try {
      // whoever has left does not load a model
      throwIfAborted(signal, "scoring");
      return await this.judge.use(async (loaded) => {
        throwIfAborted(signal, "scoring");
        const started = performance.now();
        const scored = await scoreItems(loaded, asked.items, { mostPixels: this.limits.maxPixels, signal });
        this.#lastSeconds = (performance.now() - started) / 1000;
        const count = scored.results.filter(({ score }) => score !== null).length;
        this.metrics().scored(loaded.facts.name, count, this.#lastSeconds);
        return { facts: loaded.facts, scored };
      });
    } catch (error) {
      if (error instanceof Problem || error instanceof CancelledError || !(error instanceof LaurelError)) throw error;
      this.onFault(error);
      throw busy("the reward cannot score now; the server's log says why", 5, error);
    }
  }
}

function busy(detail: string, seconds: number, cause?: unknown): Problem {
  return new Problem(503, detail, { headers: { "retry-after": String(seconds) }, cause });
}
