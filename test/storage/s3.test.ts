/**
 * @file Objects in S3: the contract against fauxqs, against a strict server that checks signatures, and against the server that `LAUREL_TEST_S3` names
 * (`LAUREL_TEST_S3='s3://bucket/prefix?endpoint=...' npx vitest run test/storage`); faults against the strict one.
 */

import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inspect, promisify } from "node:util";
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { CancelledError, UsageError } from "#laurel/errors";
import type { Storage } from "#laurel/storage/contract";
import { openStorage } from "#laurel/storage/open";
import { openS3Storage } from "#laurel/storage/s3";
import { parseS3Address } from "#laurel/storage/s3-address";
import { collect, storageConformance } from "./conformance.js";
import { S3Stub } from "./s3-stub.js";

const REAL = process.env["LAUREL_TEST_S3"] ?? "";
// the client's own attempts would hide how each fault is told; files and services of this machine are none of the tests' business
const ISOLATION = {
  AWS_MAX_ATTEMPTS: "1",
  AWS_EC2_METADATA_DISABLED: "true",
  AWS_CONFIG_FILE: "/nonexistent",
  AWS_SHARED_CREDENTIALS_FILE: "/nonexistent",
};
if (REAL === "") Object.assign(process.env, ISOLATION);

describe("fauxqs", () => {
  let server: FauxqsServer;
  beforeAll(async () => {
    server = await startFauxqs({ port: 0, logger: false });
    server.createBucket("bucket");
  });
  afterAll(() => server.stop());
  storageConformance({
    open(name) {
      const endpoint = `http://127.0.0.1:${server.port}`;
      const environment = { AWS_ACCESS_KEY_ID: "any", AWS_SECRET_ACCESS_KEY: "any" };
      return openStorage(`s3://bucket/runs/${name}?endpoint=${endpoint}&region=eu-west-1`, { environment });
    },
  });
});

describe.skipIf(REAL === "")(`the server of LAUREL_TEST_S3${REAL === "" ? ", which is not set" : ""}`, () => {
  const run = `laurel-test-${randomBytes(4).toString("hex")}`;
  const [place = "", settings = ""] = REAL.split("?");
  const at = (name: string): string =>
    `${place.replace(/\/$/, "")}/${run}/${name}${settings === "" ? "" : `?${settings}`}`;
  storageConformance({ open: (name) => openStorage(at(name)) });

  test("refuses a wrong secret", async () => {
    const id = process.env["AWS_ACCESS_KEY_ID"] ?? "AKIAWRONG";
    const environment = { ...process.env, AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: "wrong-secret-of-a-test" };
    const storage = await openStorage(at("wrong"), { environment });
    const error = await storage.probe().catch((caught: unknown) => caught);
    expect(error).toMatchObject({ fault: "denied", message: /SignatureDoesNotMatch|InvalidAccessKeyId|\(403\)/ });
    expect((error as Error).message).not.toContain("wrong-secret");
    await storage.close();
  });

  test("tells an object that is not there from a bucket that is not there", async () => {
    const missing = await openStorage(at("x").replace(/^s3:\/\/[^/]+/, `s3://${run}`));
    const { fault } = (await missing.has("a").catch((caught: { fault: string }) => caught)) as { fault: string };
    // whose name belongs to another is denied
    expect(["invalid", "denied"]).toContain(fault);
    await missing.close();
  });
});

