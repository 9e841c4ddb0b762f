/** @file What judges: rewards by name, by what a file holds, several at once, and held out. */

import { copyFile, cp, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openChosenRewards, openRewards, parseHeldOut, parseRewards } from "#laurel/library/chosen-rewards";
import { generate } from "#laurel/library/generate";
import { openNamedReward } from "#laurel/library/named-rewards";
import { planRefinement } from "#laurel/library/refine";
import { finishRun, startRun } from "#laurel/library/runs";
import { EMBEDDED_MODELS, EMBEDDED_SCORES } from "#laurel/pipeline/package-info";
import { openRun, readRun } from "#laurel/pipeline/run-store";
import type { Reward } from "#laurel/rewards/contract";
import { type Device, openDevice } from "#laurel/runtime/device";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { temporaryFolder } from "../pipeline/runs.js";
import { fixturePath } from "../rewards/fixture.js";

let device: Device;
beforeAll(() => {
  device = openDevice();
});
afterAll(() => device.close());

const REQUEST = { prompt: "a few rectangles", count: 6, keep: 2, seed: 70, batch: 2 };

/** Rewards of known names: bright pictures, dark ones, and one that prefers what the others do not. */
function open(name: string | undefined): Promise<Reward> {
  const made: Record<string, Reward> = {
    bright: { ...createBrightnessReward(), name: "bright", reference: { mean: 0.5, std: 0.1, source: "made up" } },
    dark: {
      ...createBrightnessReward((score) => -score),
      name: "dark",
      model: { name: "dark", path: undefined },
      reference: { mean: -0.5, std: 0.1, source: "made up" },
    },
  };
  return Promise.resolve(made[name ?? "bright"]!);
}

describe("what the options say", () => {
  test("names, paths, kinds and weights", () => {
    expect(parseRewards(["image-reward=1,aesthetic=0.3", "./x.pt", "pickscore:./folder=-2", "clip-vit-l-14"])).toEqual([
      { reward: "image-reward", weight: 1 },
      { reward: "aesthetic", weight: 0.3 },
      { reward: join(process.cwd(), "x.pt"), weight: 1 },
      { reward: `pickscore:${join(process.cwd(), "folder")}`, weight: -2 },
      { reward: "clip-vit-l-14", weight: 1 },
    ]);
    expect(parseHeldOut(["clip-score,hps"])).toEqual(["clip-score", "hps"]);
  });

  test("what is none is refused", () => {
    expect(() => parseRewards(["hps=0"])).toThrow(
      '--reward: expected a number other than 0 as the weight of hps, got "0"',
    );
    expect(() => parseRewards(["hps=,"])).toThrow(/weight of hps, got ""|between commas/);
    expect(() => parseHeldOut(["a,,b"])).toThrow('--held-out: expected rewards between commas, got "a,,b"');
  });

  test("a search says them in its plan", async () => {
    const choice = { rewards: parseRewards(["image-reward,hps=0.5"]), heldOut: ["clip-score"] };
    const { reward } = await planRefinement({ prompt: "a circle", choice });
    expect(reward).toEqual({
      model: null,
      rewards: [
        { reward: "image-reward", weight: 1 },
        { reward: "hps", weight: 0.5 },
      ],
      heldOut: ["clip-score"],
    });
  });
});

