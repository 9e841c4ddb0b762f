/** @file The executable as a process: signals, kills, pipes, on real networks of random weights. */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { RunResultJson } from "#laurel/cli/result";
import { readRun } from "#laurel/pipeline/run-store";
import { randomModels } from "./models.js";
import { finish, start as startLaurel } from "./processes.js";

const COUNT = 12;

// Each test starts several processes; a busy machine takes its time.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 });

let folder: string;
let models: Awaited<ReturnType<typeof randomModels>>;
let undisturbed: RunResultJson;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-test-"));
  models = await randomModels(folder);
  const { stdout, stderr, code } = await finish(start(generateArgs("undisturbed")));
  expect([code, stderr]).toEqual([0, expect.stringMatching(/^(warning: .*\n)*$/) as string]);
  undisturbed = JSON.parse(stdout) as RunResultJson;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The same request every time, in runs below `out`. */
function generateArgs(out: string): string[] {
  const settings = ["-n", String(COUNT), "--seed", "7", "--steps", "8", "--batch", "2", "--json"];
  return ["generate", "a red circle", ...settings, "--out", join(folder, out), ...models.generator, ...models.reward];
}

const start = (args: readonly string[], cwd = folder): ChildProcess => startLaurel(args, { cwd });

/** Waits until the one run below `out` has at least `count` candidates; resolves to its folder. */
async function whenFinished(out: string, count: number): Promise<string> {
  const parent = join(folder, out);
  for (;;) {
    const [name] = await readdir(parent).catch(() => []);
    if (name !== undefined) {
      const text = await readFile(join(parent, name, "candidates.jsonl"), "utf8").catch(() => "");
      if (text.split("\n").length > count) return join(parent, name);
    }
    await sleep(10);
  }
}

async function expectUndisturbed(directory: string): Promise<void> {
  const run = await readRun(directory);
  const expected = await readRun(undisturbed.directory);
  expect(run.manifest.status).toBe("complete");
  expect(run.candidates).toEqual(expected.candidates);
  expect(run.manifest.ranking).toEqual(expected.manifest.ranking);
  const text = await readFile(join(directory, "candidates.jsonl"), "utf8");
  expect(text.split("\n").length - 1).toBe(COUNT);
  for (const { image } of run.candidates) {
    expect(await readFile(join(directory, image))).toEqual(await readFile(join(undisturbed.directory, image)));
  }
  const files = await readdir(join(directory, "images"), { recursive: true });
  expect(files.filter((name) => !/^\d\d$/.test(name))).toHaveLength(COUNT);
}

test("generate leaves a complete run and prints it", async () => {
  expect(undisturbed.candidates).toHaveLength(COUNT);
  // The model's sampler, PNDM, has nine evaluations in eight steps; guidance counts each twice.
  expect(undisturbed).toMatchObject({ backend: "local", reward: "image-reward", evaluations: COUNT * 18 });
  expect(undisturbed.timings.programMs).toBeGreaterThan(0);
  await expectUndisturbed(undisturbed.directory);
});

test("killed with SIGKILL, the run resumes to the same result", async () => {
  const child = start(generateArgs("killed"));
  const directory = await whenFinished("killed", 1);
  child.kill("SIGKILL");
  await once(child, "close");
  expect((await readRun(directory)).manifest.status).toBe("running");
  const { code } = await finish(start(["resume", directory, "--json"]));
  expect(code).toBe(0);
  await expectUndisturbed(directory);
});

test("Ctrl-C ends it within a second with code 130; the run says cancelled and resumes to the same result", async () => {
  const child = start(generateArgs("interrupted"));
  const ended = finish(child);
  const directory = await whenFinished("interrupted", 1);
  const sent = performance.now();
  child.kill("SIGINT");
  const { code, stdout, stderr } = await ended;
  expect(performance.now() - sent).toBeLessThan(1000);
  expect([code, stdout]).toEqual([130, ""]);
  expect(stderr).toMatch(/cancelled with \d+ of 12 candidates; finish it with: laurel resume \S+\n$/);
  expect((await readRun(directory)).manifest.status).toBe("cancelled");
  expect(await readdir(directory)).not.toContain("run.lock");
  await finish(start(["resume", directory]));
  await expectUndisturbed(directory);
});

test("a second process on the same run is refused", async () => {
  const child = start([...generateArgs("busy"), "-n", "500"]);
  const directory = await whenFinished("busy", 1);
  const { code, stderr } = await finish(start(["resume", directory]));
  expect([code, stderr]).toEqual([2, expect.stringContaining(`got one held by process ${child.pid}`) as string]);
  child.kill("SIGKILL");
  await once(child, "close");
});

test("rerun reproduces every image", async () => {
  const args = ["rerun", join(undisturbed.directory, "run.json"), "--out", join(folder, "again"), "--json"];
  const { code, stdout } = await finish(start(args));
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ reproduced: { compared: COUNT, different: [] } });
});

test("score gives the scores that the run stored, and code 4 for a broken image", async () => {
  const images = join(undisturbed.directory, "images");
  const { code, stdout } = await finish(start(["score", "a red circle", images, ...models.reward, "--json"]));
  expect(code).toBe(0);
  const { results } = JSON.parse(stdout) as { results: { path: string; score: number; rank: number }[] };
  const stored = new Map(undisturbed.candidates.map(({ path, score, rank }) => [path, [score, rank]]));
  expect(results.map(({ path, score, rank }) => [path, [score, rank]])).toEqual(
    results.map(({ path }) => [path, stored.get(path)]),
  );
  const broken = join(folder, "broken.png");
  await writeFile(broken, (await readFile(undisturbed.best?.path ?? "")).subarray(0, 200));
  const args = ["score", "a red circle", broken, undisturbed.best?.path ?? "", ...models.reward, "--json"];
  const partial = await finish(start(args));
  expect(partial.code).toBe(4);
  expect(JSON.parse(partial.stdout)).toMatchObject({ results: [{ rank: null, score: null }, { rank: 1 }] });
});

test("a reader that goes away does not trouble it", async () => {
  const args = ["score", "a red circle", join(undisturbed.directory, "images"), ...models.reward];
  const child = start(args);
  child.stdout?.destroy();
  const { code, stderr } = await finish(child);
  expect([code, stderr]).toEqual([0, ""]);
});

test("without options it uses the models that ship inside, wherever it is started", async () => {
  const cwd = await mkdtemp(join(folder, "elsewhere-"));
  const prompt = "a red circle above a blue square";
  const { code, stdout, stderr } = await finish(start(["generate", prompt, "-n", "2", "--steps", "2"], cwd));
  expect(code).toBe(0);
  const [, best = ""] = stdout.split("\n");
  const path = /outputs\/\S+\.png$/.exec(best)?.[0] ?? "";
  expect(stderr).toMatch(/^best image-reward .* of 2, in .* s\nreport: outputs\/.*\/report\.html\n$/);
  const scored = await finish(start(["score", prompt, path, "--json"], cwd));
  expect(scored.code).toBe(0);
  const { results } = JSON.parse(scored.stdout) as { results: { score: number }[] };
  expect(best).toContain(results[0]?.score.toFixed(4));
});
