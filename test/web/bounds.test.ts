/** @file Who may ask, and how much: hosts, origins, tokens, limits, slow, absent and hostile callers. */

import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { BackendError } from "#laurel/errors";
import { type AnsweredRequest, type ScoreServer, serveScores, type ServeScoresOptions } from "#laurel/web/serve-scores";
import type { Reward } from "#laurel/rewards/contract";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { ask, greys, post, raw } from "./ask.js";

const TOKEN = "correct-horse-battery-staple";
const started: ScoreServer[] = [];
afterEach(async () => void (await Promise.all(started.splice(0).map((one) => one.close()))));

/** Answers collected by the log of a server. */
type Log = AnsweredRequest[];

async function serve(
  options: ServeScoresOptions = {},
  reward: Reward = createBrightnessReward(),
): Promise<{ url: string; log: Log; faults: unknown[]; opened: () => number; server: ScoreServer }> {
  const log: Log = [];
  const faults: unknown[] = [];
  let opened = 0;
  const server = await serveScores(
    async () => {
      opened++;
      return { reward, close: async () => undefined };
    },
    { port: 0, onAnswer: (one) => log.push(one), onFault: (fault) => faults.push(fault), ...options },
  );
  started.push(server);
  return { url: server.url, log, faults, opened: () => opened, server };
}

const request = async (...levels: readonly number[]) => ({
  prompt: "a cat",
  images: (await greys(...levels)).map((bytes) => bytes.toString("base64")),
});

/** A reward that works when it is told to. */
function gated(): { reward: Reward & { calls: number[] }; started: Promise<void>; release: () => void } {
  let [release, begin] = [() => {}, () => {}];
  const gate = new Promise<void>((resolve) => (release = resolve));
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const inner = createBrightnessReward();
  const score: Reward["score"] = async (...args) => {
    begin();
    await gate;
    return inner.score(...args);
  };
  return { reward: { ...inner, score }, started: begun, release };
}

