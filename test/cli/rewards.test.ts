/** @file Several rewards and held-out ones on the command line: what is chosen, shown and taken up again. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Reward } from "#laurel/rewards/contract";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

/** The brightness of a picture, turned and scaled, under the name of a reward of the field. */
function judge(name: string, factor: number, mean: number, std: number): Reward {
  return {
    ...createBrightnessReward((score) => factor * score),
    name,
    model: { name, path: undefined },
    reference: { mean, std, source: "made up" },
  };
}

const rewards = { hps: judge("hps", 1, 0.5, 0.25), aesthetic: judge("aesthetic", -1, 0, 2) };
const MEMBERS = [
  { name: "hps", weight: 1, mean: 0.5, std: 0.25, source: "made up" },
  { name: "aesthetic", weight: 0.5, mean: 0, std: 2, source: "made up" },
];

interface Result {
  readonly directory: string;
  readonly members?: object[];
  readonly heldOut?: object[];
  readonly candidates: {
    readonly score: number;
    readonly index: number;
    readonly scores?: Record<string, number>;
    readonly heldOut?: Record<string, number>;
  }[];
}

test("a run chooses by the sum, shows each reward, and is rerun with the same", async () => {
  const out = await temporaryFolder();
  const asked = ["generate", "a picture", "-n", "3", "--seed", "5", "--out", out];
  const judged = ["--reward", "hps,aesthetic=0.5", "--held-out", "clip-score"];
  const { exitCode, stdout } = await laurel([...asked, ...judged, "--json"], { rewards });
  expect(exitCode).toBe(0);
  const result = JSON.parse(stdout) as Result;
  expect(result.members).toMatchObject(MEMBERS);
  expect(result.heldOut).toMatchObject([{ name: "brightness" }]);
  for (const { score, scores, heldOut } of result.candidates) {
    expect(score).toBeCloseTo((scores!["hps"]! - 0.5) / 0.25 + (0.5 * scores!["aesthetic"]!) / 2, 10);
    expect(heldOut).toEqual({ brightness: scores!["hps"] });
  }
  const lines = (await readFile(join(result.directory, "candidates.jsonl"), "utf8")).trim().split("\n");
  const recorded = lines.map((line) => JSON.parse(line) as Result["candidates"][number]);
  for (const { index, scores } of result.candidates) expect(recorded[index]!.scores).toEqual(scores);
  expect(await readFile(join(result.directory, "report.html"), "utf8")).toContain("held out: chose nothing");

  const again = await laurel(["rerun", result.directory, "--out", out], { rewards });
  expect(again.stdout.split("\n")[0]).toMatch(/^rank +score +hps +aesthetic +\(brightness\) +seed +image$/);
  expect(again.stderr).toContain("score = (hps - 0.5) / 0.25 + 0.5 * (aesthetic - 0) / 2\n");
  expect(again.stderr).toMatch(/held out brightness: the best has -?\d\.\d{3}, the average is -?\d\.\d{3}\n/);
  expect(again.exitCode).toBe(0);

  const plain = JSON.parse((await laurel([...asked, "--reward", "hps", "--json"], { rewards })).stdout) as Result;
  const watched = [...asked, "--reward", "hps", "--held-out", "aesthetic", "--json"];
  const seen = JSON.parse((await laurel(watched, { rewards })).stdout) as Result;
  const choice = ({ candidates }: Result): object[] => candidates.map(({ index, score }) => ({ index, score }));
  expect(choice(seen)).toEqual(choice(plain));
  expect(plain.members).toBeUndefined();
});

test("options that do not go together are refused before anything is opened", async () => {
  const both = await laurel(["generate", "x", "--reward", "hps", "--reward-model", "x.pt"]);
  expect(both.exitCode).toBe(2);
  expect(both.stderr).toContain("--reward-model: expected none beside --reward, which names all that choose");
  const weight = await laurel(["score", "x", "--reward", "hps=none", "test/fixtures/image/rgb.png"]);
  expect(weight.exitCode).toBe(2);
  expect(weight.stderr).toContain('--reward: expected a number other than 0 as the weight of hps, got "none"');
});
