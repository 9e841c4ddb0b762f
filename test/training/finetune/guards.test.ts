import { expect, test } from "vitest";
import {
  DEFAULT_GUARDS,
  guardConsequences,
  judgeValidation,
  keptCheckpoint,
  NO_GUARDS,
} from "#laurel/training/finetune/guards";
import { type ValidationRecord, validationRecordSchema } from "#laurel/training/finetune/records";

/** A validation of eight pictures: what is added to the base's scores, and the diversity. */
function validation(step: number, guide: number[], heldOut: number[], change: Partial<ValidationRecord> = {}) {
  const base = [0.1, -0.4, 0.8, 0.3, -0.9, 0.5, 0.0, 0.4];
  const plus = (scale: number, added: number[]): number[] =>
    base.map((value, i) => scale * value + (added[i % added.length] ?? 0));
  return {
    step,
    scores: { "image-reward": plus(1, guide), "clip-score": plus(0.1, heldOut) },
    guide: ["image-reward"],
    heldOut: ["clip-score"],
    diversity: [2, 1.5, 2.5, 2],
    divergence: 0.001,
    alarm: null,
    ...change,
  } satisfies ValidationRecord;
}
const BASE = validation(0, [0], [0]);

test("a held-out reward down by two standard errors while the guide rises is the hacking alarm, with the numbers", () => {
  // differences -0.03 and -0.01 in turn: mean -0.02, standard deviation 0.01 sqrt(8/7), standard error 0.00378: 5.3 of them
  const verdict = judgeValidation(BASE, validation(40, [0.5, 0.7], [-0.03, -0.01]), DEFAULT_GUARDS);
  expect(verdict.heldOut[0]?.difference).toBeCloseTo(-0.02, 12);
  expect(verdict.heldOut[0]?.standardError).toBeCloseTo(0.01 / Math.sqrt(7), 12);
  expect(verdict.passes).toBe(false);
  expect(verdict.alarm).toEqual({
    kind: "hacking",
    text: "step 40: reward hacking: held-out clip-score fell from 0.010 to -0.010 (-0.020, 5.3 standard errors of 8 pairs) while image-reward rose from 0.100 to 0.700 (+0.600, 15.9 standard errors of 8 pairs)",
  });
});

test("the alarm needs the paired differences, not the means: a fall within their noise is none", () => {
  // the same mean fall of 0.02, with differences of -0.1 and +0.06: 0.7 standard errors
  const noisy = judgeValidation(BASE, validation(40, [0.6], [-0.1, 0.06]), DEFAULT_GUARDS);
  expect(noisy.heldOut[0]?.difference).toBeCloseTo(-0.02, 12);
  expect(noisy.alarm).toBeNull();
  expect(noisy.passes).toBe(true);
  // 1.9 and 2.1 standard errors are told apart by the limit: spread / sqrt(8) with differences m - 1 and m + 1
  const error = 1 / Math.sqrt(7);
  for (const [errors, falls] of [
    [1.9, false],
    [2.1, true],
  ] as const) {
    const record = validation(40, [0.6], [-errors * error - 1, -errors * error + 1]);
    expect(judgeValidation(BASE, record, DEFAULT_GUARDS).alarm !== null).toBe(falls);
  }
});

test("a held-out reward that falls with the guide is a warning, and the checkpoint is not kept", () => {
  const verdict = judgeValidation(BASE, validation(5, [-0.2, -0.1], [-0.03, -0.01]), DEFAULT_GUARDS);
  expect(verdict).toMatchObject({ alarm: null, passes: false, guideRises: false });
  expect(verdict.warnings[0]).toContain("the guide does not rise");
});

test("pictures of one prompt count as one pair", () => {
  // two prompts with four pictures each: two differences, of -0.03 and -0.01
  const record = validation(40, [0.5], [-0.03, -0.03, -0.03, -0.03, -0.01, -0.01, -0.01, -0.01]);
  const prompts = ["a", "a", "a", "a", "b", "b", "b", "b"];
  const grouped = judgeValidation(BASE, record, DEFAULT_GUARDS, prompts).heldOut[0];
  expect(grouped?.pairs).toBe(2);
  expect(grouped?.standardError).toBeCloseTo(0.01, 12);
  expect(judgeValidation(BASE, record, DEFAULT_GUARDS).heldOut[0]?.pairs).toBe(8);
});