describe("who may ask", () => {
  it.each([
    ["0.0.0.0", {}, /host 0\.0\.0\.0: expected a token/],
    ["::", {}, /expected a token/],
    ["laurel.example", {}, /expected a token/],
    ["127.0.0.1", { token: "short" }, /token: expected at least 16 characters, got 5/],
    ["127.0.0.1", { token: "correct horse battery staple" }, /token: expected visible ASCII characters/],
    ["127.0.0.1", { token: "p\u00e4ssw\u00f6rter-sind-lang" }, /token: expected visible ASCII characters/],
    ["127.0.0.1", { allowedHosts: ["gpu.example:8787"] }, /allowed host: expected a name without port/],
    ["127.0.0.1", { allowedHosts: ["https://gpu.example"] }, /allowed host: expected a name/],
    ["127.0.0.1", { allowedOrigins: ["*"] }, /origin: expected one such as/],
    ["127.0.0.1", { allowedOrigins: ["https://a.example/path"] }, /origin: expected one such as/],
  ] as const)("refuses to start on %s with %o", async (host, options, message) => {
    await expect(serve({ host, ...options })).rejects.toThrow(message);
  });

  it("answers its own names, and no name that is made to point here", async () => {
    const { url } = await serve({ allowedHosts: ["GPU.example", "[fd00::7]", "fd00::8"] });
    const { port } = new URL(url);
    const status = async (host: string) => (await ask(url, "/healthz", { headers: { host } })).status;
    for (const host of [
      `127.0.0.1:${port}`,
      `localhost:${port}`,
      "LOCALHOST",
      "[::1]:80",
      "gpu.example",
      "[fd00::7]:80",
      "[fd00::8]",
    ])
      expect(await status(host), host).toBe(200);
    for (const host of ["evil.example", "127.0.0.1.evil.example", "192.168.0.7", "localhost@evil.example", "a b"])
      expect(await status(host), host).toBe(403);
    expect(await raw(url, "GET /healthz HTTP/1.0\r\n\r\n")).toMatch(/^HTTP\/1\.1 403 /);
    expect(await raw(url, "GET /healthz HTTP/1.1\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 /);
  });

  it("answers by any address when it listens on all", async () => {
    const { url } = await serve({ host: "0.0.0.0", token: TOKEN });
    const local = url.replace("0.0.0.0", "127.0.0.1");
    expect((await ask(local, "/healthz", { headers: { host: "192.168.0.7:8787" } })).status).toBe(200);
    expect((await ask(local, "/healthz", { headers: { host: "evil.example" } })).status).toBe(403);
  });

  it("lets no page of another origin ask, but those that are named", async () => {
    const { url } = await serve({ allowedOrigins: ["https://pictures.example"] });
    const body = await request(9);
    for (const origin of ["https://evil.example", "null", "http://pictures.example", "http://localhost:7860"]) {
      const { status, headers } = await post(url, "/v1/score", body, { origin });
      expect([status, headers["access-control-allow-origin"]]).toEqual([403, undefined]);
      expect((await post(url, "/v1/unload", {}, { origin })).status).toBe(403);
    }
    const origin = "https://pictures.example";
    const { status, headers } = await post(url, "/v1/score", body, { origin });
    expect([status, headers["access-control-allow-origin"], headers.vary]).toEqual([200, origin, "Origin"]);
    const before = await ask(url, "/v1/score", { method: "OPTIONS", headers: { origin } });
    expect([before.status, before.headers["access-control-allow-headers"]]).toEqual([204, "authorization, content-type"]); // prettier-ignore
    expect((await post(url, "/v1/score", body, { origin: url })).status).toBe(200);
  });

  it("asks for the token everywhere but for health, and never says it", async () => {
    const { url, log } = await serve({ token: TOKEN });
    const told: string[] = [];
    for (const authorization of ["", "Bearer wrong", `Basic ${TOKEN}`, `Bearer ${TOKEN}x`, TOKEN]) {
      for (const path of ["/v1/info", "/metrics", "/openapi.json", "/nowhere"]) {
        const { status, headers, text } = await ask(url, path, { headers: authorization === "" ? {} : { authorization } }); // prettier-ignore
        expect([status, headers["www-authenticate"]]).toEqual([401, 'Bearer realm="laurel"']);
        told.push(text);
      }
    }
    expect((await ask(url, "/healthz")).json).toEqual({ status: "ok" });
    const authorization = `bearer ${TOKEN}`;
    expect((await post(url, "/v1/score", await request(9), { authorization })).status).toBe(200);
    expect(JSON.stringify([told, log])).not.toContain(TOKEN);
  });
});

describe("how much may be asked", () => {
  it("refuses what is too long while it comes, and what says so before", async () => {
    const { url, opened } = await serve({ limits: { maxBodyBytes: 1000 }, lazy: true });
    const body = "x".repeat(100_000);
    expect((await ask(url, "/v1/score", { body })).status).toBe(413);
    expect((await ask(url, "/v1/score", { body, headers: { "transfer-encoding": "chunked" } })).status).toBe(413);
    const expecting = { expect: "100-continue", "content-length": "100000" };
    const refused = await ask(url, "/v1/score", { method: "POST", headers: expecting });
    expect([refused.status, refused.json.title]).toEqual([413, "Payload Too Large"]);
    expect((await ask(url, "/v1/score", { body: "{}", headers: { "content-encoding": "gzip" } })).status).toBe(415);
    expect(opened()).toBe(0);
  });

  it("refuses many pixels before they are decoded, and many pictures", async () => {
    const { url } = await serve({ limits: { maxPixels: 64, maxImages: 3 } });
    const [small] = await greys(200);
    const bomb = Buffer.from(small!);
    bomb.writeUInt32BE(60_000, 16); // the width, with a checksum that is wrong now: the size is looked at first
    const [fine, large] = [small!, bomb].map((bytes) => bytes.toString("base64"));
    const mixed = await post(url, "/v1/score", { prompt: "a cat", images: [fine, large] });
    expect(mixed.json.results).toMatchObject([{ score: expect.closeTo(1.137, 2) }, { score: null, error: expect.stringMatching(/^images\[1\]: expected/) }]); // prettier-ignore
    const gif = Buffer.from("GIF89a\x10'\x10'\0\0\0,\0\0\0\0\x10'\x10'\0\x02\x02\x4c\x01\0;", "latin1");
    const all = await post(url, "/v1/score", { prompt: "a cat", images: [gif.toString("base64")] });
    expect([all.status, all.json.detail]).toEqual([422, "images[0]: expected 1 to 0.000064 million pixels, got 10000 x 10000"]); // prettier-ignore
    expect((await post(url, "/v1/score", await request(1, 2, 3, 4))).status).toBe(413);
    expect((await post(url, "/v1/score", { prompt: "a cat", images: new Array(100_000).fill(1) })).status).toBe(413);
    const empty = "[],".repeat(2_000_001);
    const values = `{"prompt":"a cat","images":[${empty}[]]}`;
    expect((await ask(url, "/v1/score", { body: values, headers: { "content-type": "application/json" } })).status).toBe(413); // prettier-ignore
    const parts = '--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n'.repeat(100);
    const type = "multipart/form-data; boundary=b";
    expect((await ask(url, "/v1/score", { body: `${parts}--b--`, headers: { "content-type": type } })).status).toBe(
      413,
    );
  });

  it.each<[string, unknown, RegExp]>([
    ["no picture", { prompt: "a" }, /expected images or items, got neither/],
    ["no prompt", { images: ["AAAA"] }, /prompt: expected/],
    ["an empty list", { prompt: "a", images: [] }, /images: /],
    ["an address", { prompt: "a", images: ["http://169.254.169.254/latest"] }, /got an address; nothing is fetched/],
    ["a file's address", { prompt: "a", images: ["file:///etc/passwd"] }, /got an address/],
    ["a path", { prompt: "a", images: ["/etc/passwd!"] }, /images\[0\]: expected a picture in base64/],
    ["much space", { prompt: "a", images: [`${" ".repeat(200_000)}!`] }, /expected a picture in base64/],
    ["both", { prompt: "a", images: ["AAAA"], items: [] }, /items/],
    ["an unknown field", { prompt: "a", images: ["AAAA"], colour: "red" }, /colour/],
    ["a long prompt", { prompt: "a".repeat(20_001), images: ["AAAA"] }, /prompt: /],
    ["a wrong weight", { prompt: "(a:9999)", promptSyntax: "a1111", images: ["AAAA"] }, /weight/],
    ["a number", { items: [{ prompt: "a", image: 7 }] }, /items\.0\.image: /],
    ["a list", [], /body: /],
    ["nothing", null, /body: /],
  ])("says what is wrong with %s", async (_, body, message) => {
    const { url } = await serve();
    const { status, headers, json } = await post(url, "/v1/score", body);
    expect([status, headers["content-type"], json.title]).toEqual([400, "application/problem+json", "Bad Request"]);
    expect(json.detail).toMatch(message);
  });

  it("answers other paths, methods and contents", async () => {
    const { url } = await serve();
    expect((await ask(url, "/nowhere")).status).toBe(404);
    expect((await ask(url, "/constructor")).status).toBe(404);
    const wrong = await ask(url, "/v1/score");
    expect([wrong.status, wrong.headers.allow]).toEqual([405, "POST"]);
    expect((await ask(url, "/healthz", { method: "HEAD" })).status).toBe(200);
    // what a page can send without asking first reaches no route that reads JSON
    for (const type of ["text/plain", "application/x-www-form-urlencoded", ""])
      expect((await ask(url, "/v1/score", { body: '{"prompt":"a"}', headers: { "content-type": type } })).status).toBe(415); // prettier-ignore
    expect(await raw(url, "hello\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 [^]*application\/problem\+json/);
    expect(await raw(url, `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 431 /); // prettier-ignore
  });

  it("ends requests that come too slowly", async () => {
    const { url } = await serve({ limits: { receiveSeconds: 0.2 } });
    const head = "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\n";
    expect(await raw(url, `${head}few`)).toMatch(/^HTTP\/1\.1 408 /);
    expect(await raw(url, "GET /heal")).toMatch(/^HTTP\/1\.1 408 /);
  });
});

describe("many callers", () => {
  it("sends away more than may wait, and forgets those who have left", async () => {
    const { reward, started: scoring, release } = gated();
    const { url, log } = await serve({ limits: { maxWaiting: 1 } }, reward);
    const first = post(url, "/v1/score", await request(1, 2, 3, 4, 5, 6, 7, 8, 9));
    await scoring;
    const leaves = new AbortController();
    const body = JSON.stringify(await request(10));
    const headers = { "content-type": "application/json" };
    const second = ask(url, "/v1/score", { body, headers, signal: leaves.signal }).catch(() => "left");
    await expect.poll(async () => (await ask(url, "/v1/info")).json.active).toBe(2);
    const third = await post(url, "/v1/score", await request(11));
    expect([third.status, Number(third.headers["retry-after"]) > 0]).toEqual([503, true]);
    leaves.abort();
    expect(await second).toBe("left");
    // two turns of the server: by then it knows that the connection is closed
    await ask(url, "/healthz");
    await ask(url, "/healthz");
    release();
    expect((await first).status).toBe(200);
    await expect.poll(() => log.map(({ status }) => status)).toContain(499);
    expect(reward.calls).toEqual([4, 4, 1]);
  });

  it("holds no more bytes of those who wait than of four long requests", async () => {
    const { reward, started: scoring, release } = gated();
    const body = JSON.stringify(await request(1));
    const { url } = await serve({ limits: { maxBodyBytes: body.length } }, reward);
    const headers = { "content-type": "application/json" };
    const first = [ask(url, "/v1/score", { body, headers })];
    await scoring;
    for (let i = 2; i <= 4; i++) first.push(ask(url, "/v1/score", { body, headers }));
    await expect.poll(async () => (await ask(url, "/v1/info")).json.active).toBe(4);
    const fifth = await ask(url, "/v1/score", { body, headers });
    expect([fifth.status, fifth.json.detail]).toEqual([503, "expected fewer bytes of waiting requests"]);
    release();
    expect((await Promise.all(first)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await ask(url, "/v1/score", { body, headers })).status).toBe(200);
  });

  it("stops between the batches of a caller who has left", async () => {
    const { reward, started: scoring, release } = gated();
    const { url, log } = await serve({}, reward);
    const leaves = new AbortController();
    const body = JSON.stringify(await request(1, 2, 3, 4, 5, 6, 7, 8, 9));
    const headers = { "content-type": "application/json" };
    const left = ask(url, "/v1/score", { body, headers, signal: leaves.signal }).catch(() => "left");
    await scoring;
    leaves.abort();
    await left;
    await ask(url, "/healthz");
    await ask(url, "/healthz");
    release();
    await expect.poll(() => log.at(-1)?.status).toBe(499);
    expect(reward.calls).toEqual([4]);
  });

  it("lets what is scored end when it is closed, and takes nothing more", async () => {
    const { reward, started: scoring, release } = gated();
    const { url, server } = await serve({}, reward);
    const first = post(url, "/v1/score", await request(1));
    await scoring;
    const closing = server.close();
    await expect(ask(url, "/healthz")).rejects.toThrow(/ECONNREFUSED/);
    release();
    expect((await first).status).toBe(200);
    await closing;
  });

  it("unloads when nobody asks, and loads again after a failure", async () => {
    const { url, opened } = await serve({ unloadAfter: 0.02 });
    await expect.poll(async () => (await ask(url, "/v1/info")).json.loaded).toBe(false);
    expect((await post(url, "/v1/score", await request(9))).status).toBe(200);
    expect(opened()).toBe(2);

    const failing = createBrightnessReward();
    let calls = 0;
    const score: Reward["score"] = (...args) => {
      if (calls++ === 0) throw new BackendError("/home/ann/models/secret.pt: expected the device process to answer");
      return failing.score(...args);
    };
    const other = await serve({}, { ...failing, score });
    const refused = await post(other.url, "/v1/score", await request(9));
    expect(refused.status).toBe(503);
    expect(refused.text).not.toContain("secret.pt");
    expect(String(other.faults[0])).toContain("secret.pt");
    expect((await post(other.url, "/v1/score", await request(9))).status).toBe(200);
  });
});

describe("hostile bodies", () => {
  it("are answered, whatever they are", async () => {
    const { url, faults } = await serve({ limits: { maxBodyBytes: 100_000, maxPixels: 10_000 } });
    const good = JSON.stringify({ ...(await request(1, 2)), keep: 1, min: 0.5 });
    const [png] = await greys(9);
    const form = `--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\n--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n${png!.toString("latin1")}\r\n--b--\r\n`;
    const seeds = [
      [good, "application/json"],
      [form, "multipart/form-data; boundary=b"],
      [png!.toString("latin1"), "image/png"],
    ] as const;
    const edit = fc.tuple(fc.nat(10_000), fc.nat(40), fc.string({ unit: "binary", maxLength: 20 }));
    const arbitrary = fc.tuple(fc.constantFrom(...seeds), fc.constantFrom(...seeds.map(([, type]) => type)), fc.boolean(), fc.array(edit, { maxLength: 4 })); // prettier-ignore
    await fc.assert(
      fc.asyncProperty(arbitrary, async ([[text, type], other, mixes, edits]) => {
        let changed = text as string;
        for (const [at, length, inserted] of edits) {
          const start = at % (changed.length + 1);
          changed = changed.slice(0, start) + inserted + changed.slice(start + length);
        }
        const body = Buffer.from(changed, "latin1");
        const headers = { "content-type": mixes ? other : type };
        const { status, json } = await ask(url, "/v1/rank?prompt=a", { body, headers });
        expect([200, 400, 413, 415, 422]).toContain(status);
        expect(json).toBeDefined();
      }),
      { numRuns: 80 },
    );
    expect(faults).toEqual([]);
    expect((await ask(url, "/healthz")).status).toBe(200);
  });
});
