/** @file `laurel generate --strategy`: searches as runs on disk, and taken up again. */

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { RunResultJson } from "#laurel/cli/result";
import type { CandidateLine } from "#laurel/pipeline/candidate-record";
import type { RunManifest } from "#laurel/pipeline/manifest";
import type { SearchPlan } from "#laurel/strategies/contract";
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

/** What a search did, as the run keeps it. */
const searchOf = (directory: string): Promise<string | undefined> =>
  readFile(join(directory, "search.jsonl"), "utf8").catch(() => undefined);

test.each(STRATEGY_NAMES.filter((name) => name !== "best-of-n"))(
  "%s is a run of its own, and goes on where it was killed to the same candidates",
  async (strategy) => {
    const args = ["generate", "a red circle", "-n", "4", "--steps", "5", "--seed", "3", "--strategy", strategy, "--out", strategy, "--quiet", "--json"]; // prettier-ignore
    expect(await run(args)).toMatchObject({ code: 0 });
    const directory = join(folder, strategy, (await readdir(join(folder, strategy)))[0]!);
    const whole = await lines(directory);
    expect(whole.length).toBeGreaterThan(1);
    expect(new Set(whole.map(({ lineage }) => lineage.strategy))).toEqual(
      new Set([strategy === "refine" ? "evolve" : strategy]),
    );

    const manifestFile = join(directory, "run.json");
    const manifest = JSON.parse(await readFile(manifestFile, "utf8")) as RunManifest;
    expect(manifest.config).toMatchObject({ strategy: { name: strategy }, count: 4 });
    expect(manifest.ranking).toEqual(whole.toSorted((a, b) => b.score! - a.score!).map(({ index }) => index));
    // as if it had been killed after its first candidate
    await writeFile(manifestFile, JSON.stringify({ ...manifest, status: "running", ranking: [] }));
    await writeFile(join(directory, "candidates.jsonl"), `${JSON.stringify(whole[0])}\n`);
    const search = await searchOf(directory);
    if (search !== undefined) await writeFile(join(directory, "search.jsonl"), search.slice(0, 100));
    expect(await run(["resume", directory, "--quiet"])).toMatchObject({ code: 0 });
    expect(await lines(directory)).toEqual(whole);
    expect(await searchOf(directory)).toEqual(search);
    expect(search !== undefined).toBe(strategy === "halving" || strategy === "particles");
  },
);

test("a backend that cannot be followed on the way is refused before anything is drawn", async () => {
  const refused = async (strategy: string): Promise<string> => {
    const { exitCode, stderr } = await laurel(["generate", "rectangles", "-n", "4", "--strategy", strategy, "--out", join(folder, "none")]); // prettier-ignore
    expect(exitCode).toBe(2);
    return stderr;
  };
  expect(await refused("halving")).toContain("strategy: expected best-of-n or refine for the backend procedural, whose pictures cannot be followed step by step, got halving"); // prettier-ignore
  expect(await refused("img2img-loop")).toContain("strategy: expected best-of-n or refine for the backend procedural, which starts from no picture, got img2img-loop"); // prettier-ignore
  expect(await refused("refine:vocabulary=none")).toContain("vocabulary: expected general, shapes or a YAML file, got none"); // prettier-ignore
  await expect(readdir(join(folder, "none"))).rejects.toThrow("ENOENT");
});

test("a search for prompts tells which prompt won, and what each picture was drawn from", async () => {
  const out = join(folder, "refined");
  const args = ["generate", "a red circle", "-n", "12", "--seed", "3", "--strategy", "refine:vocabulary=shapes", "--out", out]; // prettier-ignore
  const { exitCode, stdout } = await laurel([...args, "--json"]);
  expect(exitCode).toBe(0);
  const { refinement, candidates, prompt } = JSON.parse(stdout) as RunResultJson;
  expect(prompt).toBe("a red circle");
  expect(refinement!.improved).toBe(refinement!.winner !== prompt);
  expect(candidates.map((one) => one.prompt)).toContain(refinement!.winner);
  expect(new Set(candidates.map((one) => one.prompt)).size).toBeGreaterThan(1);
  const shown = await laurel([...args.slice(0, -1), join(folder, "shown")]);
  expect(shown.stdout).toMatch(/rank +score +seed +prompt +image/);
  expect(shown.stderr).toContain(refinement!.verdict);
});

test("the kept may be good candidates that differ", async () => {
  const args = ["generate", "rectangles", "-n", "32", "--keep", "3", "--seed", "3", "--json"];
  const kept = async (...more: readonly string[]): Promise<number[]> => {
    const { stdout } = await laurel([...args, "--out", join(folder, `kept${more.length}`), ...more]);
    const { candidates } = JSON.parse(stdout) as RunResultJson;
    return candidates.flatMap((one) => (one.kept ? one.rank : []));
  };
  expect(await kept()).toEqual([1, 2, 3]);
  const differing = await kept("--diverse");
  expect(differing).toHaveLength(3);
  expect(differing[0]).toBe(1);
  expect(differing).not.toEqual([1, 2, 3]);
});

test("a search that is run again is kept line by line as before, and printed with what halving found out", async () => {
  const args = ["generate", "a red circle", "-n", "6", "--steps", "5", "--seed", "3", "--strategy", "halving", "--out", "again", "--quiet", "--json"]; // prettier-ignore
  const { code, stdout } = await run(args);
  expect(code).toBe(0);
  const { directory, plan } = JSON.parse(stdout) as { directory: string; plan: SearchPlan };
  expect(plan).toMatchObject({ steps: 5, previews: { observed: 4 } });
  expect(plan.previews!.fidelity.map(({ step }) => step)).toEqual([2, 3, 4]);
  expect(await run(["rerun", join(directory, "run.json"), "--out", "again", "--quiet"])).toMatchObject({ code: 0 });
  const runs = await readdir(join(folder, "again"));
  expect(runs).toHaveLength(2);
  const [first, second] = await Promise.all(runs.map((name) => searchOf(join(folder, "again", name))));
  expect(first).toMatch(/^{"type":"look","index":0,"step":2,"score":-?\d/);
  expect(second).toBe(first);
  const shown = await run(["runs", "show", directory, "--json"]);
  const told = JSON.parse(shown.stdout) as { plan: SearchPlan; candidates: RunResultJson["candidates"] };
  expect(told.plan).toEqual(plan);
  expect(told.candidates[0]!.lineage).toMatchObject({ strategy: "halving", parent: null });
});
