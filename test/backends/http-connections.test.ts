import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer, connect as connectTcp, type Server } from "node:net";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, it, vi } from "vitest";
import { HttpServer, type HttpServerOptions } from "#laurel/backends/http/client";
import { HttpError } from "#laurel/backends/http/error";
import { CERTIFICATE, KEY } from "./servers/certificate.js";
import { type ScriptedServer, startServer } from "./servers/scripted-server.js";
import { acceptSocket } from "./servers/websocket.js";

const started: { close(): unknown }[] = [];
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(started.splice(0).map((one) => one.close()));
});

function client(url: string, options: Partial<HttpServerOptions> = {}): HttpServer {
  const made = new HttpServer({ name: "test", url, backoffMs: 1, maximumBackoffMs: 20, idleMs: 1000, ...options });
  started.push(made);
  return made;
}

async function listen(server: Server, host = "127.0.0.1"): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  started.push({ close: () => server.close() });
  return (server.address() as AddressInfo).port;
}

async function failure(promise: Promise<unknown>): Promise<HttpError> {
  const error: unknown = await promise.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(HttpError);
  return error as HttpError;
}

async function echo(): Promise<ScriptedServer> {
  const server = await startServer(({ path, headers }) => ({ json: { path, host: headers.host } }));
  started.push(server);
  return server;
}

describe("a connection", () => {
  it("is kept for the next request", async () => {
    let connections = 0;
    const server = createServer((_, response) => response.end("{}")).on("connection", () => connections++);
    const one = client(`http://127.0.0.1:${await listen(server)}`);
    for (let i = 0; i < 5; i++) await one.json("x");
    // the second request may come before the first connection is free again
    expect(connections).toBeLessThanOrEqual(2);
  });

  it("that the server closes each time is made anew", async () => {
    const server = createServer((_, response) => response.writeHead(200, { connection: "close" }).end("{}"));
    const one = client(`http://127.0.0.1:${await listen(server)}`, { retries: 0 });
    for (let i = 0; i < 5; i++) expect(await one.json("x")).toEqual({});
  });

  it("that became a socket is cut when the client is closed, whether the server answers the goodbye or not", async () => {
    const deaf = createServer();
    const ended = new Promise((resolve) => {
      deaf.on("upgrade", (request, socket) => {
        acceptSocket(request, socket);
        socket.removeAllListeners("data").resume().on("end", resolve);
      });
    });
    const one = client(`http://127.0.0.1:${await listen(deaf)}`);
    const socket = one.socket("ws");
    await new Promise((resolve) => socket.addEventListener("open", resolve));
    socket.close();
    await one.close();
    await ended;
  });

  it("goes to IPv6 addresses", async () => {
    const server = createServer((request, response) => response.end(JSON.stringify(request.headers.host)));
    const port = await listen(server, "::1");
    expect(await client(`http://[::1]:${port}`).json("x")).toBe(`[::1]:${port}`);
  });

  it("is refused where the certificate is not trusted, once, with what to do", async () => {
    let seen = 0;
    const server = createTlsServer({ cert: CERTIFICATE, key: KEY }, (_, response) => response.end("{}"));
    server.on("connection", () => seen++);
    const error = await failure(client(`https://localhost:${await listen(server)}`).json("x"));
    expect(error).toMatchObject({ fault: "untrusted", exitCode: 3 });
    expect(error.message).toMatch(/^test: its certificate is self-signed; .* NODE_EXTRA_CA_CERTS$/);
    expect(seen).toBe(1);
  });

  it("says that https was asked of a server without it, or of something else altogether", async () => {
    const server = await echo();
    expect((await failure(client(server.url.replace("http:", "https:")).json("x"))).message).toMatch(
      /is it http rather than https/,
    );
    const chatter = createTcpServer((socket) => socket.end("220 mail.example ESMTP\r\n"));
    const error = await failure(client(`http://127.0.0.1:${await listen(chatter)}`).json("x"));
    expect(error).toMatchObject({ fault: "bad-response" });
    expect(error.message).toMatch(/expected an answer in HTTP/);
  });
});

