import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

interface CompareJson {
  readonly baseline: string;
  readonly prompts: number;
  readonly metrics: readonly { readonly key: string }[];
  readonly arms: readonly { readonly strategy: string; readonly budget: number; readonly trials: number }[];
}

/** The remote-like models of the tests cannot be followed step by step: pictures are counted. */
const ARGS = ["compare", "--budget", "2,4", "--held-out", "clip-score"];

async function promptFile(): Promise<{ readonly out: string; readonly prompts: string }> {
  const out = await temporaryFolder();
  const prompts = join(out, "prompts.txt");
  await writeFile(prompts, "a red circle\na blue square\na green triangle\n");
  return { out, prompts };
}

test("writes figures, a page and trials, prints JSON, and goes on with what is there", async () => {
  const { out, prompts } = await promptFile();
  const args = [...ARGS, "--prompts", prompts, "--limit", "2", "--out", join(out, "compared")];
  const { exitCode, stdout } = await laurel([...args, "--json"]);
  expect(exitCode).toBe(0);
  const result = JSON.parse(stdout) as CompareJson;
  expect(result).toMatchObject({ schemaVersion: 1, baseline: "best-of-n", prompts: 2 });
  expect(result.metrics.map(({ key }) => key)).toEqual(["guide", "brightness", "diversity"]);
  const own = result.arms.filter(({ strategy }) => strategy === "best-of-n");
  // two seeds at 2 pictures, one at 4
  expect(own.map(({ budget, trials }) => [budget, trials])).toEqual([[2, 4], [4, 2]]); // prettier-ignore
  const written = await readFile(join(out, "compared", "comparison.json"), "utf8");
  expect(JSON.parse(written)).toEqual(result);
  expect(await readFile(join(out, "compared", "report.html"), "utf8")).toContain(
    "laurel compare --strategies best-of-n",
  );
  const trials = await readFile(join(out, "compared", "trials.jsonl"), "utf8");
  const again = await laurel([...args, "--markdown"]);
  expect(again.stdout).toMatch(/^\| strategy/);
  expect(again.stderr).toContain("page: ");
  expect(await readFile(join(out, "compared", "trials.jsonl"), "utf8")).toBe(trials);
});

test.each([
  [["--budget", "4,none"], '--budget: expected numbers of pictures from 1 to 9999, got "none"'],
  [["--strategies", "best-of-m"], "did you mean best-of-n?"],
  [["--strategies", "best-of-n:steps=few"], 'expected a number for steps, got "few"'],
  [["--oracle"], "a red circle and nothing else"],
])("%j is refused", async (flags, message) => {
  const { out, prompts } = await promptFile();
  await writeFile(prompts, "a red circle and nothing else\n");
  const { exitCode, stderr } = await laurel([...ARGS, "--prompts", prompts, "--out", out, ...flags]);
  expect(exitCode).toBe(2);
  expect(stderr).toContain(message);
});

test("prompts are asked for where the model is not the demo model", async () => {
  const { exitCode, stderr } = await laurel(["compare", "--model", "elsewhere"]);
  expect(exitCode).toBe(2);
  expect(stderr).toContain("--prompts: expected a file of prompts for a model that is not the demo model, got none");
});
