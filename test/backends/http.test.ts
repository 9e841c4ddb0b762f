import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HttpServer, type HttpServerOptions } from "#laurel/backends/http/client";
import { HttpError } from "#laurel/backends/http/error";
import { isPublicAddress } from "#laurel/backends/http/public-address";
import { CancelledError, EXIT, UsageError } from "#laurel/errors";
import { Secret } from "#laurel/util/secret";
import { type Fault, type ScriptedServer, startServer } from "./servers/scripted-server.js";

const QUICK = { backoffMs: 1, maximumBackoffMs: 50, idleMs: 1000 };
let server: ScriptedServer;
const open: HttpServer[] = [];

function client(options: Partial<HttpServerOptions> = {}): HttpServer {
  const made = new HttpServer({ name: "test", url: server.url, ...QUICK, ...options });
  open.push(made);
  return made;
}

async function failure(promise: Promise<unknown>): Promise<HttpError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HttpError);
  return error as HttpError;
}

beforeEach(async () => {
  server = await startServer((request) => {
    if (request.path === "/bytes") return { bytes: new Uint8Array(1000).fill(7) };
    if (request.path === "/to-private") return { status: 302, headers: { location: "http://169.254.169.254/meta" } };
    if (request.path === "/loop") return { status: 302, headers: { location: "/loop" } };
    return { json: { path: request.path, body: request.body } };
  });
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
  await server.close();
});

describe("a request", () => {
  it("sends JSON and headers and reads JSON", async () => {
    const secret = new Secret("key-1234567");
    const reply = await client({ headers: { authorization: secret } }).json("a/b", { body: { x: 1 } });
    expect(reply).toEqual({ path: "/a/b", body: { x: 1 } });
    expect(server.seen[0]).toMatchObject({ method: "POST", headers: { authorization: "key-1234567" } });
  });

  it("keeps the path of the base address", async () => {
    expect(await client({ url: `${server.url}/v1` }).json("/images")).toMatchObject({ path: "/v1/images" });
  });

  const passing: readonly (readonly [string, Fault])[] = [
    ["a dropped connection", { kind: "drop" }],
    ["a cut body", { kind: "cut" }],
    ["500", { kind: "status", status: 500 }],
    ["503", { kind: "status", status: 503 }],
    ["429 with a wait", { kind: "status", status: 429, headers: { "retry-after": "0" } }],
    ["a stalled body", { kind: "stall-body" }],
  ];
  it.each(passing)("survives %s", async (_, fault) => {
    server.fail([fault]);
    expect(await client({ idleMs: 300 }).json("x")).toMatchObject({ path: "/x" });
    expect(server.seen).toHaveLength(2);
  });

  it("gives up after its attempts, and says what the server said", async () => {
    const body = JSON.stringify({ detail: [{ loc: ["body", "steps"], msg: "too many" }] });
    server.fail(Array.from({ length: 5 }, () => ({ kind: "status", status: 500, body }) as const));
    const error = await failure(client({ retries: 2 }).json("x"));
    expect(error.message).toBe("test: /x: 500: body.steps: too many");
    expect(error).toMatchObject({ fault: "unavailable", status: 500, exitCode: EXIT.backendUnavailable });
    expect(server.seen).toHaveLength(3);
  });

  const final: readonly (readonly [number, HttpError["fault"]])[] = [
    [400, "invalid-request"],
    [401, "unauthorised"],
    [403, "unauthorised"],
    [404, "invalid-request"],
    [422, "invalid-request"],
  ];
  it.each(final)("does not repeat what ended with %d", async (status, fault) => {
    server.fail([{ kind: "status", status, body: JSON.stringify({ error: { message: "no" } }) }]);
    expect(await failure(client().json("x"))).toMatchObject({ fault, status, message: `test: /x: ${status}: no` });
    expect(server.seen).toHaveLength(1);
  });

  it("sends a question beside the work once, and does not hold its failure against the server", async () => {
    server.fail([{ kind: "drop" }]);
    await failure(client().json("x", { body: {}, aside: true }));
    expect(server.seen).toHaveLength(1);
  });

  it("caps the wait a server asks for", async () => {
    server.fail([{ kind: "status", status: 429, headers: { "retry-after": "86400" } }]);
    const startedAt = performance.now();
    await client().json("x");
    expect(performance.now() - startedAt).toBeLessThan(5000);
  });

  it("ends at its deadline", async () => {
    server.fail([{ kind: "stall" }]);
    const error = await failure(client({ retries: 0 }).json("x", { timeoutMs: 200 }));
    expect(error).toMatchObject({ fault: "unavailable" });
    expect(error.message).toContain("within 0.2 s");
  });

  it("stops at once when cancelled, also between attempts", async () => {
    server.fail([{ kind: "stall" }]);
    await expect(client().json("x", { signal: AbortSignal.timeout(100) })).rejects.toBeInstanceOf(CancelledError);
    server.fail(Array.from({ length: 9 }, () => ({ kind: "status", status: 503 }) as const));
    const slow = client({ backoffMs: 60_000, maximumBackoffMs: 60_000 });
    await expect(slow.json("x", { signal: AbortSignal.timeout(100) })).rejects.toBeInstanceOf(CancelledError);
  });

  it("reads no more than allowed", async () => {
    expect((await client().request("bytes", { maximumBytes: 1000 })).bytes).toHaveLength(1000);
    const error = await failure(client().request("bytes", { maximumBytes: 999 }));
    expect(error).toMatchObject({ fault: "bad-response" });
    server.fail([{ kind: "slow", millisecondsPerChunk: 0 }]); // without content-length
    expect(await failure(client().request("bytes", { maximumBytes: 999 }))).toMatchObject({ fault: "bad-response" });
  });

  it("names an HTML page by its title, and refuses text that is no JSON", async () => {
    const body = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>";
    server.fail([{ kind: "status", status: 200, body, headers: { "content-type": "text/html" } }]);
    expect((await failure(client().json("x"))).message).toBe("test: x: expected JSON, got an HTML page (Sign in)");
  });

  it("does not follow a redirect with its key", async () => {
    server.fail([{ kind: "status", status: 307, headers: { location: "http://example.org/" } }]);
    expect(await failure(client().json("x"))).toMatchObject({ fault: "bad-response" });
    expect(server.seen).toHaveLength(1);
  });

  it("leaves a dead server alone, and comes back", async () => {
    const one = client({ retries: 0, breakAfter: 3, breakMs: 150 });
    server.fail(Array.from({ length: 3 }, () => ({ kind: "drop" }) as const));
    for (let i = 0; i < 3; i++) await failure(one.json("x"));
    expect((await failure(one.json("x"))).message).toContain("left alone");
    expect(server.seen).toHaveLength(3);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await one.json("x")).toMatchObject({ path: "/x" });
  });

  it("says that nobody listens", async () => {
    const url = server.url;
    await server.close();
    const error = await failure(client({ url, retries: 0 }).json("x"));
    expect(error.message).toBe("test: connection refused; is the server running?");
    server = await startServer(() => ({ json: {} }));
  });

  it("keeps its key out of messages, whatever the server echoes", async () => {
    const secret = new Secret("hunter2-hunter2");
    server.fail([{ kind: "status", status: 400, body: "bad key hunter2-hunter2" }]);
    const error = await failure(client({ headers: { authorization: secret } }).json("x"));
    expect(error.message).toBe("test: /x: 400: bad key [redacted]");
    expect(JSON.stringify({ secret })).not.toContain("hunter2");
  });

  it.each(["ftp://x", "not an address", "http://user:pass@host/"])("refuses the base address %s", (url) => {
    expect(() => new HttpServer({ name: "test", url })).toThrow(UsageError);
  });
});

