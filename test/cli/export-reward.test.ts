/** @file `laurel export reward` from the command line. */

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RewardManifest } from "#laurel/export/reward/manifest";
import { temporaryFolder } from "../pipeline/execute/pipelines.js";
import { laurel } from "./terminal.js";

const cleanUp: (() => Promise<void>)[] = [];
let folder: string;
beforeAll(async () => {
  folder = await temporaryFolder(cleanUp);
});
afterAll(() => Promise.all(cleanUp.map((one) => one())));

test("writes a weighted sum from images of a size, and prints what it wrote", async () => {
  const out = join(folder, "sum");
  const args = ["export", "reward", "--out", out, "--reward", "image-reward", "--reward", "clip-score=2.5"];
  const { exitCode, stdout, stderr } = await laurel([...args, "--size", "96x72", "--batch", "2", "--json", "--quiet"]);
  expect([exitCode, stderr]).toEqual([0, ""]);
  const { directory, manifest } = JSON.parse(stdout) as { directory: string; manifest: RewardManifest };
  expect(directory).toBe(out);
  expect(manifest.picture).toMatchObject({
    name: "image",
    shape: [2, 3, 72, 96],
    range: [0, 1],
    width: 96,
    height: 72,
  });
  expect(manifest.combination.formula).toBe("score = image-reward + 2.5 * clip-score");
  expect(manifest.rewards.map(({ inputs }) => Object.values(inputs))).toEqual([
    ["image-reward.ids", "image-reward.mask"],
    ["clip-score.ids"],
  ]);
  expect((await readdir(out)).length).toBeGreaterThan(7);
  const again = await laurel([...args, "--quiet"]);
  expect([again.exitCode, again.stdout]).toEqual([2, ""]);
  expect(again.stderr).toContain("expected an empty folder, or force to replace an earlier export");
});

test.each([
  [["--size", "96"], '--size: expected width and height as 512x512, got "96"'],
  [["--reward", "clip-score=much"], '--reward: expected a number other than 0 as the weight of clip-score, got "much"'],
  [["--from", "sound"], "Expected pixels or image or latents"],
  [["--from", "pixels", "--model", "x"], "model: expected one only for latents"],
])("%j is refused in one line", async (args, message) => {
  const out = join(folder, "refused");
  const { exitCode, stderr } = await laurel(["export", "reward", "--out", out, "--quiet", ...args]);
  expect(exitCode).toBe(2);
  expect(stderr).toContain(message);
  expect(await readdir(folder)).not.toContain("refused");
});

test("a reward that is not there is refused, and a folder to write is asked for", async () => {
  const missing = await laurel(["export", "reward", "--out", join(folder, "x"), "--reward", "/nowhere", "--quiet"]);
  expect(missing.exitCode).toBe(5);
  expect(missing.stderr).toContain("/nowhere: expected an ImageReward file or folder, got no such file");
  const nameless = await laurel(["export", "reward"]);
  expect([nameless.exitCode, nameless.stderr]).toEqual([2, expect.stringContaining("--out: expected the folder")]);
});
