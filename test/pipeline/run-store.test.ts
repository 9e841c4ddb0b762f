import { createHash } from "node:crypto";
import { appendFile, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { ImageBackend } from "#laurel/backends/contract";
import { CancelledError, UsageError } from "#laurel/errors";
import { decodeRgb } from "#laurel/image/decode";
import { readPngText } from "#laurel/image/png";
import { candidateImagePath } from "#laurel/pipeline/candidate-record";
import { generateRun, type GenerateRunOptions } from "#laurel/pipeline/generate-run";
import { createRun, openRun, readRun, type Run } from "#laurel/pipeline/run-store";
import { bestOfN } from "#laurel/strategies/best-of-n";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { newRun, temporaryFolder } from "./runs.js";

function work(run: Run, change: Partial<GenerateRunOptions> = {}): ReturnType<typeof generateRun> {
  return generateRun(run, {
    backend: createProceduralBackend(),
    reward: createBrightnessReward(),
    strategy: bestOfN,
    ...change,
  });
}

async function finishedRun(parent: string, change: Parameters<typeof newRun>[0] = {}): Promise<string> {
  const run = await createRun(parent, newRun(change));
  await work(run);
  await run.close();
  return run.directory;
}

/** All that must not depend on how often a run was interrupted: every image's bytes, and the sorted records. */
async function contents(directory: string): Promise<Record<string, string>> {
  const { candidates, manifest } = await readRun(directory);
  const files = (await readdir(join(directory, "images"), { recursive: true }))
    .filter((name) => /\.\w+$/.test(name))
    .sort();
  const images = await Promise.all(
    files.map(async (name) => [name, (await readFile(join(directory, "images", name))).toString("base64")] as const),
  );
  return {
    ...Object.fromEntries(images),
    candidates: JSON.stringify(candidates),
    ranking: JSON.stringify(manifest.ranking),
    evaluations: String(manifest.evaluations),
  };
}

async function lines(directory: string): Promise<string[]> {
  return (await readFile(join(directory, "candidates.jsonl"), "utf8")).split("\n").slice(0, -1);
}

test("a finished run has its manifest, one line per candidate, and the images the lines name", async () => {
  const directory = await finishedRun(await temporaryFolder());
  const { manifest, candidates } = await readRun(directory);
  expect(directory).toMatch(/\/20261122-183301-a-few-rectangles-[0-9a-f]{4}$/);
  expect(manifest).toMatchObject({
    schemaVersion: 1,
    status: "complete",
    createdAt: "2026-11-22T18:33:01.500Z",
    sessions: 1,
    seeds: { first: 500, last: 509 },
    evaluations: 40,
    warnings: [],
    error: null,
    request: { seed: null },
    config: { seed: 500 },
  });
  expect(manifest.versions.onnxruntime).toMatch(/^\d+\.\d+/);
  expect(manifest.ranking).toHaveLength(10);
  expect(candidates.map(({ index, seed }) => [index, seed])).toEqual(
    Array.from({ length: 10 }, (_, i) => [i, 500 + i]),
  );
  expect(await lines(directory)).toHaveLength(10);
  expect(candidates[3]?.image).toBe("images/00/0003-503.png");
  expect(await readdir(directory)).toEqual(expect.arrayContaining(["run.json", "candidates.jsonl", "images"]));
  expect(await readdir(directory)).not.toContain("run.lock");
});

test("an image carries its settings as AUTOMATIC1111 writes them, and its record without anything volatile", async () => {
  const parent = await temporaryFolder();
  const [first, second] = [await finishedRun(parent, { count: 2 }), await finishedRun(parent, { count: 2 })];
  const path = "images/00/0001-501.png";
  const png = await readFile(join(first, path));
  expect(await readFile(join(second, path))).toEqual(png);
  const { candidates } = await readRun(first);
  const texts = Object.fromEntries(readPngText(png).map(({ keyword, value }) => [keyword, value]));
  expect(texts["parameters"]).toBe(
    `a few rectangles\nSteps: 4, Sampler: paint, Seed: 501, Size: 16x16, Model hash: ababababab, Model: rectangles, brightness: ${Number(
      candidates[1]?.score?.toFixed(4),
    )}, Reward hash: cdcdcdcdcd, Version: laurel 0.1.0`,
  );
  const { image, bytes, sha256, ...record } = candidates[1] ?? {};
  expect([image, bytes, sha256]).toEqual([path, png.byteLength, createHash("sha256").update(png).digest("hex")]);
  expect(JSON.parse(texts["laurel"] ?? "")).toEqual(record);
  expect(texts["laurel"]).not.toMatch(/2026|images\/|rank/);
  expect((await decodeRgb(png, path)).width).toBe(16);
});

test("folders hold a thousand images each, and names sort by index", () => {
  expect(candidateImagePath({ index: 0, seed: 9 })).toBe("images/00/0000-9.png");
  expect(candidateImagePath({ index: 999, seed: 9 })).toBe("images/00/0999-9.png");
  expect(candidateImagePath({ index: 9999, seed: 4294967294 })).toBe("images/09/9999-4294967294.png");
});

test("a prompt without Latin letters, or far too long, still names a run", async () => {
  const parent = await temporaryFolder();
  const chinese = await createRun(parent, newRun({ prompt: "红色的圆" }));
  const long = await createRun(parent, newRun({ prompt: "../../x ".repeat(500) }));
  expect(chinese.manifest.runId).toMatch(/^20261122-183301-[0-9a-f]{4}$/);
  expect(long.manifest.runId.length).toBeLessThan(70);
  expect((await readdir(parent)).sort()).toEqual([chinese.manifest.runId, long.manifest.runId].sort());
  await Promise.all([chinese.close(), long.close()]);
});

test("a durable run has the same contents", async () => {
  const parent = await temporaryFolder();
  const run = await createRun(parent, newRun(), { durable: true });
  await work(run);
  await run.close();
  expect(await contents(run.directory)).toEqual(await contents(await finishedRun(parent)));
});

describe("resuming gives what an undisturbed run gives", () => {
  /** Stops a run after `count` candidates, as a kill would: nothing is closed, the lock stays. */
  async function killedRun(parent: string, count: number): Promise<string> {
    const run = await createRun(parent, newRun());
    const controller = new AbortController();
    const stop = work(run, {
      signal: controller.signal,
      onProgress: ({ finished }) => finished === count && controller.abort(),
    });
    await expect(stop).rejects.toBeInstanceOf(CancelledError);
    await run.close();
    const dead = { pid: 2 ** 22 + 1, host: (await import("node:os")).hostname(), started: "1", token: "dead" };
    await writeFile(join(run.directory, "run.lock"), JSON.stringify(dead));
    return run.directory;
  }

  async function resumed(directory: string): Promise<Record<string, string>> {
    const run = await openRun(directory);
    await work(run);
    await run.close();
    expect((await lines(directory)).length).toBe(10);
    return contents(directory);
  }

  test("after a kill between any two candidates", async () => {
    const parent = await temporaryFolder();
    const expected = await contents(await finishedRun(parent));
    for (const count of [0, 1, 3, 4, 5, 9]) {
      const directory = await killedRun(parent, count);
      expect(await lines(directory)).toHaveLength(count);
      const before = await lines(directory);
      expect(await resumed(directory)).toEqual(expected);
      expect((await lines(directory)).slice(0, count)).toEqual(before);
    }
  });

  test("after a kill inside a line, inside an image, or between image and line", async () => {
    const parent = await temporaryFolder();
    const expected = await contents(await finishedRun(parent));
    const damages: ((directory: string) => Promise<unknown>)[] = [
      async (directory) => {
        const path = join(directory, "candidates.jsonl");
        await truncate(path, (await readFile(path)).byteLength - 40);
      },
      async (directory) => {
        const path = join(directory, "candidates.jsonl");
        await truncate(path, (await readFile(path)).byteLength - 1);
      },
      (directory) => appendFile(join(directory, "candidates.jsonl"), '{"schemaVersion":1,"index":'),
      (directory) => appendFile(join(directory, "candidates.jsonl"), Buffer.alloc(512)),
      (directory) => writeFile(join(directory, "images/00/.0006-506.png.77.0a1b2c3d.tmp"), "half"),
      (directory) => writeFile(join(directory, "images/00/0006-506.png"), "an image whose line is missing"),
      (directory) => truncate(join(directory, "images/00/0002-502.png"), 30),
      (directory) => rm(join(directory, "images/00/0004-504.png")),
      async (directory) => {
        const [first = ""] = await lines(directory);
        await appendFile(join(directory, "candidates.jsonl"), `${first}\n`);
      },
    ];
    for (const damage of damages) {
      const directory = await killedRun(parent, 5);
      await damage(directory);
      expect(await resumed(directory)).toEqual(expected);
    }
  });

  test("a run killed before its first candidate has only a manifest", async () => {
    const parent = await temporaryFolder();
    const run = await createRun(parent, newRun());
    await run.close();
    await rm(join(run.directory, "candidates.jsonl"));
    expect(await resumed(run.directory)).toEqual(await contents(await finishedRun(parent)));
  });

  test("a finished run draws nothing again", async () => {
    const directory = await finishedRun(await temporaryFolder());
    const before = await contents(directory);
    const requests: unknown[] = [];
    const run = await openRun(directory);
    await work(run, { backend: createProceduralBackend({ onRequest: (request) => requests.push(request) }) });
    await run.close();
    expect(requests).toEqual([]);
    expect(await contents(directory)).toEqual(before);
  });
});

test("cancelling is prompt even when the backend does not answer, and the run says so", async () => {
  const run = await createRun(await temporaryFolder(), newRun());
  const slow = createProceduralBackend({ groupMs: 5000 });
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  const startedAt = performance.now();
  const stubborn: ImageBackend = { ...slow, generate: (request) => slow.generate(request) };
  await expect(work(run, { backend: stubborn, signal: controller.signal })).rejects.toBeInstanceOf(CancelledError);
  expect(performance.now() - startedAt).toBeLessThan(500);
  await run.close();
  expect((await readRun(run.directory)).manifest).toMatchObject({ status: "cancelled", error: null });
});

test("an error leaves a run that says failed, and can be resumed", async () => {
  const run = await createRun(await temporaryFolder(), newRun());
  let calls = 0;
  const reward = createBrightnessReward((score) => {
    if (++calls > 6) throw new Error("the reward broke");
    return score;
  });
  await expect(work(run, { reward })).rejects.toThrow("the reward broke");
  await run.close();
  expect((await readRun(run.directory)).manifest).toMatchObject({ status: "failed", error: "the reward broke" });
  const again = await openRun(run.directory);
  expect(await work(again)).toMatchObject({ status: "complete" });
  await again.close();
  expect((await readRun(run.directory)).manifest).toMatchObject({ status: "complete", error: null, sessions: 2 });
});

test("warnings are stored once", async () => {
  const run = await createRun(await temporaryFolder(), { ...newRun(), warnings: ["a", "a"] });
  const told: string[] = [];
  await work(run, {
    backend: createProceduralBackend({ warnings: ["b"] }),
    reward: createBrightnessReward((score) => score, ["a", "c"]),
    onWarning: (message) => told.push(message),
  });
  await run.close();
  expect(run.manifest.warnings).toEqual(["a", "b", "c"]);
  expect(told).toEqual(["b", "a", "c"]);
});

test("a run taken up by another version says so, and keeps the version it was made with", async () => {
  const directory = await finishedRun(await temporaryFolder(), { count: 1, keep: 1 });
  const path = join(directory, "run.json");
  await writeFile(path, (await readFile(path, "utf8")).replace('"onnxruntime": "1.', '"onnxruntime": "0.'));
  const run = await openRun(directory);
  await work(run);
  await run.close();
  const { versions, warnings } = (await readRun(directory)).manifest;
  expect(versions.onnxruntime).toMatch(/^0\./);
  expect(warnings).toEqual([expect.stringMatching(/^onnxruntime is 1\..* and was 0\..* images may differ$/)]);
});

test("what is no run is refused by name", async () => {
  const parent = await temporaryFolder();
  await expect(openRun(parent)).rejects.toThrow(
    new UsageError(`${parent}/run.json: expected the run.json of a run, got no such file`),
  );
  expect(await readdir(parent)).toEqual([]);
  await writeFile(join(parent, "run.json"), "{");
  await expect(readRun(parent)).rejects.toThrow(/run\.json: expected JSON, got /);
  await writeFile(join(parent, "run.json"), '{ "schemaVersion": 2 }');
  await expect(readRun(join(parent, "run.json"))).rejects.toThrow(/schema version 1\), got schemaVersion: .*; runId: /);
});

test("a folder that cannot hold runs is refused; folders above it are made", async () => {
  const parent = await temporaryFolder();
  await writeFile(join(parent, "file"), "");
  const refused = (path: string): Promise<unknown> =>
    expect(createRun(path, newRun())).rejects.toThrow(/expected a folder/);
  await refused(join(parent, "file"));
  await refused(join(parent, "file", "below"));
  if (process.platform === "linux") await refused("/proc/laurel");
  const run = await createRun(join(parent, "a", "b"), newRun());
  await run.close();
  expect(await readdir(join(parent, "a", "b"))).toEqual([run.manifest.runId]);
});
