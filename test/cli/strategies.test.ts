/** @file `laurel generate --strategy`: searches as runs on disk, and taken up again. */

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { CandidateLine } from "#laurel/pipeline/candidate-record";
import type { RunManifest } from "#laurel/pipeline/manifest";
import { STRATEGY_NAMES } from "#laurel/strategies/names";
import { finish, start } from "./processes.js";
import { laurel } from "./terminal.js";

// each command starts two processes and compiles its programs; a busy machine takes its time
vi.setConfig({ testTimeout: 120_000 });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-strategies-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const run = (args: readonly string[]) => finish(start(args, { cwd: folder }));

async function lines(directory: string): Promise<CandidateLine[]> {
  const text = await readFile(join(directory, "candidates.jsonl"), "utf8");
  return text.trimEnd().split("\n").map((line) => JSON.parse(line) as CandidateLine).sort((a, b) => a.index - b.index); // prettier-ignore
}

test.each(STRATEGY_NAMES.filter((name) => name !== "best-of-n"))(
  "%s is a run of its own, and goes on where it was killed to the same candidates",
  async (strategy) => {
    const args = ["generate", "a red circle", "-n", "4", "--steps", "5", "--seed", "3", "--strategy", strategy, "--out", strategy, "--quiet", "--json"]; // prettier-ignore
    expect(await run(args)).toMatchObject({ code: 0 });
    const directory = join(folder, strategy, (await readdir(join(folder, strategy)))[0]!);
    const whole = await lines(directory);
    expect(whole.length).toBeGreaterThan(1);
    expect(new Set(whole.map(({ lineage }) => lineage.strategy))).toEqual(new Set([strategy]));

    const manifestFile = join(directory, "run.json");
    const manifest = JSON.parse(await readFile(manifestFile, "utf8")) as RunManifest;
    expect(manifest.config).toMatchObject({ strategy, count: 4 });
    expect(manifest.ranking).toEqual(whole.toSorted((a, b) => b.score! - a.score!).map(({ index }) => index));
    // as if it had been killed after its first candidate
    await writeFile(manifestFile, JSON.stringify({ ...manifest, status: "running", ranking: [] }));
    await writeFile(join(directory, "candidates.jsonl"), `${JSON.stringify(whole[0])}\n`);
    expect(await run(["resume", directory, "--quiet"])).toMatchObject({ code: 0 });
    expect(await lines(directory)).toEqual(whole);
  },
);

test("a backend that cannot be followed on the way is refused before anything is drawn", async () => {
  const args = ["generate", "rectangles", "-n", "4", "--strategy", "halving", "--out", join(folder, "none")];
  const { exitCode, stderr } = await laurel(args);
  expect(exitCode).toBe(2);
  expect(stderr).toContain("strategy: expected best-of-n for the backend procedural, whose pictures cannot be followed step by step, got halving"); // prettier-ignore
  await expect(readdir(join(folder, "none"))).rejects.toThrow("ENOENT");
});
