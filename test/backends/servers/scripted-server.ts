/** @file A real HTTP server on a free port whose answers a test scripts, one fault after the other, and which keeps what it was asked. */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

/** A request as it came in. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** Parsed JSON, or the text itself. */
  readonly body: unknown;
  /** What came, byte by byte. */
  readonly raw: Buffer;
}

/** What to do with one request instead of answering it well. */
export type Fault =
  /** Answers well after all: the faults that follow are for later requests. */
  | { readonly kind: "none" }
  /** Closes the connection without a word. */
  | { readonly kind: "drop" }
  /** Never answers. */
  | { readonly kind: "stall" }
  /** Sends the head and half of a body, then nothing more. */
  | { readonly kind: "stall-body" }
  /** Sends half of a body and closes. */
  | { readonly kind: "cut" }
  /** Sends the good answer a few bytes at a time. */
  | { readonly kind: "slow"; readonly millisecondsPerChunk: number }
  | {
      readonly kind: "status";
      readonly status: number;
      readonly body?: string | Uint8Array;
      readonly headers?: Readonly<Record<string, string>>;
    };

/** A good answer. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly bytes?: Uint8Array;
}

/** Answers a request; may wait. The signal aborts when the client goes away. */
export type Handler = (request: SeenRequest, signal: AbortSignal) => Answer | Promise<Answer>;

/** A running server. */
export interface ScriptedServer {
  readonly url: string;
  /** In order of arrival. */
  readonly seen: readonly SeenRequest[];
  /** The next requests (whose path matches `path`, if given) meet these faults, one each. */
  fail(faults: readonly Fault[], path?: RegExp): void;
  /** Forgets the faults that nobody met. */
  unfail(): void;
  close(): Promise<void>;
}

/**
 * Starts a server on 127.0.0.1, on a free port or the one given.
 * @param upgrade takes connections that are to become something else than HTTP
 */
export async function startServer(
  handler: Handler,
  at = 0,
  upgrade?: (request: IncomingMessage, socket: Duplex) => void,
): Promise<ScriptedServer> {
  const seen: SeenRequest[] = [];
  const script: { readonly fault: Fault; readonly path: RegExp }[] = [];
  const server = createServer((request, response) => {
    void serve(request, response).catch((error: unknown) => {
      // a broken handler is a broken test: say so in the answer
      if (!response.headersSent) response.writeHead(500, { "content-type": "text/plain" });
      response.end(`test server: ${String(error)}`);
    });
  });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const raw = Buffer.concat(pieces);
    const one: SeenRequest = {
      method: request.method ?? "",
      path: request.url ?? "",
      headers: request.headers,
      body: parse(raw.toString("utf8")),
      raw,
    };
    seen.push(one);
    const at = script.findIndex(({ path }) => path.test(one.path));
    const met = at < 0 ? undefined : script.splice(at, 1)[0]!.fault;
    const fault = met?.kind === "none" ? undefined : met;
    if (fault?.kind === "drop") return void request.socket.destroy();
    if (fault?.kind === "stall") return;
    if (fault?.kind === "status") {
      response.writeHead(fault.status, { "content-type": "application/json", ...fault.headers });
      response.end(fault.body ?? "");
      return;
    }
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const { status = 200, headers = {}, json, bytes } = await handler(one, gone.signal);
    const body = bytes ?? Buffer.from(json === undefined ? "" : JSON.stringify(json));
    if (response.destroyed) return;
    response.writeHead(status, {
      "content-type": bytes === undefined ? "application/json" : "application/octet-stream",
      ...(fault === undefined ? { "content-length": String(body.byteLength) } : {}),
      ...headers,
    });
    if (fault === undefined) return void response.end(body);
    if (fault.kind === "slow") {
      for (let start = 0; start < body.byteLength; start += 16) {
        response.write(body.subarray(start, start + 16));
        await new Promise((resolve) => setTimeout(resolve, fault.millisecondsPerChunk));
      }
      response.end();
      return;
    }
    response.write(body.subarray(0, Math.floor(body.byteLength / 2)));
    if (fault.kind === "cut") setTimeout(() => request.socket.destroy(), 20);
  }

  if (upgrade !== undefined) server.on("upgrade", upgrade);
  await new Promise<void>((resolve) => server.listen(at, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    fail: (faults, path = /^/) => script.push(...faults.map((fault) => ({ fault, path }))),
    unfail: () => void script.splice(0),
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