describe("a strict server", () => {
  let stub: S3Stub;
  let storage: Storage;
  const open = (address = "s3://bucket/runs/one", change: Record<string, string> = {}): Promise<Storage> =>
    openStorage(address, { environment: { ...stub.environment, ...change } });
  /** One that does not wait long. */
  const hasty = (): Promise<Storage> =>
    openS3Storage(parseS3Address(new URL("s3://bucket/runs/one")), stub.environment, { timeoutMs: 250 });
  const content = randomBytes(100_000);
  beforeAll(async () => {
    stub = await S3Stub.start();
    storage = await open();
  });
  afterEach(() => stub.heal());
  afterAll(async () => {
    await storage.close();
    await stub.close();
  });
  const text = "the content";
  const put = (key = "a.png"): Promise<void> => storage.put(key, Buffer.from(text));
  /** The error of each operation. */
  const errors = async (storage: Storage): Promise<{ fault: string; message: string }[]> => {
    const operations = [
      storage.get("a.png"),
      storage.has("a.png"),
      storage.put("a.png", Buffer.from(text)),
      storage.delete("a.png"),
      collect(storage.list("")),
    ];
    const settled = await Promise.allSettled(operations);
    return settled.map((one) => {
      if (one.status === "fulfilled") throw new Error(`expected a failure, got ${String(one.value)}`);
      return one.reason as { fault: string; message: string };
    });
  };
  const all = async (fault: string, message: RegExp, of = storage): Promise<void> => {
    for (const error of await errors(of))
      expect(error).toMatchObject({ fault, message: expect.stringMatching(message) as string });
  };

  storageConformance({ open: (name) => open(`s3://bucket/${name}`) });

  test("gets digest, type and signature with an object, and no more than that", async () => {
    stub.seen.length = 0;
    await put();
    const [{ method, path, headers }] = stub.seen as [(typeof stub.seen)[0]];
    expect([method, path]).toEqual(["PUT", "/bucket/runs/one/a.png?x-id=PutObject"]);
    expect(headers).toMatchObject({
      "content-type": "image/png",
      // printf "the content" | sha256sum
      "x-amz-meta-laurel-sha256": "6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b",
    });
  });

  test("is believed when it says that the keys are wrong, and no message holds them", async () => {
    for (const [change, message] of [
      [
        { AWS_SECRET_ACCESS_KEY: "wrong-secret-0123" },
        /expected to look for it, got SignatureDoesNotMatch: .* \(403\)$/,
      ],
      [{ AWS_ACCESS_KEY_ID: "NOBODY" }, /got InvalidAccessKeyId: .* \(403\)$/],
    ] as const) {
      const wrong = await open("s3://bucket/runs/one", change);
      const error = await wrong.has("a.png").catch((caught: unknown) => caught);
      expect(error).toMatchObject({ fault: "denied", message: expect.stringMatching(message) as string });
      expect((error as Error).message).toMatch(/^s3:\/\/bucket\/runs\/one\/a\.png: /);
      // what the client's errors hold of the request goes no further
      expect(inspect(error, { depth: 20, showHidden: true })).not.toMatch(/wrong-secret|Signature=|authorization/i);
    }
    const none = await openStorage("s3://bucket", { environment: { AWS_ENDPOINT_URL: stub.url } });
    await expect(none.probe()).rejects.toMatchObject({
      fault: "denied",
      message: /no credentials \(AWS_ACCESS_KEY_ID/,
    });
  });

  test.each([
    ["SlowDown", 503],
    ["ServiceUnavailable", 503],
    ["InternalError", 500],
    ["RequestTimeout", 400],
    ["TooManyRequests", 429],
    ["ConditionalRequestConflict", 409],
  ])("%s (%i) is unavailable", async (code, status) => {
    stub.fail({ kind: "error", status, code, message: "Please try again" });
    await all("unavailable", new RegExp(`got ${code}: Please try again \\(${status}\\)$`));
  });

  test.each([
    ["ExpiredToken", 400],
    ["AllAccessDisabled", 403],
  ])("%s (%i) is denied", async (code, status) => {
    stub.fail({ kind: "error", status, code });
    await all("denied", new RegExp(`got ${code} \\(${status}\\)$`));
  });

  test("AccessDenied (403) is denied, and says what reading takes", async () => {
    stub.fail({ kind: "error", status: 403, code: "AccessDenied" });
    await all("denied", /got AccessDenied \(403\)(; without the right s3:ListBucket .*)?$/);
    await expect(storage.get("a.png")).rejects.toThrow(/s3:ListBucket/);
    await expect(put()).rejects.not.toThrow(/s3:ListBucket/);
  });

  test.each([
    ["PreconditionFailed", 412],
    ["NotImplemented", 501],
    ["InvalidArgument", 400],
  ])("%s (%i) is invalid", async (code, status) => {
    stub.fail({ kind: "error", status, code });
    await all("invalid", new RegExp(`got ${code} \\(${status}\\)$`));
  });

  test("a read-only bucket is found by the probe", async () => {
    stub.fail({ kind: "error", status: 403, code: "AccessDenied", message: "Access Denied" }, { method: "PUT" });
    await expect(storage.probe()).rejects.toMatchObject({
      fault: "denied",
      message:
        /^s3:\/\/bucket\/runs\/one\/\.probe-[0-9a-f]{16}: expected to write it, got AccessDenied: Access Denied \(403\)$/,
    });
  });

  test("a bucket that is not there, one in another region, a wrong region are named", async () => {
    const missing = await open("s3://other/runs");
    await expect(missing.has("a")).rejects.toMatchObject({
      fault: "invalid",
      message: /no bucket other \(http.*is the name right/,
    });
    await expect(missing.get("a")).rejects.toMatchObject({ fault: "invalid" });
    const elsewhere = await open("s3://bucket/runs/one?region=eu-west-1");
    await expect(elsewhere.get("a")).rejects.toMatchObject({
      fault: "invalid",
      message: /another region, us-east-1; add \?region=us-east-1/,
    });
    stub.fail({
      kind: "error",
      status: 301,
      code: "PermanentRedirect",
      headers: { "x-amz-bucket-region": "ap-south-1" },
    });
    await all("invalid", /got a bucket in another region, ap-south-1; add \?region=ap-south-1 to the address$/);
  });

  test("a clock that is off is put right by the client, and told with both times where that is not enough", async () => {
    stub.clockOffsetMs = 3 * 3600_000;
    process.env["AWS_MAX_ATTEMPTS"] = "2";
    const corrected = await open();
    await corrected.put("clock", content);
    process.env["AWS_MAX_ATTEMPTS"] = "1";
    const refused = await open();
    stub.heal();
    stub.fail({
      kind: "error",
      status: 403,
      code: "RequestTimeTooSkewed",
      headers: { date: "Mon, 02 Mar 2026 10:00:00 GMT" },
    });
    const message =
      /got a clock that is off \(RequestTimeTooSkewed\): 2026-03-02T10:00:00.000Z at the server, 20\d\d-.*Z here$/;
    await all("denied", message, refused);
  });

  test("pages of a proxy and answers of other servers are never taken for S3's", async () => {
    await put();
    const page = "<html><head><title>Sign in</title></head></html>";
    for (const status of [200, 302, 404]) {
      stub.heal();
      stub.fail({ kind: "answer", status, type: "text/html; charset=utf-8", body: page });
      await all("invalid", new RegExp(`got an HTML page \\(${status}\\)$`));
    }
    stub.heal();
    stub.fail({ kind: "answer", status: 502, type: "text/html", body: page });
    await all("unavailable", /got an HTML page \(502\)$/);
    stub.heal();
    stub.fail({ kind: "answer", status: 200, type: "application/json", body: '{"hello": 1}' });
    const answers = (await Promise.allSettled([
      storage.get("a.png"),
      storage.has("a.png"),
      put(),
      collect(storage.list("")),
    ])) as PromiseRejectedResult[];
    for (const { reason } of answers)
      expect(reason).toMatchObject({ fault: "invalid", message: expect.stringMatching(/expected .* got/) as string });
  });

  test("a body that is cut, short or garbled is unavailable and never returned; the next one is read", async () => {
    await storage.put("big", content);
    for (const kind of ["cut", "short", "garbled", "reset"] as const) {
      stub.fail({ kind }, { method: "GET", times: 1 });
      await expect(storage.get("big")).rejects.toMatchObject({ fault: "unavailable" });
      expect(content.equals((await storage.get("big"))!)).toBe(true);
    }
  });

  test("a connection that breaks in the middle of a put is unavailable, and nothing is there", async () => {
    stub.fail({ kind: "reset" }, { method: "PUT", times: 1 });
    await expect(storage.put("broken", Buffer.alloc(4 << 20))).rejects.toMatchObject({
      fault: "unavailable",
      message: /connection/,
    });
    expect(await storage.has("broken")).toBe(false);
  });

  test("a server that does not answer, or stops in a body, is unavailable in time; cancelling ends the wait", async () => {
    await storage.put("slow", content);
    const impatient = await hasty();
    const late = { fault: "unavailable", message: /expected to (read|write) it within 0.25 s, got no complete answer/ };
    stub.fail({ kind: "stall-body" }, { method: "GET" });
    stub.fail({ kind: "stall" }, { method: "PUT" });
    await Promise.all([
      expect(impatient.get("slow")).rejects.toMatchObject(late),
      expect(impatient.put("slow", content)).rejects.toMatchObject(late),
    ]);
    const controller = new AbortController();
    const waiting = storage.get("slow", { signal: controller.signal });
    setTimeout(() => controller.abort(), 50);
    await expect(waiting).rejects.toBeInstanceOf(CancelledError);
  });

  test("a listing in pages is whole; one that runs in circles or out of order is refused", async () => {
    const own = await open("s3://bucket/pages");
    const keys = Array.from({ length: 10 }, (_, i) => `k-${i}`);
    for (const key of keys) await own.put(key, Buffer.from(key));
    stub.objects.set("pages/.hidden", stub.objects.get("pages/k-0")!);
    stub.objects.set("pages/a folder/", stub.objects.get("pages/k-0")!);
    expect((await collect(own.list(""))).map(({ key }) => key)).toEqual(keys);
    const list = (inside: string): string => `<?xml version="1.0"?><ListBucketResult>${inside}</ListBucketResult>`;
    const truncated = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";
    const contents = (...names: string[]): string =>
      names.map((name) => `<Contents><Key>${name}</Key><Size>1</Size></Contents>`).join("");
    for (const [body, message] of [
      [list(truncated), /where the listing goes on, got nothing new/],
      [list("<IsTruncated>true</IsTruncated>"), /where the listing goes on/],
      [list(`<IsTruncated>false</IsTruncated>${contents("pages/b", "pages/a")}`), /keys in their order, got a after b/],
      [list(`<IsTruncated>false</IsTruncated>${contents("elsewhere/b")}`), /keys below it, got "elsewhere\/b"/],
      ["<ListBucketResult", /not S3's|something else/],
    ] as const) {
      stub.heal();
      stub.fail({ kind: "answer", status: 200, type: "application/xml", body });
      await expect(collect(own.list(""))).rejects.toMatchObject({ fault: "invalid", message });
    }
  });

  test("objects that others put without a digest are read", async () => {
    stub.objects.set("runs/one/foreign", { bytes: content, metadata: {}, type: "image/png" });
    expect(content.equals((await storage.get("foreign"))!)).toBe(true);
  });
});

test("no server at all is unavailable: nothing listens, no such name", async () => {
  const environment = { AWS_ACCESS_KEY_ID: "any", AWS_SECRET_ACCESS_KEY: "any" };
  const refused = await openStorage("s3://bucket?endpoint=http://127.0.0.1:9", { environment });
  await expect(refused.get("a")).rejects.toMatchObject({
    fault: "unavailable",
    message: "s3://bucket/a: expected to read it, got connection refused; is the server running? (http://127.0.0.1:9)",
  });
  const unnamed = await openStorage("s3://bucket?endpoint=http://nowhere.invalid", { environment });
  await expect(unnamed.put("a", new Uint8Array(1))).rejects.toMatchObject({ fault: "unavailable", message: /host/ });
});

test("without the package that speaks S3, the command that installs it is told", async () => {
  const folder = await mkdtemp(join(tmpdir(), "laurel-no-sdk-"));
  const dist = fileURLToPath(new URL("../../dist/", import.meta.url));
  for (const part of ["storage", "util", "errors.js"])
    await cp(join(dist, part), join(folder, part), { recursive: true });
  await writeFile(join(folder, "package.json"), '{ "type": "module" }');
  const script = `import("./storage/open.js").then(({ openStorage }) => openStorage("s3://bucket")).catch(({ name, message }) => console.log(name + ": " + message))`;
  const { stdout } = await promisify(execFile)(process.execPath, ["-e", script], { cwd: folder });
  await rm(folder, { recursive: true });
  expect(stdout).toBe(
    "UsageError: s3://bucket: expected the package @aws-sdk/client-s3, got none installed; npm install @aws-sdk/client-s3\n",
  );
});

test("addresses that are none are refused with what was expected, and nothing secret is repeated", async () => {
  for (const [address, message] of [
    ["", /expected a folder, file:\/\/\/folder or s3:\/\/bucket\/prefix, got an empty text/],
    ["http://host/path", /got http:\/\/$/],
    ["gs://bucket", /storage\.googleapis\.com/],
    ["s3:bucket", /got s3: and something else/],
    ["s3://", /expected/],
    ["s3://b", /expected a bucket, got "b"/],
    ["s3://key:hunter2@bucket/x", /with credentials in it/],
    ["s3://bucket:9000/x", /got the port 9000/],
    ["s3://bucket/a//b", /expected a prefix/],
    ["s3://bucket/../x/%2e%2e/.hidden", /expected a prefix/],
    ["s3://bucket?endpoint=ftp://host", /expected an endpoint such as https:\/\/host:9000, got ftp:/],
    ["s3://bucket?endpoint=https://me:hunter2@host", /with credentials/],
    ["s3://bucket?endpiont=x", /"endpiont"; endpoint\?/],
    ["s3://bucket?path-style=yes", /path-style=true or path-style=false, got "yes"/],
    ["file://host/folder", /expected file:\/\/\/folder/],
    ["file:///folder?x=1", /settings, which a folder has none of/],
  ] as const) {
    const error = await openStorage(address).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(UsageError);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).not.toContain("hunter2");
  }
  await expect(openStorage("s3://bucket", { environment: { AWS_ENDPOINT_URL: "nonsense" } })).rejects.toThrow(
    /AWS_ENDPOINT_URL: expected an endpoint/,
  );
});
