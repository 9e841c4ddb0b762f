/**
 * @file How fast objects of a picture's size go into storages and out: a folder of the machine's temporary folder (synced with each put), fauxqs as a process of
 * its own, and the storage of `--store` where one is given.
 */

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openStorage } from "../dist/storage/open.js";
import { report } from "./measure.js";

export const options = {
  objects: { type: "string", default: "200" },
  store: { type: "string" },
};

/** A PNG of 512 x 512 pixels has about as many. */
const BYTES = 400_000;
const AT_ONCE = [1, 8];

export async function run({ objects, store }) {
  const count = Number(objects);
  if (!Number.isInteger(count) || count < 8) throw new Error(`--objects: expected at least 8, got ${objects}`);
  await inFolder((storage) => measure("folder", storage, count));
  await onFauxqs((storage) => measure("fauxqs", storage, count));
  if (store !== undefined) {
    const storage = await openStorage(store);
    await measure(storage.address, storage, count);
    await storage.close();
  }
}

async function measure(name, storage, count) {
  const prefix = `bench-${randomBytes(4).toString("hex")}`;
  const keys = Array.from({ length: count }, (_, i) => `${prefix}/${(i % 256).toString(16).padStart(2, "0")}/${i}.png`);
  const content = randomBytes(BYTES);
  await storage.probe();
  try {
    for (const [what, work] of [
      ["put", (key) => storage.put(key, content)],
      ["get", (key) => storage.get(key)],
      ["has", (key) => storage.has(key)],
    ]) {
      for (const atOnce of AT_ONCE) {
        const seconds = await timed(keys, atOnce, work);
        const details = { storage: name, objects: count, atOnce, ...(what === "has" ? {} : { bytes: BYTES }) };
        report(`storage ${name}: ${what}, ${atOnce} at once`, count / seconds, "objects/s", null, details);
      }
    }
    const started = performance.now();
    let listed = 0;
    for await (const { bytes } of storage.list(`${prefix}/`)) listed += bytes === BYTES ? 1 : 0;
    if (listed !== count) throw new Error(`${name}: expected ${count} objects in the listing, got ${listed}`);
    report(`storage ${name}: list`, count / ((performance.now() - started) / 1000), "objects/s", null, {
      objects: count,
    });
  } finally {
    await timed(keys, 8, (key) => storage.delete(key));
  }
}

/** Seconds for `work` on every key, `atOnce` of them at a time. */
async function timed(keys, atOnce, work) {
  const left = [...keys];
  const started = performance.now();
  const worker = async () => {
    for (let key = left.pop(); key !== undefined; key = left.pop()) await work(key);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return (performance.now() - started) / 1000;
}

async function inFolder(work) {
  const folder = await mkdtemp(join(tmpdir(), "laurel-bench-"));
  try {
    await work(await openStorage(folder));
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function onFauxqs(work) {
  const fauxqs = fileURLToPath(import.meta.resolve("fauxqs"));
  const script = `
    const { startFauxqs } = await import(process.argv[1]);
    const server = await startFauxqs({ port: 0, logger: false });
    server.createBucket("bucket");
    console.log(server.port);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script, fauxqs], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const [line] = await once(child.stdout.setEncoding("utf8"), "data");
    const environment = { AWS_ACCESS_KEY_ID: "any", AWS_SECRET_ACCESS_KEY: "any" };
    const storage = await openStorage(`s3://bucket/bench?endpoint=http://127.0.0.1:${line.trim()}`, { environment });
    await work(storage);
    await storage.close();
  } finally {
    child.kill();
  }
}
