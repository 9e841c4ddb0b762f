/** @file A hub on this machine: the API and files on one port, large files behind redirects on another, with faults on demand. */

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { onTestFinished } from "vitest";

/** A file as the hub keeps it. */
export interface HubFile {
  readonly bytes: Uint8Array;
  /** Kept on the CDN, with SHA-256 as etag. @default true from 1000 bytes on */
  readonly large?: boolean;
}

/** A repository at its only commit. */
export interface HubRepository {
  readonly commit: string;
  readonly files: Readonly<Record<string, HubFile>>;
  /** Answers 403 without this token. */
  readonly gated?: string;
}

/** What was asked. */
export interface Asked {
  readonly host: "hub" | "cdn";
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
}

/** What goes wrong with the next request that it matches. */
export interface HubFault {
  readonly host?: "hub" | "cdn";
  readonly url: RegExp;
  readonly method?: "GET" | "HEAD";
  /** @default 1 */
  readonly times?: number;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Ends the connection after so many bytes of the file. */
  readonly dropAfter?: number;
  /** Sends so many bytes of the file and then nothing, with the connection open. */
  readonly stallAfter?: number;
  /** Sends these bytes instead of the file's. */
  readonly bytes?: Uint8Array;
  /** Answers a range with the whole file. */
  readonly ignoreRange?: boolean;
}

/** A hub that runs until the test is over. */
export interface FakeHub {
  readonly endpoint: string;
  readonly cdn: string;
  readonly asked: Asked[];
  readonly repositories: Record<string, HubRepository>;
  fail(fault: HubFault): void;
  /** Milliseconds between pieces of 64 KiB. */
  pace: number;
}

/** Starts a hub. */
export async function startHub(repositories: Record<string, HubRepository>): Promise<FakeHub> {
  const asked: Asked[] = [];
  const faults: { fault: HubFault; left: number }[] = [];
  const state = { pace: 0 };
  const take = (host: "hub" | "cdn", request: IncomingMessage): HubFault | undefined => {
    const found = faults.find(
      ({ fault, left }) =>
        left > 0 &&
        (fault.host ?? host) === host &&
        (fault.method ?? request.method) === request.method &&
        fault.url.test(request.url ?? ""),
    );
    if (found !== undefined) found.left--;
    return found?.fault;
  };
  const listen = async (host: "hub" | "cdn", answer: Answer): Promise<string> => {
    const server = createServer((request, response) => {
      const { method = "", url = "", headers } = request;
      asked.push({ host, method, url, authorization: headers.authorization, range: headers.range });
      const fault = take(host, request);
      if (fault?.status !== undefined) {
        response.writeHead(fault.status, fault.headers).end(fault.body ?? "");
        return;
      }
      void answer(request, response, fault).catch(() => response.destroy());
    });
    return started(server);
  };
  const cdn = await listen("cdn", (request, response, fault) => {
    const [, id = "", path = ""] = /^\/([^?]+?)\/-\/([^?]+)/.exec(request.url ?? "") ?? [];
    const file = repositories[id]?.files[decodeURIComponent(path)];
    if (file === undefined) throw new Error(`no ${request.url ?? ""}`);
    return send(request, response, file.bytes, fault, state.pace);
  });
  const endpoint = await listen("hub", async (request, response, fault) => {
    await hubAnswer(request, response, fault, repositories, cdn, state.pace);
  });
  return {
    endpoint,
    cdn,
    asked,
    repositories,
    fail: (fault) => faults.push({ fault, left: fault.times ?? 1 }),
    get pace() {
      return state.pace;
    },
    set pace(milliseconds) {
      state.pace = milliseconds;
    },
  };
}

type Answer = (request: IncomingMessage, response: ServerResponse, fault: HubFault | undefined) => Promise<void>;

