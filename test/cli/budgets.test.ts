/** @file `laurel generate --strategy`, `--budget` and `--until-score`: what is refused, what ends a run, and what the run says of it. */

import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { RunResultJson } from "#laurel/cli/result";
import type { RunManifest } from "#laurel/pipeline/manifest";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

const PAINTER = { backend: { pictures: true } };

const stored = async (directory: string): Promise<string[]> =>
  (await readFile(join(directory, "candidates.jsonl"), "utf8")).trimEnd().split("\n").sort();

test.each([
  [["--strategy", "partcles"], '--strategy: expected best-of-n, halving, particles, neighbours, noise-gradient, img2img-loop, refine, got "partcles"; did you mean particles?'], // prettier-ignore
  [["--strategy", "img2img-loop:roundz=3"], '--strategy img2img-loop: expected explore, rounds, from, to, got "roundz"; did you mean rounds?'], // prettier-ignore
  [["--budget", "7", "-n", "8"], "--budget: expected the 8 candidates of -n, or none beside it, got 7"],
  [["--budget", "10001"], "--budget: expected at most 10000 candidates, got 10001"],
  [["--budget", "soon"], '--budget: expected a number of candidates (64), of evaluations (evals=1280) or a time (60s, 5m, 1h), got "soon"'], // prettier-ignore
  [["--until-images", "2"], "--until-images: expected together with --until-score, got it alone"],
  [["--until-score", "1", "--until-images", "9", "-n", "8"], "--until-images: expected at most the 8 candidates of -n, got 9"], // prettier-ignore
  [["--strategy", "img2img-loop", "-n", "1"], "strategy img2img-loop: expected a budget for 2 candidates or more, got 1"], // prettier-ignore
])("%j is refused before a folder is made", async (args, message) => {
  const out = join(await temporaryFolder(), "runs");
  const { exitCode, stderr } = await laurel(["generate", "rectangles", ...args, "--out", out], PAINTER);
  expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: expect.stringContaining(message) as string });
  await expect(readdir(out)).rejects.toThrow("ENOENT");
});

async function generated(args: readonly string[], out?: string): Promise<RunResultJson> {
  const all = ["generate", "rectangles", "--seed", "5", "--out", out ?? (await temporaryFolder()), "--json", ...args];
  const { exitCode, stdout, stderr } = await laurel(all, PAINTER);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  return JSON.parse(stdout) as RunResultJson;
}

test("--budget and -n say the same; a strategy is printed as it was said", async () => {
  const one = await generated(["-n", "6", "--strategy", "img2img-loop:rounds=2:from=0.9"]);
  const other = await generated(["--budget", "6", "-n", "6", "--strategy", "img2img-loop:from=.90:rounds=2"]);
  expect(one).toMatchObject({ strategy: "img2img-loop:rounds=2:from=0.9", status: "complete", stop: null });
  expect(other.strategy).toBe(one.strategy);
  expect(other.candidates.map(({ score }) => score)).toEqual(one.candidates.map(({ score }) => score));
});

test("a run that its evaluations ended says so, and is taken up to the same end", async () => {
  const out = await temporaryFolder();
  // four evaluations a picture, four pictures a group
  const args = ["generate", "rectangles", "--budget", "evals=33", "--seed", "5", "--batch", "4", "--out", out];
  const { exitCode, stderr } = await laurel(args);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: expect.stringContaining("ended early: its 33 evaluations are spent") as string }); // prettier-ignore
  const directory = join(out, (await readdir(out))[0]!);
  const whole = await stored(directory);
  expect(whole).toHaveLength(12);
  const manifest = JSON.parse(await readFile(join(directory, "run.json"), "utf8")) as RunManifest;
  expect(manifest).toMatchObject({ status: "stopped", stop: "evaluations" });
  expect(manifest.config).toMatchObject({ count: 10_000, budget: { evaluations: 33, seconds: null, until: null } });
  expect(await readFile(join(directory, "report.html"), "utf8")).toContain("stopped, 12 of at most 10000: its 33 evaluations are spent"); // prettier-ignore
  const shown = await laurel(["runs", "show", directory]);
  for (const line of [
    /^status +stopped: its 33 evaluations are spent$/m,
    /^strategy +best-of-n$/m,
    /^budget +33 evaluations$/m,
  ])
    // prettier-ignore
    expect(shown.stdout).toMatch(line);
  // as if it had been killed within its last group
  const text = await readFile(join(directory, "candidates.jsonl"), "utf8");
  await writeFile(join(directory, "candidates.jsonl"), text.split("\n").slice(0, 10).join("\n").concat("\n"));
  expect((await laurel(["resume", directory])).exitCode).toBe(0);
  expect(await stored(directory)).toEqual(whole);
  const again = await laurel(["rerun", directory, "--out", join(out, "again")]);
  expect(again.stderr).toContain("12 of 12 images are identical");
});

test("a run whose time is over keeps what it has", async () => {
  const result = await generated(["--budget", "0.01s", "--batch", "2"]);
  expect(result).toMatchObject({ status: "stopped", stop: "seconds", budget: { seconds: 0.01 } });
  const before = await stored(result.directory);
  const { exitCode, stdout } = await laurel(["resume", result.directory, "--json"], PAINTER);
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ status: "stopped", stop: "seconds" });
  expect(await stored(result.directory)).toEqual(before);
});

test("a run that reached its goal is complete", async () => {
  const result = await generated(["--until-score", "-2", "--until-images", "3", "--batch", "2", "-n", "20"]);
  expect(result).toMatchObject({ status: "complete", stop: "reached", budget: { until: { score: -2, images: 3 } } });
  expect(result.candidates).toHaveLength(4);
});

test("runs that name their strategy and know no budget are read", async () => {
  const { directory } = await generated(["-n", "3"]);
  const path = join(directory, "run.json");
  const manifest = JSON.parse(await readFile(path, "utf8")) as Record<"request" | "config", Record<string, unknown>>;
  const old = (part: Record<string, unknown>) => ({ ...part, strategy: "best-of-n", budget: undefined });
  const before = { ...manifest, request: old(manifest.request), config: old(manifest.config), stop: undefined };
  await writeFile(path, JSON.stringify(before));
  expect((await laurel(["resume", directory], PAINTER)).exitCode).toBe(0);
  expect((await laurel(["runs", "show", directory])).stdout).toMatch(/^strategy +best-of-n$/m);
});

test("a prompt without words is drawn with a warning", async () => {
  const { stderr, exitCode } = await laurel(["generate", "(!!!) ...", "-n", "1", "--out", await temporaryFolder()]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: expect.stringContaining('warning: prompt: expected words, got "(!!!) ..."') as string }); // prettier-ignore
});