describe("a proxy", () => {
  /** Takes CONNECT for any host and leads to `port`. */
  async function proxyTo(port: number): Promise<{ url: string; asked: string[] }> {
    const asked: string[] = [];
    const proxy = createServer();
    proxy.on("connect", (request, socket) => {
      asked.push(request.url ?? "");
      const onward = connectTcp(port, "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
        socket.pipe(onward).pipe(socket);
      });
      socket.on("error", () => onward.destroy());
    });
    return { url: `http://127.0.0.1:${await listen(proxy)}`, asked };
  }

  it("of the environment is used, but not for this machine, nor where NO_PROXY says so", async () => {
    const server = await echo();
    const proxy = await proxyTo(Number(new URL(server.url).port));
    vi.stubEnv("HTTP_PROXY", proxy.url);
    vi.stubEnv("NO_PROXY", "direct.invalid");
    expect(await client("http://pictures.invalid/v1").json("x")).toEqual({ path: "/v1/x", host: "pictures.invalid" });
    expect(proxy.asked).toEqual(["pictures.invalid:80"]);
    await client(server.url).json("x");
    expect((await failure(client("http://direct.invalid", { retries: 0 }).json("x"))).message).not.toBe("");
    expect(proxy.asked).toHaveLength(1);
  });

  it("does not open the way to private addresses", async () => {
    const server = await echo();
    const proxy = await proxyTo(Number(new URL(server.url).port));
    vi.stubEnv("HTTP_PROXY", proxy.url);
    const error = await failure(client("http://pictures.invalid/").download("http://192.168.0.1/x.png"));
    expect(error).toMatchObject({ fault: "bad-response" });
    expect(proxy.asked).toEqual([]);
  });
});

describe("an answer", () => {
  it("is counted as it is unpacked", async () => {
    const bomb = gzipSync(new Uint8Array(64 << 20));
    expect(bomb.byteLength).toBeLessThan(100_000);
    const server = await startServer(() => ({ bytes: bomb, headers: { "content-encoding": "gzip" } }));
    started.push(server);
    const error = await failure(client(server.url).request("x", { maximumBytes: 1 << 20 }));
    expect(error.message).toMatch(/expected at most 1048576 bytes, got more/);
    expect(server.seen).toHaveLength(1);
  });

  it("that is packed badly is refused", async () => {
    const server = await startServer(() => ({
      bytes: new Uint8Array(500).fill(7),
      headers: { "content-encoding": "gzip" },
    }));
    started.push(server);
    expect((await failure(client(server.url).request("x"))).message).toMatch(/damaged bytes/);
  });

  it("may not begin with more headers than there is room for", async () => {
    const server = await startServer(() => ({ json: {}, headers: { "x-padding": "x".repeat(40_000) } }));
    started.push(server);
    expect(await failure(client(server.url).request("x"))).toMatchObject({ fault: "bad-response" });
  });

  it("that drips in byte by byte ends at the deadline", async () => {
    const server = await startServer(() => ({ bytes: new Uint8Array(100_000) }));
    started.push(server);
    server.fail([{ kind: "slow", millisecondsPerChunk: 50 }]);
    const startedAt = performance.now();
    const error = await failure(client(server.url, { retries: 0 }).request("x", { timeoutMs: 400 }));
    expect(error.message).toMatch(/within 0.4 s/);
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });
});

describe("the breaker", () => {
  it("sends one request to see whether the server is back while the others wait, and a cancelled one does not", async () => {
    const server = await startServer(async () => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      return { json: {} };
    });
    started.push(server);
    const one = client(server.url, { retries: 0, breakAfter: 2, breakMs: 50 });
    server.fail([{ kind: "drop" }, { kind: "drop" }]);
    for (let i = 0; i < 2; i++) await failure(one.json("x"));
    await new Promise((resolve) => setTimeout(resolve, 80));
    const [first, second] = [one.json("x"), one.json("x")];
    const startedAt = performance.now();
    await expect(one.json("x", { signal: AbortSignal.timeout(50) })).rejects.toThrow(/cancelled/);
    expect(performance.now() - startedAt).toBeLessThan(250);
    expect(server.seen).toHaveLength(3);
    expect(await Promise.all([first, second])).toEqual([{}, {}]);
  });

  it("does not count questions beside the work", async () => {
    const server = await echo();
    const one = client(server.url, { retries: 0, breakAfter: 2 });
    server.fail(Array.from({ length: 4 }, () => ({ kind: "drop" }) as const));
    for (let i = 0; i < 4; i++) await failure(one.json("x", { aside: true }));
    expect(await one.json("x")).toMatchObject({ path: "/x" });
  });
});
