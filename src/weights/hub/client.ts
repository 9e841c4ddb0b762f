/** @file The Hugging Face hub over HTTP: which commit a revision is, what a file is, and its bytes from any place on. */

import { setTimeout as sleep } from "node:timers/promises";
import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from "undici";
import { CancelledError, LaurelError, ModelError } from "../../errors.js";
import { redact } from "../../util/secret.js";
import { explainStatus, networkFailure, TransientFailure } from "./failure.js";
import { isCommit, isFilePath, type Repository } from "./repository.js";
import type { HubSettings } from "./settings.js";

/** How patient the client is. */
export interface ClientOptions {
  /** Attempts after the first. @default 5 */
  readonly retries?: number | undefined;
  /** First wait between attempts, milliseconds; each further one is twice as long, with jitter. @default 500 */
  readonly backoffMs?: number | undefined;
  /** Longest wait, also when the server asks for more: then the failure is reported. @default 300000 */
  readonly maximumWaitMs?: number | undefined;
}

/** A repository as it is at a commit. */
export interface RemoteCommit {
  readonly commit: string;
  /** Paths of its files. */
  readonly files: readonly string[];
}

/** A file as the hub describes it. */
export interface RemoteFile {
  readonly path: string;
  /** SHA-256 of its bytes where it is large, git's SHA-1 otherwise, or what a mirror makes up. */
  readonly etag: string;
  readonly size: number;
}

/** The bytes of a file from `offset` on. */
export interface OpenedBody {
  /** 0 when the server does not resume. */
  readonly offset: number;
  /** Of the whole file; undefined when the server does not say. */
  readonly total: number | undefined;
  readonly contentType: string;
  readonly chunks: AsyncIterable<Uint8Array>;
}

type Answer = Dispatcher.ResponseData;
const REDIRECTS = 5;
const ETAG = /^[\w.+=-]{1,200}$/;

/** The hub, or a mirror of it. Close it to give its connections back. */
export class HubClient {
  readonly settings: HubSettings;
  readonly #options: ClientOptions;
  readonly #origin: string;
  readonly #dispatcher: Dispatcher;

  constructor(settings: HubSettings, options: ClientOptions = {}) {
    this.settings = settings;
    this.#options = options;
    this.#origin = new URL(settings.endpoint).origin;
    const { etagTimeoutMs = 10_000, downloadTimeoutMs = 10_000 } = settings;
    const timeouts = { headersTimeout: etagTimeoutMs, bodyTimeout: downloadTimeoutMs, connect: { timeout: 10_000 } };
    const proxied = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"].some((name) => process.env[name]);
    this.#dispatcher = proxied ? new EnvHttpProxyAgent(timeouts) : new Agent(timeouts);
  }

