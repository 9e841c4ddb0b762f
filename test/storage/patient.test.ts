/** @file Waiting for a storage that fails for a while, against a server that does. */

import { getEventListeners } from "node:events";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { CancelledError, UsageError } from "#laurel/errors";
import type { Storage } from "#laurel/storage/contract";
import { openStorage } from "#laurel/storage/open";
import { patient } from "#laurel/storage/patient";
import { collect } from "./conformance.js";
import { S3Stub } from "./s3-stub.js";

process.env["AWS_MAX_ATTEMPTS"] = "1";
const busy = { kind: "error", status: 503, code: "ServiceUnavailable" } as const;
const bytes = Buffer.from("content");

let stub: S3Stub;
let storage: Storage;
const notices: string[] = [];
const waiting = (patienceMs = 60_000): Storage =>
  patient(storage, { patienceMs, maximumWaitMs: 20, onNotice: (message) => notices.push(message) });
beforeAll(async () => {
  stub = await S3Stub.start();
  storage = await openStorage("s3://bucket/patient", { environment: stub.environment });
});
afterEach(() => {
  stub.heal();
  stub.seen.length = 0;
  notices.length = 0;
});
afterAll(async () => {
  await storage.close();
  await stub.close();
});

test("operations wait until the storage is back, with one notice before and one after", async () => {
  const calm = waiting();
  expect(calm.address).toBe("s3://bucket/patient");
  stub.fail(busy, { times: 12 });
  await Promise.all(["a", "b", "c"].map((key) => calm.put(key, bytes)));
  expect(bytes.equals((await calm.get("a"))!)).toBe(true);
  expect(await calm.has("b")).toBe(true);
  await calm.delete("b");
  expect(await calm.has("b")).toBe(false);
  expect(notices).toEqual([
    expect.stringMatching(/expected to write it, got ServiceUnavailable \(503\); trying again for 60 s$/),
    expect.stringMatching(/^s3:\/\/bucket\/patient: available again after \d+\.\d s$/),
  ]);
  expect(stub.seen.filter(({ method }) => method === "PUT")).toHaveLength(15);
});

test("a server that goes away in the middle of the work and comes back is waited for", async () => {
  const first = await S3Stub.start();
  const { port, environment } = first;
  const told: string[] = [];
  const calm = patient(await openStorage("s3://bucket/away", { environment }), {
    maximumWaitMs: 20,
    onNotice: (message) => told.push(message),
  });
  await calm.put("a", bytes);
  await first.close();
  const puts = Promise.all(Array.from({ length: 20 }, (_, i) => calm.put(`k-${i}`, bytes)));
  while (told.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const second = await S3Stub.start(port);
  await puts;
  expect(second.objects.size).toBe(20);
  expect(told[0]).toMatch(/got connection (refused|reset|closed)/);
  await calm.close();
  await second.close();
});

test("every operation insists", async () => {
  const calm = waiting();
  for (const work of [
    () => calm.put("a", bytes),
    () => calm.get("a"),
    () => calm.has("a"),
    () => calm.delete("a"),
    () => collect(calm.list("")),
  ]) {
    stub.fail(busy, { times: 2 });
    await work();
  }
  expect(notices).toHaveLength(10);
});

test("a listing that breaks off goes on where it was: every key once", async () => {
  const keys = Array.from({ length: 10 }, (_, i) => `list/${i}`);
  for (const key of keys) await storage.put(key, bytes);
  const seen: string[] = [];
  for await (const { key } of waiting().list("list/")) {
    seen.push(key);
    if (seen.length === 2 || seen.length === 6) stub.fail(busy, { times: 3 });
  }
  expect(seen).toEqual(keys);
  expect(notices).toHaveLength(4);
});

test("when the patience is over the last error is told, with how long it was tried", async () => {
  stub.fail({ ...busy, message: "no" });
  await expect(waiting(60).put("a", bytes)).rejects.toMatchObject({
    name: "BackendError",
    fault: "unavailable",
    message: /got ServiceUnavailable: no \(503\); tried for 0\.\d s$/,
  });
  expect(stub.seen.length).toBeGreaterThan(1);
});

test("what waiting does not mend is told at once, and so is what a probe finds", async () => {
  stub.fail({ kind: "error", status: 403, code: "AccessDenied" });
  await expect(waiting().get("a")).rejects.toMatchObject({ fault: "denied" });
  await expect(waiting().get("../a")).rejects.toBeInstanceOf(UsageError);
  stub.heal();
  stub.fail(busy);
  await expect(waiting().probe()).rejects.toMatchObject({ fault: "unavailable" });
  expect(stub.seen).toHaveLength(2);
  expect(notices).toEqual([]);
});

test("cancelling ends the wait at once", async () => {
  stub.fail(busy);
  const controller = new AbortController();
  const slow = patient(storage, { onNotice: () => setImmediate(() => controller.abort()) });
  const { signal } = controller;
  await expect(slow.put("a", bytes, { signal })).rejects.toBeInstanceOf(CancelledError);
  await expect(collect(slow.list("", { signal }))).rejects.toBeInstanceOf(CancelledError);
});

test("many operations of one signal have one listener, whether they ask or wait", async () => {
  const abort = new AbortController();
  const listeners = (): number => getEventListeners(abort.signal, "abort").length;
  stub.fail(busy, { times: 1000 });
  const reads = Array.from({ length: 30 }, async (_, i) => waiting().get(`a/${i}`, { signal: abort.signal }));
  for (let look = 0; look < 20; look++) {
    expect(listeners()).toBeLessThan(2);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  abort.abort();
  expect((await Promise.allSettled(reads)).map(({ status }) => status)).toEqual(reads.map(() => "rejected"));
});
