/** @file Every exit code, provoked in the executable. */

import { execFileSync } from "node:child_process";
import { readdir, readFile, rm, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { encodePng } from "#laurel/image/png";
import { randomModels } from "./models.js";
import { type Ended, finish, start } from "./processes.js";

// Each test starts a process or two; a busy machine takes its time.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let folder: string;
let models: Awaited<ReturnType<typeof randomModels>>;
/** A finished run. */
let run: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-test-"));
  models = await randomModels(folder);
  const { stdout } = await laurel(generateArgs("finished", "2"));
  run = (JSON.parse(stdout) as { directory: string }).directory;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const laurel = (args: readonly string[]): Promise<Ended> => finish(start(args, { cwd: folder }));

function generateArgs(out: string, count: string): string[] {
  const settings = ["-n", count, "--seed", "7", "--steps", "4", "--batch", "2", "--json", "--out", join(folder, out)];
  return ["generate", "a red circle", ...settings, ...models.generator, ...models.reward];
}

/** Starts a long run, waits until it is under way, does `act`; resolves to its end. */
async function disturbed(out: string, act: (pid: number) => void): Promise<Ended> {
  const child = start(generateArgs(out, "5000"), { cwd: folder });
  const ended = finish(child);
  for (;;) {
    const [name] = await readdir(join(folder, out)).catch(() => []);
    const lines = name && (await readFile(join(folder, out, name, "candidates.jsonl"), "utf8").catch(() => ""));
    if (lines) break;
    if (child.exitCode !== null) throw new Error(`ended early: ${(await ended).stderr}`);
    await sleep(20);
  }
  act(child.pid as number);
  return ended;
}

test("0: done", async () => {
  expect((await laurel(["--version"])).code).toBe(0);
});

test("1: a check of doctor failed", async () => {
  await writeFile(join(folder, "file"), "");
  const { code, stdout } = await laurel(["doctor", "--out", join(folder, "file")]);
  expect(code).toBe(1);
  expect(stdout).toMatch(/^fail {2}outputs /m);
});

test("2: wrong usage", async () => {
  const { code, stdout, stderr } = await laurel(["generate", "prompt", "--steps", "many"]);
  expect([code, stdout]).toEqual([2, ""]);
  expect(stderr).toContain("--steps");
});

test.skipIf(process.platform !== "linux")("3: the device process died", async () => {
  const { code, stdout, stderr } = await disturbed("killed", (pid) => {
    const device = readChildren(pid);
    expect(device).toHaveLength(1);
    process.kill(device[0] as number, "SIGKILL");
  });
  expect([code, stdout]).toEqual([3, ""]);
  expect(stderr).toMatch(/go on with: laurel resume \S+\nerror: .*expected the device process to answer, got its end/);
});

test("4: part of the work failed", async () => {
  await writeFile(join(folder, "good.png"), await encodePng({ width: 1, height: 1, data: new Uint8Array(3) }));
  await writeFile(join(folder, "bad.png"), "no image");
  const { code, stdout } = await laurel(["score", "prompt", "good.png", "bad.png", ...models.reward, "--jsonl"]);
  expect([code, stdout.trimEnd().split("\n").length]).toEqual([4, 2]);
});

test("5: a model is missing or damaged", async () => {
  const missing = await laurel(["generate", "prompt", "--model", join(folder, "nothing")]);
  expect([missing.code, missing.stdout]).toEqual([5, ""]);
  await writeFile(join(folder, "model.safetensors"), "{}");
  const damaged = await laurel(["models", join(folder, "model.safetensors"), "--check", "--no-digest"]);
  expect(damaged.code).toBe(5);
});

test("6: the result is not as required", async () => {
  const lines = await readFile(join(run, "candidates.jsonl"), "utf8");
  await writeFile(join(run, "candidates.jsonl"), lines.replace(/"sha256":"[0-9a-f]{8}/, '"sha256":"00000000'));
  const { code, stdout } = await laurel(["rerun", run, "--json", "--out", join(folder, "again")]);
  expect(code).toBe(6);
  expect(JSON.parse(stdout)).toMatchObject({ reproduced: { compared: 2, different: [expect.any(Number)] } });
});

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const)("%s: %i, with a run that can be resumed", async (signal, expected) => {
  const { code, stdout, stderr } = await disturbed(signal, (pid) => process.kill(pid, signal));
  expect([code, stdout]).toEqual([expected, ""]);
  expect(stderr).toMatch(/cancelled with \d+ of 5000 candidates; finish it with: laurel resume \S+\n$/);
});

/** The processes that `pid` started. */
function readChildren(pid: number): number[] {
  const table = execFileSync("ps", ["-o", "pid=", "--ppid", String(pid)], { encoding: "utf8" });
  return table.trim().split(/\s+/).map(Number);
}