async function hubAnswer(
  request: IncomingMessage,
  response: ServerResponse,
  fault: HubFault | undefined,
  repositories: Readonly<Record<string, HubRepository>>,
  cdn: string,
  pace: number,
): Promise<void> {
  const { pathname } = new URL(request.url ?? "/", "http://hub");
  const api = /^\/api\/models\/(.+?)\/(?:revision\/([^/]+)|refs)$/.exec(pathname);
  const resolve = /^\/(.+?)\/resolve\/([^/]+)\/(.+)$/.exec(pathname);
  const id = (api ?? resolve)?.[1] ?? "";
  const refuse = (status: number, code: string, message = ""): void => {
    response.writeHead(status, { "x-error-code": code, "x-error-message": message }).end();
  };
  const repository = repositories[id];
  if (repository === undefined) return refuse(404, "RepoNotFound", "Repository not found");
  if (repository.gated !== undefined && request.headers.authorization !== `Bearer ${repository.gated}`)
    return refuse(403, "GatedRepo", "Access to this model is restricted");
  if (pathname.endsWith("/refs")) {
    response.end(JSON.stringify({ branches: [{ name: "main" }], tags: [{ name: "v1.0" }] }));
    return;
  }
  const revision = decodeURIComponent((api ?? resolve)?.[2] ?? "");
  if (!["main", "refs/pr/1", repository.commit].includes(revision)) return refuse(404, "RevisionNotFound");
  if (api !== null) {
    const siblings = Object.keys(repository.files).map((rfilename) => ({ rfilename }));
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ id, sha: repository.commit, siblings }));
    return;
  }
  const path = decodeURIComponent(resolve?.[3] ?? "");
  const file = repository.files[path];
  if (file === undefined) return refuse(404, "EntryNotFound");
  const etag = etagOf(file);
  response.setHeader("x-repo-commit", repository.commit);
  if (isLarge(file)) {
    response.writeHead(302, {
      location: `${cdn}/${id}/-/${encodeURIComponent(path)}?signature=abc`,
      "x-linked-etag": `"${etag}"`,
      "x-linked-size": String(file.bytes.length),
      etag: '"of-the-redirect"',
    });
    response.end();
    return;
  }
  response.setHeader("etag", `W/"${etag}"`);
  await send(request, response, file.bytes, fault, pace);
}

async function send(
  request: IncomingMessage,
  response: ServerResponse,
  whole: Uint8Array,
  fault: HubFault | undefined,
  pace: number,
): Promise<void> {
  const from = fault?.ignoreRange === true ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
  if (from > 0 && from >= whole.length) {
    response.writeHead(416).end();
    return;
  }
  const bytes = (fault?.bytes ?? whole).subarray(from);
  const range = from > 0 ? { "content-range": `bytes ${from}-${whole.length - 1}/${whole.length}` } : {};
  response.writeHead(from > 0 ? 206 : 200, { "content-length": bytes.length, ...range, ...fault?.headers });
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  const end = fault?.dropAfter ?? fault?.stallAfter ?? bytes.length;
  const piece = pace > 0 ? 65_536 : end;
  for (let at = 0; at < end; at += piece) {
    response.write(bytes.subarray(at, Math.min(at + piece, end)));
    if (pace > 0) await sleep(pace);
  }
  if (fault?.stallAfter !== undefined) return;
  if (fault?.dropAfter !== undefined) await new Promise((done) => setTimeout(done, 20));
  if (fault?.dropAfter === undefined) response.end();
  else response.destroy();
}

/** As the hub gives it. */
export function etagOf(file: HubFile): string {
  if (isLarge(file)) return createHash("sha256").update(file.bytes).digest("hex");
  return createHash("sha1").update(`blob ${file.bytes.length}\0`).update(file.bytes).digest("hex");
}

function isLarge({ bytes, large }: HubFile): boolean {
  return large ?? bytes.length >= 1000;
}

/** Bytes that compress badly and are the same each time. */
export function contents(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed * 2_654_435_761 + 1;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Text as a file. */
export function text(content: string): HubFile {
  return { bytes: new TextEncoder().encode(content) };
}

async function started(server: Server): Promise<string> {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
