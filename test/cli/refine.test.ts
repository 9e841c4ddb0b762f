import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { pipelineCandidateSchema } from "#laurel/pipeline/execute/manifest";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

const PROMPT = "please draw a scarlet disc that is over a blue box";
const ARGS = ["refine", PROMPT, "--budget", "16", "--seed", "3"];

interface RefineJson {
  readonly directory: string;
  readonly best: { readonly prompt: string; readonly score: number; readonly path: string };
  readonly baseline: { readonly score: number; readonly path: string };
  readonly prompts: readonly { readonly prompt: string; readonly parent: string | null; readonly candidates: number }[];
  readonly warnings: readonly string[];
}

test("--json prints the winner, the baseline and every prompt; candidates say where their prompt comes from", async () => {
  const out = await temporaryFolder();
  const { exitCode, stdout } = await laurel([...ARGS, "--json", "--out", out]);
  expect(exitCode).toBe(0);
  const result = JSON.parse(stdout) as RefineJson;
  expect(Object.keys(result)).toEqual(
    ["schemaVersion", "runId", "directory", "prompt", "best", "baseline", "improved", "confirmed", "prompts", "warnings"],
  ); // prettier-ignore
  expect(result).toMatchObject({ schemaVersion: 1, prompt: PROMPT });
  for (const { path } of [result.best, result.baseline]) expect(existsSync(path)).toBe(true);
  expect(result.prompts.reduce((sum, { candidates }) => sum + candidates, 0)).toBe(16);
  expect(result.prompts[0]).toMatchObject({ prompt: PROMPT, parent: null, edit: null, gain: null, excluded: null });
  expect(Object.keys(result.prompts[1]!).slice(0, 8)).toEqual(
    ["prompt", "parent", "edit", "candidates", "mean", "best", "low", "high"],
  ); // prettier-ignore
  expect(result.prompts.map(({ prompt }) => prompt)).toContain("a red circle above a blue square");
  const lines = (await readFile(join(result.directory, "candidates.jsonl"), "utf8")).trim().split("\n");
  const drawn = new Map<string, number>();
  for (const line of lines) {
    const { prompt, lineage } = pipelineCandidateSchema.parse(JSON.parse(line));
    drawn.set(prompt, (drawn.get(prompt) ?? 0) + 1);
    const { parent } = result.prompts.find((one) => one.prompt === prompt)!;
    expect(lineage.refinement!.from).toBe(parent);
  }
  expect(Object.fromEntries(drawn)).toEqual(
    Object.fromEntries(result.prompts.map((one) => [one.prompt, one.candidates])),
  );
});

test("what a kill left is finished by resume, with the same result", async () => {
  const out = await temporaryFolder();
  const whole = JSON.parse((await laurel([...ARGS, "--json", "--out", out])).stdout) as RefineJson;
  for (const kept of [0, 3, 9, 15]) {
    const { directory } = JSON.parse((await laurel([...ARGS, "--json", "--out", out])).stdout) as RefineJson;
    const list = join(directory, "candidates.jsonl");
    const lines = (await readFile(list, "utf8")).split("\n");
    await writeFile(list, lines.slice(0, kept).map((line) => `${line}\n`).join("")); // prettier-ignore
    await writeFile(join(directory, "items.jsonl"), "");
    const { exitCode, stdout } = await laurel(["resume", directory, "--json"]);
    expect(exitCode).toBe(0);
    const { prompts, best, baseline } = JSON.parse(stdout) as RefineJson;
    expect(prompts).toEqual(whole.prompts);
    expect([best.prompt, best.score, baseline.score]).toEqual([
      whole.best.prompt,
      whole.best.score,
      whole.baseline.score,
    ]);
  }
});

test("the pipeline that ships searches for every prompt, then draws what it found", async () => {
  const out = await temporaryFolder();
  const args = [
    "run",
    "pipelines/prompt-refinement.yaml",
    "--set",
    "budget=16",
    "--set",
    "n=2",
    "--out",
    out,
    "--json",
  ];
  const { exitCode, stdout } = await laurel(args);
  expect(exitCode).toBe(0);
  const result = JSON.parse(stdout) as {
    readonly directory: string;
    readonly items: readonly { readonly drawn: string }[];
  };
  expect(result.items).toHaveLength(2);
  const lines = (await readFile(join(result.directory, "candidates.jsonl"), "utf8")).trim().split("\n");
  const candidates = lines.map((line) => pipelineCandidateSchema.parse(JSON.parse(line)));
  for (const [item, { drawn }] of result.items.entries()) {
    const own = candidates.filter((one) => one.item === String(item));
    expect(own.filter(({ step }) => step === 0)).toHaveLength(16);
    expect(own.filter(({ step }) => step === 1).map(({ prompt }) => prompt)).toEqual([drawn, drawn]);
  }
});

test("prints a table of the prompts, the verdict on stderr", async () => {
  const { exitCode, stdout, stderr } = await laurel([...ARGS, "--out", await temporaryFolder()]);
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^ *mean +95 % interval +best +candidates +edit gained +prompt +edit/u);
  expect(stdout).toContain("a red circle above a blue square");
  expect(stderr).toMatch(/beats the original prompt|which is kept|is kept/u);
});

describe("refuses before any model is opened", () => {
  const cases: readonly (readonly [string, readonly string[], RegExp])[] = [
    [
      "a vocabulary that is none",
      ["--vocabulary", "shape"],
      /vocabulary: expected general, shapes or a YAML file, got shape/,
    ],
    ["a chat without llm", ["--chat", "ollama"], /--chat: expected together with --refiner llm, got evolve/],
    ["llm without a chat", ["--refiner", "llm"], /--chat: expected a language model for --refiner llm, got none/],
    [
      "a vocabulary for llm",
      ["--refiner", "llm", "--chat", "ollama", "--vocabulary", "shapes"],
      /--vocabulary: expected together/,
    ],
    ["seeds that end too early", ["--seed", "4294967290"], /--seed: expected at most \d+ with 16 candidates/],
    ["pictures that exist already", ["--backend", "folder"], /folder/],
    ["a budget of none", ["--budget", "0"], /whole number from 1 to 10000/],
  ];
  test.each(cases)("%s", async (_, flags, message) => {
    const out = join(await temporaryFolder(), "runs");
    const args = ["refine", PROMPT, "--budget", "16", ...flags, "--out", out];
    const { exitCode, stderr } = await laurel(args);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(message);
    expect(existsSync(out)).toBe(false);
  });

  test("an empty prompt", async () => {
    const { exitCode, stderr } = await laurel(["refine", "  "]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("Expected a prompt, got an empty text")]);
  });
});