describe("a file or folder tells what it is", () => {
  test.each([
    ["clip", "clip-score"],
    ["image-reward", "image-reward"],
    ["blip/model_large.pth", "blip-score"],
    ["hps/HPS_v2.1_compressed.pt", "hps"],
  ])("%s is %s", async (path, name) => {
    expect((await openNamedReward(fixturePath(path), device)).name).toBe(name);
  });

  test("PickScore is said, an aesthetic head takes the CLIP beside it and otherwise says how to get one", async () => {
    const pick = fixturePath("pickscore");
    expect((await openNamedReward(pick, device)).name).toBe("clip-score");
    expect((await openNamedReward(`pickscore:${pick}`, device)).name).toBe("pickscore");
    const folder = await temporaryFolder();
    const head = join(folder, "head.pth");
    await copyFile(fixturePath("aesthetic/sac+logos+ava1-l14-linearMSE.pth"), head);
    await expect(openNamedReward(head, device)).rejects.toThrow(
      /head\.pth: expected the CLIP model that the head stands on in .*clip, or clip-vit-l-14 from the hub, got neither; run laurel models pull clip-vit-l-14/,
    );
    await mkdir(join(folder, "clip"));
    await cp(fixturePath("clip"), join(folder, "clip"), { recursive: true });
    expect((await openNamedReward(head, device)).name).toBe("aesthetic");
  });

  test("one that was not fetched says how to get it", async () => {
    await expect(openNamedReward("hps", device)).rejects.toThrow(/laurel models pull hps-v2\.1/);
  });

  test("the scale of the demo's CLIP is that of its recorded scores", async () => {
    const recorded = JSON.parse(await readFile(EMBEDDED_SCORES, "utf8")) as {
      rewards: { name: string; percentiles: number[] }[];
    };
    const { percentiles } = recorded.rewards.find(({ name }) => name === "clip-score")!;
    const reference = (await openNamedReward(EMBEDDED_MODELS.judge, device)).reference!;
    // half of the scores lie below the middle one; two thirds within one std
    expect(Math.abs(percentiles[50]! - reference.mean)).toBeLessThan(reference.std);
    const within = percentiles.filter((score) => Math.abs(score - reference.mean) < reference.std);
    expect(within.length / percentiles.length).toBeGreaterThan(0.5);
    expect(reference.source).toMatch(/^measured on \d+ pictures that the demo model draws for \d+ held-out prompts$/);
    const both = await openRewards(device, { rewards: parseRewards(["image-reward,clip-score=0.5"]), heldOut: [] });
    expect(both.name).toBe("ensemble");
    expect("gradient" in both).toBe(true);
  });
});

describe("a run", () => {
  test("is the same whatever watches it, and tells what watched", async () => {
    const backend = createProceduralBackend({});
    const alone = await generate({ backend, reward: await open("bright") }, REQUEST);
    const choice = { rewards: [], heldOut: ["dark"] };
    const watched = await generate({ backend, reward: await openChosenRewards(choice, open) }, REQUEST);
    const facts = ({ index, score, rank }: (typeof alone.candidates)[number]): object => ({ index, score, rank });
    expect(watched.candidates.map(facts)).toEqual(alone.candidates.map(facts));
    expect(watched.candidates.map(({ heldOut }) => heldOut)).toEqual(
      alone.candidates.map(({ score }) => ({ dark: -score! })),
    );
    expect(alone.candidates[0]!.heldOut).toBeUndefined();
  });

  test("records each reward's own score, how it entered the sum, and what watched; it is not taken up with others", async () => {
    const out = await temporaryFolder();
    const choice = {
      rewards: [
        { reward: "bright", weight: 2 },
        { reward: "dark", weight: 0.5, mean: 0, std: 1 },
      ],
      heldOut: ["bright"],
    };
    const made = async (change: Partial<typeof choice> = {}) => ({
      backend: createProceduralBackend({}),
      reward: await openChosenRewards({ ...choice, ...change }, open),
    });
    const models = await made();
    const run = await finishRun(await startRun(out, models, { ...REQUEST, choice }), models);
    expect(run.manifest.config).toMatchObject(choice);
    expect(run.manifest.models.members).toMatchObject([
      { name: "bright", weight: 2, mean: 0.5, std: 0.1, source: "made up" },
      { name: "dark", weight: 0.5, mean: 0, std: 1, source: "as stated" },
    ]);
    expect(run.manifest.models.heldOut).toMatchObject([{ name: "bright" }]);
    for (const { score, scores, heldOut } of run.candidates) {
      const { bright, dark } = scores as { bright: number; dark: number };
      expect(score).toBeCloseTo((2 * (bright - 0.5)) / 0.1 + 0.5 * dark, 10);
      expect(heldOut).toEqual({ bright });
    }
    expect(await readRun(run.directory)).toEqual(expect.objectContaining({ candidates: run.candidates }));
    const others: [Partial<typeof choice>, RegExp][] = [
      [{ rewards: [{ reward: "bright", weight: 1.5 }] }, /expected the reward of the run, ensemble bright=2,dark=0.5/],
      [{ heldOut: [] }, /expected the held-out rewards of the run, bright, got none/],
    ];
    for (const [change, message] of others) {
      await expect(finishRun(await openRun(run.directory), await made(change))).rejects.toThrow(message);
    }
  });
});
