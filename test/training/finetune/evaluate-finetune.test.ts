import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { evaluationPrompts } from "#laurel/demo/dataset";
import { openStableDiffusion, type StableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { type ClipScore, openClipScore } from "#laurel/rewards/clip-score";
import { type ImageReward, openImageReward } from "#laurel/rewards/image-reward";
import { type Device, openDevice } from "#laurel/runtime/device";
import { type EvaluatedPrompt, evaluateFinetune, finetuneFigures } from "#laurel/training/finetune/evaluate-finetune";
import { temporaryFolder } from "../../pipeline/runs.js";

const demo = (name: string): string => fileURLToPath(new URL(`../../../models/demo/${name}`, import.meta.url));
let device: Device;
let diffusion: StableDiffusion;
let guide: ImageReward;
let heldOut: ClipScore;

beforeAll(async () => {
  device = openDevice();
  diffusion = await openStableDiffusion(demo("stable-diffusion"), device);
  guide = await openImageReward(demo("image-reward"), device);
  heldOut = await openClipScore(demo("clip"), device);
});
afterAll(() => device.close());

test("draws what its file lacks, with the seeds of every arm; other settings are drawn anew", async () => {
  const file = join(await temporaryFolder(), "evaluated.jsonl");
  const lines = async (): Promise<number> => (await readFile(file, "utf8")).trimEnd().split("\n").length;
  const evaluate = (prompts: number, steps = 8): Promise<EvaluatedPrompt[]> =>
    evaluateFinetune({ arm: "base", diffusion, guide, heldOut, prompts, imagesPerPrompt: 2, settings: { steps }, file }); // prettier-ignore
  const first = await evaluate(1);
  expect(first).toMatchObject([{ index: 0, prompt: evaluationPrompts(1)[0], seed: 700_000 }]);
  await appendFile(file, '{"arm":"ba');
  const both = await evaluate(2);
  expect(both[0]).toEqual(first[0]);
  expect(both[1]).toMatchObject({ index: 1, seed: 700_002 });
  expect(await lines()).toBe(3); // one of them torn
  expect(await evaluate(2)).toEqual(both);
  expect(await lines()).toBe(3);
  const [other] = await evaluate(1, 4);
  expect(await lines()).toBe(4);
  expect(other?.guide).not.toEqual(first[0]?.guide);
  for (const { guide: scores, heldOut: held, holds, vendi, entropy } of both) {
    expect([scores.length, held.length, holds.length]).toEqual([2, 2, 2]);
    expect(vendi).toBeGreaterThanOrEqual(0);
    expect(vendi).toBeLessThanOrEqual(1);
    expect(entropy).toBeGreaterThanOrEqual(0);
  }
  await appendFile(file, '{"arm":9}\n');
  await expect(evaluate(1)).rejects.toThrow(/evaluated\.jsonl:5: expected an evaluated prompt/);
});

const evaluated = (index: number, prompt: string, change: Partial<EvaluatedPrompt>): EvaluatedPrompt => ({
  arm: "a", fingerprint: "f", index, prompt, seed: index, holds: [false, true], guide: [1, 0], heldOut: [0.2, 0.4], entropy: 4, vendi: 0.5,
  ...change,
}); // prettier-ignore

test("figures are means over prompts, differences are paired, diversity is a quotient of means", () => {
  const base = [
    evaluated(0, "x", { entropy: 2 }),
    evaluated(1, "y", { entropy: 6 }),
    evaluated(2, "y", { entropy: 4 }),
  ];
  const tuned = base.map((one, i) => ({
    ...one, holds: [true, i > 0], guide: [2, 0], heldOut: [0.2, 0.3], entropy: 3, vendi: 0.25,
  })); // prettier-ignore
  const figures = finetuneFigures(base, tuned);
  expect(figures).toMatchObject({ prompts: 3, descriptions: 2, imagesPerPrompt: 2 });
  expect(figures.single.base.estimate).toBe(0.5);
  expect(figures.single.tuned.estimate).toBeCloseTo(5 / 6, 12);
  expect(figures.single.difference.estimate).toBeCloseTo(1 / 3, 12);
  expect(figures.single.difference.low).toBeCloseTo(0, 12); // only "x" is drawn: it gains nothing
  expect(figures.single.difference.high).toBeCloseTo(0.5, 12);
  expect(figures.guide.difference).toEqual({ estimate: 0.5, low: 0.5, high: 0.5 });
  expect(figures.heldOut.difference.estimate).toBeCloseTo(-0.05, 12);
  expect(figures.diversity.estimate).toBeCloseTo(9 / 12, 12);
  expect(figures.vendiDiversity.estimate).toBe(0.5);
  // the highest guide is the first picture: none of the base's holds, all of the tuned model's do
  expect(figures.bestOfN).toMatchObject({ n: 2, base: { estimate: 0 }, tuned: { estimate: 1 } });
  expect(finetuneFigures(base.map((one) => ({ ...one, holds: [true] })), base.map((one) => ({ ...one, holds: [true] }))).bestOfN).toBeNull(); // prettier-ignore
});

test("a score that is no number is never chosen", () => {
  const odd = [evaluated(0, "x", { guide: [Number.NaN, -3] })];
  expect(finetuneFigures(odd, odd).bestOfN?.base.estimate).toBe(1);
});

test("arms drawn from other seeds, or of other prompts, are not compared", () => {
  const base = [evaluated(0, "x", {})];
  expect(() => finetuneFigures(base, [evaluated(0, "x", { seed: 9 })])).toThrow(
    'figures: expected 2 pictures of "x" from seed 0 as the base drew, got 2 pictures of "x" from seed 9',
  );
  expect(() => finetuneFigures(base, [evaluated(1, "x", {})])).toThrow(/both drew, got none/);
});
