import { spawn } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { LOCK_FILE, lockRun } from "#laurel/pipeline/lock";
import { temporaryFolder } from "./runs.js";

const writeLock = (folder: string, holder: unknown): Promise<void> =>
  writeFile(join(folder, LOCK_FILE), typeof holder === "string" ? holder : JSON.stringify(holder));

test("a second taker is refused by the holder's pid until it is released", async () => {
  const folder = await temporaryFolder();
  const lock = await lockRun(folder);
  await expect(lockRun(folder)).rejects.toThrow(
    `${folder}: expected a run that no process works on, got one held by process ${process.pid} on ${hostname()}`,
  );
  await lock.release();
  expect(await readdir(folder)).toEqual([]);
  await (await lockRun(folder)).release();
});

test("a lock of a process that ended is taken over, also when its pid was given to another", async () => {
  const child = spawn(process.execPath, ["-e", ""]);
  await new Promise((resolve) => child.on("exit", resolve));
  for (const holder of [
    { pid: child.pid, host: hostname(), started: "1", token: "gone" },
    { pid: process.pid, host: hostname(), started: "1", token: "reused" },
    "",
    "{",
  ]) {
    const folder = await temporaryFolder();
    await writeLock(folder, holder);
    const lock = await lockRun(folder);
    expect(JSON.parse(await readFile(join(folder, LOCK_FILE), "utf8"))).toMatchObject({ pid: process.pid });
    await lock.release();
    expect(await readdir(folder)).toEqual([]);
  }
});

test("a lock of another machine is believed", async () => {
  const folder = await temporaryFolder();
  await writeLock(folder, { pid: 1, host: "elsewhere", started: null, token: "far" });
  await expect(lockRun(folder)).rejects.toThrow(/held by process 1 on elsewhere/);
  expect(await readdir(folder)).toEqual([LOCK_FILE]);
});

test("of many that find a stale lock at once, one takes it", async () => {
  // Many rounds: two holders needed one of them to look at the wrong moment.
  for (let round = 0; round < 100; round++) {
    const folder = await temporaryFolder();
    await writeLock(folder, { pid: 2 ** 22 + 1, host: hostname(), started: "1", token: "gone" });
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => lockRun(folder)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(await readdir(folder)).toEqual([LOCK_FILE]);
  }
});

test("a process that died while it took a stale lock over is succeeded", async () => {
  const folder = await temporaryFolder();
  const dead = { pid: 2 ** 22 + 1, host: hostname(), started: "1" };
  await writeLock(folder, { ...dead, token: "gone" });
  await writeFile(join(folder, `${LOCK_FILE}.gone`), JSON.stringify({ ...dead, token: "gone-too" }));
  const lock = await lockRun(folder);
  expect(await readdir(folder)).toEqual([LOCK_FILE]);
  await lock.release();
  expect(await readdir(folder)).toEqual([]);
});
