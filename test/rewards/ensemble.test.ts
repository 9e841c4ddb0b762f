/** @file Several rewards as one, and rewards that only watch. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { preprocess } from "#laurel/image/preprocess";
import type { SourceImage } from "#laurel/image/types";
import { openAesthetic } from "#laurel/rewards/aesthetic";
import { openClipScore } from "#laurel/rewards/clip-score";
import type { DifferentiableReward, Reward, RewardResult, ScoreReference } from "#laurel/rewards/contract";
import { DifferentiableEnsemble, Ensemble, openEnsemble } from "#laurel/rewards/ensemble";
import { WatchedReward } from "#laurel/rewards/held-out";
import { openHps } from "#laurel/rewards/hps";
import { openImageReward } from "#laurel/rewards/image-reward";
import { type Device, openDevice } from "#laurel/runtime/device";
import { float32 } from "#laurel/tensor/tensor";
import { rewardConformance } from "./conformance.js";
import { fixturePath, goldenImages } from "./fixture.js";

const PROMPT = "a red circle above a blue square";
const CLIP = fixturePath("clip");
const HEAD = fixturePath("aesthetic/sac+logos+ava1-l14-linearMSE.pth");
let device: Device;
let images: SourceImage[];

beforeAll(async () => {
  device = openDevice();
  images = (await goldenImages()).slice(0, 5);
});
afterAll(() => device.close());

/** The rewards of the fixtures. */
const open = {
  imageReward: (batch?: number) => openImageReward(fixturePath("image-reward"), device, { batch }),
  clip: (batch?: number) => openClipScore(CLIP, device, { batch }),
  aesthetic: (batch?: number) => openAesthetic(HEAD, device, { clip: CLIP, batch }),
  hps: () => openHps(fixturePath("hps/HPS_v2.1_compressed.pt"), device),
};

/** A reward of known scores. */
function plain(name: string, scores: number[], reference?: ScoreReference): Reward {
  return {
    name,
    model: { name, path: undefined },
    range: [0, 1],
    reference,
    score: (_prompt, shown): Promise<RewardResult> =>
      Promise.resolve({ scores: scores.slice(0, shown.length), warnings: [`${name} was asked`, "both"] }),
    dispose: () => Promise.resolve(),
  };
}

describe("an ensemble", () => {
  test("sums weight * (score - mean) / std, and tells what each member gave", async () => {
    const one = plain("one", [5, 7], { mean: 4, std: 2, source: "made up" });
    const two = plain("two", [0.25, 0.75]);
    const ensemble = openEnsemble([
      { reward: one, weight: 1 },
      { reward: two, weight: -0.5, reference: { mean: 0.25, std: 0.25, source: "stated" } },
      { reward: one, weight: 3, reference: { mean: 5, std: 1, source: "stated" } },
    ]);
    const result = await ensemble.score(PROMPT, images.slice(0, 2));
    expect(result.scores).toEqual([0.5, 1.5 - 1 + 6]);
    expect(result.members).toEqual({ one: [5, 7], two: [0.25, 0.75], "one-2": [5, 7] });
    expect(result.warnings).toEqual(["one was asked", "both", "two was asked"]);
    expect(ensemble.model.name).toBe("one=1,two=-0.5,one-2=3");
    expect(ensemble).toBeInstanceOf(Ensemble);
    expect("gradient" in ensemble).toBe(false);
  });

  test("of members of whose scores nothing is known, or without weight, is refused, all faults at once", () => {
    expect(() => openEnsemble([])).toThrow("ensemble: expected at least one reward, got none");
    expect(() =>
      openEnsemble([
        { reward: plain("a", []), weight: 1 },
        { reward: plain("b", [], { mean: 0, std: 0, source: "" }), weight: 0 },
      ]),
    ).toThrow(
      "ensemble: a: expected mean and std of its scores, which it does not know itself, got none; b: expected a weight other than 0, got 0; b: expected a mean and a std above 0 of its scores, got 0 and 0",
    );
  });

  test.each([
    ["of one preprocessing", ["imageReward", "clip", "aesthetic"]],
    ["of several", ["imageReward", "hps"]],
  ] as const)("differentiates through members %s to what score() gives for a square", async (_what, names) => {
    const members: { reward: DifferentiableReward; weight: number }[] = [];
    for (const [i, name] of names.entries()) members.push({ reward: await open[name](), weight: 1 - 0.4 * i });
    const ensemble = openEnsemble(members, device) as DifferentiableEnsemble;
    expect(ensemble).toBeInstanceOf(DifferentiableEnsemble);
    const { imageSize: side, preprocessing } = ensemble.network;
    const square = { width: side, height: side, data: Uint8Array.from({ length: 3 * side * side }, (_, i) => (i * 7 + (i >> 5) * 13) & 255) }; // prettier-ignore
    const pixels = preprocess(square, side, preprocessing);
    const { scores, gradient } = await ensemble.gradient(PROMPT, float32([1, 3, side, side], pixels));
    const [expected] = (await ensemble.score(PROMPT, [square])).scores;
    expect(Math.abs(scores[0]! - expected!)).toBeLessThan(1e-3);
    // the slope along itself is what a small step changes: float32 holds it to a few per mille
    const step = 1e-3 / Math.hypot(...gradient.data);
    const moved = pixels.map((value, i) => value + step * gradient.data[i]!);
    const [after] = (await ensemble.gradient(PROMPT, float32([1, 3, side, side], moved))).scores;
    expect((after! - scores[0]!) / (step * Math.hypot(...gradient.data) ** 2)).toBeCloseTo(1, 1);
    await ensemble.dispose();
  });
});

describe("a held-out reward", () => {
  test("is scored beside the one that chooses and changes nothing of it", async () => {
    const guide = await open.imageReward();
    const alone = await guide.score(PROMPT, images);
    const watched = new WatchedReward(guide, [plain("no", [Number.NaN, 2, 3, 4, 5]), await open.clip()]);
    const result = await watched.score(PROMPT, images);
    expect(result.scores).toEqual(alone.scores);
    expect(Object.keys(result.heldOut!)).toEqual(["no", "clip-score"]);
    expect(result.heldOut!["no"]).toEqual([Number.NaN, 2, 3, 4, 5]);
    expect(watched.name).toBe("image-reward");
    await watched.dispose();
  });

  test("that also chooses is refused", async () => {
    const [clip, again, reward] = [await open.clip(), await open.clip(), await open.imageReward()];
    const ensemble = openEnsemble([{ reward, weight: 1 }, { reward: clip, weight: 1 }]); // prettier-ignore
    expect(() => new WatchedReward(ensemble, [again])).toThrow(
      "held out: expected rewards that choose nothing, got clip-score (clip), which chooses",
    );
    await ensemble.dispose();
  });
});

rewardConformance("ensemble", {
  open: async (batch) =>
    openEnsemble(
      [
        { reward: await open.imageReward(batch), weight: 1 },
        { reward: await open.clip(batch), weight: 0.5 },
        { reward: await open.aesthetic(batch), weight: 0.3 },
      ],
      device,
    ),
  images: () => Promise.resolve(images),
  prompt: PROMPT,
});
