import { existsSync } from "node:fs";
import { readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { RunResultJson } from "#laurel/cli/result";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel, type Surroundings } from "./terminal.js";

const PROMPT = "a red\ncircle";

async function generated(
  out: string,
  extra: readonly string[] = [],
  surroundings: Surroundings = {},
): Promise<RunResultJson & { readonly reproduced?: unknown }> {
  const args = ["generate", PROMPT, "-n", "6", "--keep", "2", "--seed", "90", "--out", out, "--json", ...extra];
  const { exitCode, stdout } = await laurel(args, surroundings);
  expect(exitCode).toBe(0);
  return JSON.parse(stdout) as RunResultJson;
}

test("--json prints one object: candidates best first, absolute paths, ranks from 1", async () => {
  const out = await temporaryFolder();
  const result = await generated(out);
  expect(Object.keys(result)).toEqual([
    "schemaVersion",
    "runId",
    "directory",
    "prompt",
    "strategy",
    "budget",
    "status",
    "stop",
    "backend",
    "reward",
    "candidates",
    "best",
    "reference",
    "thresholds",
    "warnings",
    "timings",
    "evaluations",
  ]);
  expect(result).toMatchObject({
    schemaVersion: 1,
    directory: join(out, result.runId),
    prompt: PROMPT,
    backend: "procedural",
    reward: "brightness",
    warnings: [],
    evaluations: 24,
  });
  expect(result.candidates.map(({ rank }) => rank)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(result.candidates.map(({ kept }) => kept)).toEqual([true, true, false, false, false, false]);
  expect(result.candidates.map(({ index }) => index).sort()).toEqual([0, 1, 2, 3, 4, 5]);
  const scores = result.candidates.map(({ score }) => score ?? Number.NaN);
  expect(scores).toEqual([...scores].sort((a, b) => b - a));
  for (const { index, seed, path } of result.candidates) {
    expect(seed).toBe(90 + index);
    expect(existsSync(path)).toBe(true);
  }
  expect(result.best).toEqual(result.candidates[0]);
  expect((await readdir(result.directory)).sort()).toEqual([
    "candidates.jsonl",
    "grid.png",
    "images",
    "report.html",
    "run.json",
  ]);
});

test("without --json a ranked table goes to stdout and a summary to stderr, without colours or a bar", async () => {
  const out = await temporaryFolder();
  const { stdout, stderr } = await laurel(["generate", PROMPT, "-n", "3", "--seed", "90", "--out", out]);
  const lines = stdout.split("\n");
  expect(lines[0]).toMatch(/^rank +score +seed +image$/);
  expect(lines.slice(1, 4).map((line) => line.split(/ +/).slice(1, 5))).toEqual(
    [1, 2, 3].map((rank) => [
      String(rank),
      expect.stringMatching(/^-?\d\.\d{4}$/) as string,
      expect.stringMatching(/^9[012]$/) as string,
      "kept",
    ]),
  );
  expect(stderr).toMatch(/^best brightness -?\d\.\d{3}, average -?\d\.\d{3} of 3, in .* s\nreport: .*report\.html\n$/);
  expect(stdout + stderr).not.toContain("\u001b");
});

test("on a terminal there are colours and a bar on stderr; NO_COLOR and TERM=dumb and --quiet are heeded", async () => {
  const out = await temporaryFolder();
  const args = ["generate", PROMPT, "-n", "3", "--out", out];
  const colourful = await laurel(args, { tty: true });
  expect(colourful.stdout).toContain("\u001b[32m");
  expect(colourful.stderr).toContain("3 candidates");
  expect(colourful.stdout).not.toContain("━");
  const plain = await laurel(args, { tty: true, environment: { NO_COLOR: "1" } });
  expect(plain.stdout).not.toContain("\u001b");
  const dumb = await laurel(args, { tty: true, environment: { TERM: "dumb" } });
  expect(dumb.stdout + dumb.stderr).not.toContain("\u001b");
  const quiet = await laurel([...args, "--quiet"], { tty: true, environment: { NO_COLOR: "1" } });
  expect(quiet.stderr).toBe("");
});

test("without --seed the seed is random, stored, and in range", async () => {
  const out = await temporaryFolder();
  const seeds = new Set<number>();
  for (let i = 0; i < 3; i++) {
    const { stdout } = await laurel(["generate", PROMPT, "-n", "2", "--out", out, "--json"]);
    const { directory, candidates } = JSON.parse(stdout) as RunResultJson;
    const manifest = JSON.parse(await readFile(join(directory, "run.json"), "utf8")) as {
      request: { seed: unknown };
      config: { seed: number };
    };
    expect(manifest.request.seed).toBeNull();
    expect(candidates.map(({ seed }) => seed).sort()).toEqual([manifest.config.seed, manifest.config.seed + 1]);
    seeds.add(manifest.config.seed);
  }
  expect(seeds.size).toBe(3);
});

test("warnings appear on stderr and in the result", async () => {
  const out = await temporaryFolder();
  const { stdout, stderr } = await laurel(["generate", PROMPT, "-n", "2", "--guidance", "0", "--out", out, "--json"], {
    backend: { warnings: ["the prompt was cut after: red"] },
  });
  const expected = ["procedural: guidance is not supported and was left out, got 0", "the prompt was cut after: red"];
  expect((JSON.parse(stdout) as RunResultJson).warnings).toEqual(expected);
  expect(stderr).toBe(expected.map((message) => `warning: ${message}\n`).join(""));
});

test("a candidate without a finite score is null, last, and not kept", async () => {
  const out = await temporaryFolder();
  let calls = 0;
  const reward = createBrightnessReward((score) => (calls++ === 0 ? Number.NaN : score));
  const result = await generated(out, ["--keep", "6"], { reward });
  expect(result.candidates.at(-1)).toMatchObject({ index: 0, score: null, rank: 6, kept: false });
});

test("cancelled, it says how to go on; resume gives the undisturbed result", async () => {
  const out = await temporaryFolder();
  const expected = await generated(out);
  const controller = new AbortController();
  const reward = createBrightnessReward((score) => {
    setTimeout(() => controller.abort(), 30);
    return score;
  });
  const args = ["generate", PROMPT, "-n", "6", "--keep", "2", "--seed", "90", "--batch", "4", "--out", out];
  const cancelled = await laurel(args, { signal: controller.signal, reward, backend: { groupMs: 2000 } });
  expect(cancelled.exitCode).toBe(130);
  expect(cancelled.stdout).toBe("");
  const directory = /laurel resume (.*)\n/.exec(cancelled.stderr)?.[1] ?? "";
  expect(cancelled.stderr).toMatch(/^cancelled with [1-4] of 6 candidates; finish it with: laurel resume /);
  const resumed = await laurel(["resume", directory, "--json"]);
  expect(resumed.exitCode).toBe(0);
  const result = JSON.parse(resumed.stdout) as RunResultJson;
  const place = (one: RunResultJson["candidates"][number]): unknown => ({ ...one, path: undefined });
  expect(result.candidates.map(place)).toEqual(expected.candidates.map(place));
  for (const [i, one] of result.candidates.entries()) {
    expect(await readFile(one.path)).toEqual(await readFile(expected.candidates[i]?.path ?? ""));
  }
  expect(await readFile(join(result.directory, "grid.png"))).toEqual(
    await readFile(join(expected.directory, "grid.png")),
  );
});

test("a run whose model changed is not resumed, and stays as it was", async () => {
  const out = await temporaryFolder();
  const weights = join(out, "rectangles.weights");
  await writeFile(weights, "before");
  const { directory } = await generated(out, [], { backend: { weights } });
  await truncate(join(directory, "candidates.jsonl"), 10);
  const before = await readFile(join(directory, "run.json"), "utf8");
  await writeFile(weights, "after");
  const { exitCode, stderr } = await laurel(["resume", directory], { backend: { weights } });
  expect(exitCode).toBe(5);
  const [expected, actual] = (
    /expected the generator of the run, procedural rectangles \((\w{12})\), got procedural rectangles \((\w{12})\)/.exec(
      stderr,
    ) ?? []
  ).slice(1);
  expect(before).toContain(expected);
  expect(actual).not.toBe(expected);
  expect(await readFile(join(directory, "run.json"), "utf8")).toBe(before);
  expect(await readdir(directory)).not.toContain("run.lock");
});

test("rerun makes the same bytes and says so; a difference is exit code 6", async () => {
  const out = await temporaryFolder();
  const first = await generated(out);
  const again = await laurel(["rerun", join(first.directory, "run.json"), "--out", out, "--json"]);
  expect(again.exitCode).toBe(0);
  const result = JSON.parse(again.stdout) as RunResultJson & { reproduced: unknown };
  expect(result.reproduced).toEqual({ compared: 6, different: [] });
  expect(result.runId).not.toBe(first.runId);
  expect(result.candidates.map(({ score }) => score)).toEqual(first.candidates.map(({ score }) => score));
  const reward = createBrightnessReward((score) => score + 1);
  const other = await laurel(["rerun", first.directory, "--out", out], { reward });
  expect(other.exitCode).toBe(6);
  expect(other.stderr).toContain(`0 of 6 images are identical to ${first.runId}`);
});

test("rerun works without the old images", async () => {
  const out = await temporaryFolder();
  const first = await generated(out);
  const elsewhere = join(await temporaryFolder(), "manifest.json");
  await writeFile(elsewhere, await readFile(join(first.directory, "run.json")));
  await rm(first.directory, { recursive: true });
  const { exitCode, stdout } = await laurel(["rerun", elsewhere, "--out", out, "--json"]);
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ reproduced: { compared: 0, different: [] }, prompt: PROMPT });
});

test("a run that a living process works on is refused", async () => {
  const out = await temporaryFolder();
  const { directory } = await generated(out);
  const { lockRun } = await import("#laurel/pipeline/lock");
  const lock = await lockRun(directory);
  const { exitCode, stderr } = await laurel(["resume", directory]);
  await lock.release();
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/expected a run that no process works on, got one held by process \d+/);
});