describe("a download", () => {
  it("takes a file from the server itself", async () => {
    expect((await client().download(`${server.url}/bytes`)).bytes).toHaveLength(1000);
  });

  it.each([
    "http://127.0.0.1:8080/x",
    "http://[::1]:8080/x",
    "http://10.0.0.1/x",
    "http://169.254.169.254/latest/meta-data",
    "http://[::ffff:192.168.0.1]/",
    "http://localhost:8080/x",
    "http://0.0.0.0:1/",
    "http://2130706433/",
    "file:///etc/passwd",
    "ftp://example.org/x",
    "http://user:pass@example.org/",
    "nonsense",
  ])("refuses %s", async (address) => {
    const error = await failure(client({ retries: 0 }).download(address));
    expect(error.fault).toBe("bad-response");
    expect(error.message).toMatch(/expected/);
  });

  it("checks every redirect and follows only a few", async () => {
    expect((await failure(client().download(`${server.url}/to-private`))).message).toContain("private address");
    expect((await failure(client().download(`${server.url}/loop`))).message).toContain("redirects");
  });
});

it("knows public addresses", () => {
  for (const address of ["8.8.8.8", "2606:4700::1111"]) expect(isPublicAddress(address)).toBe(true);
  for (const address of ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.0.1", "100.64.0.1", "0.0.0.0"])
    expect(isPublicAddress(address)).toBe(false);
  for (const address of ["::1", "fe80::1", "fd00::1", "::", "::ffff:10.0.0.1", "ff02::1", "nonsense"])
    expect(isPublicAddress(address)).toBe(false);
});
