import { expect, test } from "vitest";
import { DEFAULT_GUARDS, judgeValidation } from "#laurel/training/finetune/guards";
import { createTrainingProgress, formatTrainingStanding } from "#laurel/training/finetune/progress";
import type { ValidationRecord } from "#laurel/training/finetune/records";

function stream(terminal: boolean): { written: string[]; write(text: string): void; isTTY: boolean; columns: number } {
  const written: string[] = [];
  return { written, write: (text) => void written.push(text), isTTY: terminal, columns: 60 };
}

const update = (step: number) => ({
  step, loss: 0.002, learningRate: 1e-4, gradientNorm: 0.1, seconds: 2 * step, "reward/image-reward": step / 10,
}); // prettier-ignore

function validation(step: number, guide: number, held: number): ValidationRecord {
  const scores = (mean: number) => [-1, 0, 1, 2].map((value, i) => value + mean + (i % 2) / 100);
  return {
    step, scores: { "image-reward": scores(guide), "clip-score": scores(held) }, guide: ["image-reward"], heldOut: ["clip-score"],
    diversity: [2, 2], divergence: 0.001, alarm: null,
  }; // prettier-ignore
}

test("a standing names step, loss, rewards, guards, rate and time left", () => {
  const standing = { label: "refl", step: 100, steps: 400, loss: 0.00142, rewards: new Map([["image-reward", 0.61]]) };
  expect(formatTrainingStanding({ ...standing, guards: "ok", rate: 0.5 })).toBe(
    "refl: step 100/400, loss 0.00142, image-reward 0.610, guards ok, 2.0 s a step, 10 min 00 s left",
  );
  expect(formatTrainingStanding({ ...standing, guards: undefined, rate: Number.NaN })).toBe(
    "refl: step 100/400, loss 0.00142, image-reward 0.610",
  );
});

test("without a terminal there is a plain line each 30 seconds, and one for every validation and alarm", () => {
  const out = stream(false);
  let time = 0;
  const progress = createTrainingProgress(out, { label: "refl", steps: 100, now: () => time });
  const base = validation(0, 0, 0);
  progress.onValidation(base, undefined);
  for (let step = 1; step <= 32; step++) {
    time += 2000;
    progress.onStep(update(step));
  }
  const hacked = validation(32, 1, -0.5);
  progress.onValidation(
    hacked,
    judgeValidation(base, { ...hacked, scores: { ...hacked.scores, "clip-score": [-1.5, -0.6, 0.5, 1.4] } }, DEFAULT_GUARDS), // prettier-ignore
  );
  progress.end();
  expect(out.written).toEqual([
    "step 0: the base is validated\n",
    "refl: step 1/100, loss 0.00200, image-reward 0.100\n",
    "refl: step 16/100, loss 0.00200, image-reward 0.850, 2.0 s a step, 2 min 48 s left\n",
    "refl: step 31/100, loss 0.00200, image-reward 2.150, 2.0 s a step, 2 min 18 s left\n",
    expect.stringMatching(/^step 32 against the base: image-reward \+1\.000 ± 0\.000, held out clip-score -0\.555 ± 0\.0\d+, diversity 100 %, divergence 0\.0010, alarm\n$/), // prettier-ignore
    expect.stringMatching(/^step 32: reward hacking: held-out clip-score fell .*\n$/),
  ]);
});

test("on a terminal the status line is rewritten in place, cut to its width, and other lines go above it", () => {
  const out = stream(true);
  let time = 0;
  const dyed = (text: string): string => `<${text}>`;
  const colours = { dim: dyed, green: dyed, yellow: dyed, red: dyed };
  const progress = createTrainingProgress(out, { label: "refl", steps: 100, now: () => time, colours });
  progress.onStep(update(1));
  time += 100; // too soon
  progress.onStep(update(2));
  time += 1000;
  progress.onStep(update(3));
  progress.onWarning("a\nwarning");
  progress.end();
  const [first, second, warning, again, end] = out.written;
  expect(out.written).toHaveLength(5);
  expect(first).toBe("\r\u001b[2Krefl: step 1/100, loss 0.00200, image-reward 0.100");
  expect(second?.slice(5)).toHaveLength(59);
  expect(warning).toBe("\r\u001b[2K<a warning>\n");
  expect(again).toBe(second);
  expect(end).toBe("\n");
});