test("diversity below its share of the base's is an alarm of its own; divergence is a warning", () => {
  const record = validation(60, [0.5], [0], { diversity: [1.5, 1, 2, 1.5], divergence: 0.2 });
  const verdict = judgeValidation(BASE, record, DEFAULT_GUARDS);
  expect(verdict.diversity).toEqual({ base: 2, now: 1.5, share: 0.75 });
  expect(verdict.alarm).toEqual({
    kind: "diversity",
    text: "step 60: pictures become alike: diversity is 1.50 bits, 75 % of the base's 2.00, below the floor of 80 %",
  });
  expect(verdict.warnings).toEqual([
    "step 60: the noise predictions differ from the base's by 0.20 (mean square), above the limit of 0.05",
  ]);
  expect(judgeValidation(BASE, record, { ...DEFAULT_GUARDS, diversityFloor: 0.7 }).alarm).toBeNull();
  const both = judgeValidation(BASE, { ...record, ...validation(60, [0.5], [-0.1]), diversity: [0, 0, 0, 0] }, DEFAULT_GUARDS); // prettier-ignore
  expect(both.alarm?.kind).toBe("hacking");
  expect(both.warnings[0]).toContain("pictures become alike");
});

test("pictures without a score are left out of the pairs; a reward without any score does not pass", () => {
  const some = validation(10, [Number.NaN, 0.5, 0.5, 0.5], [0]);
  expect(judgeValidation(BASE, some, DEFAULT_GUARDS).guide[0]).toMatchObject({ pairs: 6 });
  const none = judgeValidation(BASE, validation(10, [0.5], [Number.NaN]), DEFAULT_GUARDS);
  expect(none).toMatchObject({ passes: false, alarm: null });
  expect(none.warnings).toEqual(["step 10: clip-score: expected scores, got none that is a number"]);
});

test("the highest guide among those that pass is kept; the base when there is none", () => {
  const judged = (...records: ValidationRecord[]) =>
    records.map((record) => judgeValidation(BASE, record, DEFAULT_GUARDS));
  const good = validation(10, [0.3], [0.01]);
  const better = validation(20, [0.5], [0.02]);
  const hacked = validation(30, [2], [-0.3]);
  const worse = validation(10, [-0.1], [0.01]);
  expect(keptCheckpoint(judged(good, better, hacked), DEFAULT_GUARDS)).toEqual({
    step: 20,
    reason: "step 20: the highest guide (image-reward +0.500) of the checkpoints that pass the guards (2 of 3)",
  });
  expect(keptCheckpoint(judged(hacked), DEFAULT_GUARDS)).toEqual({
    step: 0,
    reason: "the base model: no checkpoint passes the guards",
  });
  expect(keptCheckpoint(judged(worse, hacked), DEFAULT_GUARDS)).toMatchObject({ step: 0 });
  expect(keptCheckpoint([], DEFAULT_GUARDS)).toMatchObject({ step: 0 });
  const unguarded = [good, hacked].map((record) => judgeValidation(BASE, record, NO_GUARDS));
  expect(unguarded.map(({ alarm }) => alarm)).toEqual([null, null]);
  expect(keptCheckpoint(unguarded, NO_GUARDS)).toMatchObject({ step: 30 });
});

test("every guard that is off has a stated consequence, and so has a missing held-out reward", () => {
  expect(guardConsequences(DEFAULT_GUARDS, ["clip-score"])).toEqual([]);
  expect(guardConsequences(NO_GUARDS, [])).toHaveLength(4);
  expect(guardConsequences(DEFAULT_GUARDS, [])).toEqual([
    expect.stringContaining("without the held-out reward, reward hacking is not noticed"),
  ]);
});

test("a score that is no number survives the file as null", () => {
  const written = JSON.stringify(validation(1, [Number.NaN], [0]));
  const read = validationRecordSchema.parse(JSON.parse(written));
  expect(read.scores["image-reward"]?.every(Number.isNaN)).toBe(true);
  expect(read.scores["clip-score"]?.[1]).toBeCloseTo(-0.04, 12);
});