  /** The commit that a revision is now, and its files. @throws ModelError when there is none, or none for this user */
  async commit(repository: Repository, signal?: AbortSignal): Promise<RemoteCommit> {
    const { id, revision } = repository;
    const address = `${this.settings.endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}`;
    const json = await this.retried(signal, async () => this.#json(address, repository, signal));
    const { sha, siblings } = (json ?? {}) as { sha?: unknown; siblings?: unknown };
    if (typeof sha !== "string" || !isCommit(sha) || !Array.isArray(siblings)) {
      throw new ModelError(`${id}: expected a commit and its files from ${address}, got another answer`);
    }
    const files = siblings.map((one) => (one as { rfilename?: unknown } | null)?.rfilename);
    const wrong = files.find((path) => typeof path !== "string" || !isFilePath(path));
    if (wrong !== undefined) {
      throw new ModelError(`${id}: expected paths inside the repository, got ${JSON.stringify(wrong)}`);
    }
    return { commit: sha, files: files as string[] };
  }

  /** Branches and tags of a repository, none when the hub does not say. */
  async revisions(id: string, signal?: AbortSignal): Promise<string[]> {
    const address = `${this.settings.endpoint}/api/models/${id}/refs`;
    const json = await this.#json(address, { id, revision: "" }, signal).catch(() => null);
    const { branches, tags } = (json ?? {}) as { branches?: unknown; tags?: unknown };
    const lists = [branches, tags].flatMap((list) => (Array.isArray(list) ? (list as unknown[]) : []));
    return lists.map((ref) => (ref as { name?: unknown } | null)?.name).filter((name) => typeof name === "string");
  }

  /** What a file is at a commit. @throws ModelError when there is none */
  async file(id: string, commit: string, path: string, signal?: AbortSignal): Promise<RemoteFile> {
    const address = this.address(id, commit, path);
    return this.retried(signal, async () => {
      const found = await this.#follow("HEAD", new URL(address), {}, signal, isDescribed);
      await found.body.dump();
      this.#expectSuccess(found, "", { id, revision: commit }, path);
      const etag = headerOf(found, "x-linked-etag") ?? headerOf(found, "etag");
      const size = Number(headerOf(found, "x-linked-size") ?? headerOf(found, "content-length") ?? Number.NaN);
      const clean = (etag ?? "").replace(/^W\//, "").replace(/^"|"$/g, "");
      if (!ETAG.test(clean) || !Number.isSafeInteger(size) || size < 0) {
        const actual = /html/.test(headerOf(found, "content-type") ?? "") ? "an HTML page" : "neither of use";
        throw new ModelError(
          `${id}: ${path}: expected an ETag and a size from ${this.#origin}, got ${actual}; is it a hub, or does a proxy answer?`,
        );
      }
      return { path, etag: clean, size };
    });
  }

  /**
   * Opens a file from `offset` on. Whatever leads elsewhere is asked without the token. Not repeated: the caller knows what it has.
   * @throws TransientFailure when it may work later, ModelError when it will not
   */
  async open(address: string, offset: number, what: string, signal?: AbortSignal): Promise<OpenedBody> {
    const headers = offset > 0 ? { range: `bytes=${offset}-` } : {};
    const answer = await this.#follow("GET", new URL(address), headers, signal, () => false);
    const contentType = headerOf(answer, "content-type") ?? "";
    if (answer.statusCode === 416) {
      await answer.body.dump();
      return { offset: 0, total: undefined, contentType, chunks: none() };
    }
    if (answer.statusCode >= 300) this.#expectSuccess(answer, await readSome(answer), undefined, what);
    const length = Number(headerOf(answer, "content-length") ?? Number.NaN);
    const chunks = this.#guarded(answer.body, signal);
    if (answer.statusCode !== 206)
      return { offset: 0, total: Number.isNaN(length) ? undefined : length, contentType, chunks };
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headerOf(answer, "content-range") ?? "") ?? [];
    if (Number(from) !== offset) {
      answer.body.destroy();
      throw new ModelError(`${what}: expected the bytes from ${offset} on, got another part (from ${from ?? "none"})`);
    }
    return { offset, total: total === "*" ? undefined : Number(total), contentType, chunks };
  }

  /** Where a file of a commit is fetched. */
  address(id: string, commit: string, path: string): string {
    return `${this.settings.endpoint}/${id}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
  }

  /** Repeats `work` while it fails in passing. @throws what it threw last */
  async retried<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; failures++) {
      try {
        return await work();
      } catch (error) {
        await this.pause(error, failures, signal);
      }
    }
  }

  /** Waits before the next attempt. @throws the failure itself when there is to be none */
  async pause(error: unknown, failures: number, signal: AbortSignal | undefined): Promise<void> {
    const { retries = 5, backoffMs = 500, maximumWaitMs = 300_000 } = this.#options;
    if (!(error instanceof TransientFailure) || failures >= retries) throw error;
    if ((error.retryAfterMs ?? 0) > maximumWaitMs) throw error;
    const backoff = (0.5 + Math.random() / 2) * Math.min(backoffMs * 2 ** failures, 30_000);
    const wait = Math.max(backoff, error.retryAfterMs ?? 0);
    await sleep(wait, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
    if (signal?.aborted === true) throw cancelled(signal.reason);
  }

  /** Gives the connections back. */
  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }

  async #json(address: string, repository: Repository, signal: AbortSignal | undefined): Promise<unknown> {
    const answer = await this.#follow("GET", new URL(address), {}, signal, () => false);
    const text = await readSome(answer, 64 << 20);
    this.#expectSuccess(answer, text, repository, undefined);
    try {
      return JSON.parse(text);
    } catch (cause) {
      const actual = /^\s*</.test(text) ? "an HTML page" : "something else";
      throw new ModelError(
        `${repository.id}: expected JSON from ${address}, got ${actual}; is it a hub, or does a proxy answer?`,
        { cause },
      );
    }
  }

  /** The answer at the end of the redirects, or the first that `enough` takes. */
  async #follow(
    method: "GET" | "HEAD",
    start: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal | undefined,
    enough: (answer: Answer) => boolean,
  ): Promise<Answer> {
    let url = start;
    for (let hops = 0; hops <= REDIRECTS; hops++) {
      const answer = await this.#once(method, url, headers, signal);
      const location = headerOf(answer, "location");
      const redirects = answer.statusCode >= 300 && answer.statusCode < 400 && location !== undefined;
      if (!redirects || enough(answer)) return answer;
      await answer.body.dump();
      const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
      if (
        next === undefined ||
        !/^https?:$/.test(next.protocol) ||
        (url.protocol === "https:" && next.protocol === "http:")
      ) {
        throw new ModelError(`${start.href}: expected a redirect to https, got one to ${JSON.stringify(location)}`);
      }
      url = next;
    }
    throw new ModelError(`${start.href}: expected an answer, got more than ${REDIRECTS} redirects`);
  }

  async #once(
    method: "GET" | "HEAD",
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    const { token } = this.settings;
    const own = url.origin === this.#origin && token !== undefined ? { authorization: `Bearer ${token.reveal()}` } : {};
    // what is hashed and counted must not be compressed on the way
    const sent = { "user-agent": "laurel", "accept-encoding": "identity", ...own, ...headers };
    try {
      return await request(url.href, { method, headers: sent, dispatcher: this.#dispatcher, signal: signal ?? null });
    } catch (error) {
      throw this.#explain(error, signal);
    }
  }

  /** The body, with its failures explained. */
  async *#guarded(body: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    try {
      yield* body;
    } catch (error) {
      throw this.#explain(error, signal);
    }
  }

  #explain(error: unknown, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted === true) return cancelled(error);
    return error instanceof LaurelError ? error : networkFailure(error, this.#origin);
  }

  #expectSuccess(answer: Answer, body: string, repository: Repository | undefined, path: string | undefined): void {
    // a redirect with a description is an answer
    if (answer.statusCode < 300 || (answer.statusCode < 400 && isDescribed(answer))) return;
    const header = (name: string): string | undefined => headerOf(answer, name);
    const { endpoint, token } = this.settings;
    const context = { endpoint, hasToken: token !== undefined, repository, path };
    const error = explainStatus(answer.statusCode, header, redact(body), context);
    if (error !== undefined) throw error;
  }
}

function cancelled(cause: unknown): CancelledError {
  return new CancelledError("the download was cancelled; what was fetched is kept", { cause });
}

/** True for a redirect to where a large file lies: it says itself what the file is. */
function isDescribed(answer: Answer): boolean {
  return headerOf(answer, "x-linked-etag") !== undefined;
}

function headerOf(answer: Answer, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** The beginning of a body, as text. */
async function readSome({ body }: Answer, limit = 65_536): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of body as AsyncIterable<Uint8Array>) {
    pieces.push(piece);
    size += piece.byteLength;
    if (size > limit) break;
  }
  return new TextDecoder().decode(Buffer.concat(pieces).subarray(0, limit));
}

async function* none(): AsyncGenerator<Uint8Array> {
  // no bytes
}
