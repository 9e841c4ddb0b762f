/** @file Comparisons of strategies, on a tiny Stable Diffusion, by rewards that need no network. */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ImageBackend } from "#laurel/backends/contract";
import { createLocalBackend } from "#laurel/backends/local";
import { resolveRequest } from "#laurel/backends/resolve";
import { openStableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { UsageError } from "#laurel/errors";
import { parseCompared } from "#laurel/library/compared-strategies";
import { comparedMetrics, measureStrategies, type StrategyMeasurement } from "#laurel/library/compare-strategies";
import { metered } from "#laurel/library/metered";
import { WatchedReward } from "#laurel/rewards/held-out";
import { type Device, openDevice } from "#laurel/runtime/device";
import { STRATEGY_NAMES } from "#laurel/strategies/names";
import { strategyKeys } from "#laurel/strategies/settings";
import { Calibration } from "#laurel/strategies/search/calibration";
import { WorkMeter } from "#laurel/strategies/search/work-meter";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { FOLDER } from "../diffusion/tiny-model.js";

let device: Device;
let backend: ImageBackend;
let directory: string;
beforeAll(async () => {
  device = openDevice({ threads: 1 });
  backend = createLocalBackend(await openStableDiffusion(FOLDER, device));
});
afterAll(() => device.close());

const watching = { ...createBrightnessReward(), name: "watching", model: { name: "watching", path: undefined } };
const reward = new WatchedReward(createBrightnessReward(), [watching]);

/** Two prompts at the compute of two and four pictures, in a folder of its own. */
async function measurement(
  names: readonly string[],
  change: Partial<StrategyMeasurement> = {},
): Promise<StrategyMeasurement> {
  directory = await mkdtemp(join(tmpdir(), "laurel-compare-"));
  const models = { backend, reward };
  return {
    models,
    strategies: parseCompared(names, models),
    budgets: [2, 4],
    prompts: ["a cat", "a dog"],
    seeds: 1,
    settings: { steps: 4, guidance: 3, sampler: "ddim", width: 32, height: 32 },
    directory,
    ...change,
  };
}

describe("trials", () => {
  const names = ["best-of-n", "neighbours", "halving", "best-of-n:steps=2"];

  test("are paired, keep to their compute, and count all of it", async () => {
    const given = await measurement(names);
    const trials = await measureStrategies(given);
    // 2 prompts, at 2 pictures from two seeds and at 4 from one
    expect(trials).toHaveLength(names.length * 2 * 3);
    const plain = trials.filter(({ strategy }) => strategy === "best-of-n");
    for (const one of trials) {
      const pair = plain.find((base) => base.index === one.index && base.budget === one.budget && base.repeat === one.repeat); // prettier-ignore
      expect(one.seed).toBe(pair?.seed);
      expect(one.compute).toBeLessThanOrEqual(one.budget * (1 + 1e-9));
      const work = Object.values(one.work).reduce((sum, share) => sum + share, 0);
      expect(work).toBeCloseTo(one.compute, 9);
      // the held-out reward is the same as the guide, but is asked of the chosen picture alone
      expect(one.metrics["watching"]).toBe(one.metrics["guide"]);
      expect(one.curve.at(-1)!.guide).toBe(one.metrics["guide"]);
    }
    for (const { compute, budget, pictures, evaluations } of plain) {
      expect(compute).toBeCloseTo(budget, 9);
      expect([pictures, evaluations]).toEqual([budget, budget * 4 * 2]);
    }
    const fewer = trials.filter(({ strategy }) => strategy === "best-of-n:steps=2");
    for (const { pictures, budget, evaluations } of fewer) {
      expect(pictures).toBeGreaterThan(budget);
      expect(evaluations).toBe(pictures * 2 * 2);
    }
    const seeds = plain.map(({ seed }) => seed);
    expect(new Set(seeds).size).toBe(seeds.length);
    await rm(directory, { recursive: true });
  });

  test("that are there are not made again, and give what a later search learns from them", async () => {
    const given = await measurement(["best-of-n", "halving"], { budgets: [6], prompts: ["a cat", "a dog", "a cow"] });
    const whole = await measureStrategies(given);
    const file = join(directory, "trials.jsonl");
    const lines = (await readFile(file, "utf8")).trimEnd().split("\n");
    expect(whole.some((one) => "observed" in one && one.observed !== undefined)).toBe(true);
    // all but the last, and a torn one
    await writeFile(file, `${lines.slice(0, -1).join("\n")}\n${lines.at(-1)!.slice(0, 30)}`);
    const made: string[] = [];
    const counting = { ...given, programMs: () => (made.push("asked"), 0) };
    const again = await measureStrategies(counting);
    expect(made).toHaveLength(2);
    const timeless = (trials: typeof whole) => trials.map((one) => ({ ...one, seconds: 0, outsideSeconds: 0 }));
    expect(timeless(again)).toEqual(timeless(whole));
    await rm(directory, { recursive: true });
  });

  test("of other settings stand beside them", async () => {
    const given = await measurement(["best-of-n"], { budgets: [2], prompts: ["a cat"] });
    const first = await measureStrategies(given);
    const second = await measureStrategies({ ...given, settings: { ...given.settings, steps: 3 } });
    expect(second[0]!.evaluations).toBeLessThan(first[0]!.evaluations);
    expect(await measureStrategies(given)).toEqual(first);
    await rm(directory, { recursive: true });
  });

  test("count pictures where a backend cannot be followed", async () => {
    const remote = createProceduralBackend();
    const models = { backend: remote, reward };
    const given = await measurement(["best-of-n"], { models, strategies: parseCompared(["best-of-n"], models) });
    const trials = await measureStrategies({ ...given, settings: {} });
    for (const { compute, budget } of trials) expect(compute).toBe(budget);
    await rm(directory, { recursive: true });
  });
});

test.each(["particles:eta=1", "neighbours", "halving", "img2img-loop"])(
  "the meter outside counts what %s counts",
  async (name) => {
    const costs = { evaluation: 7, decoding: 3, scoring: 2, encoding: 5 };
    const [outside, inside] = [new WorkMeter(costs), new WorkMeter(costs)];
    const models = metered({ backend, reward: createBrightnessReward() }, outside);
    const { strategy } = await parseCompared([name], models)[0]!.open(new Calibration([2, 3]));
    const asked = { prompt: "a cat", seed: 3, count: 6, batch: 3, steps: 4, guidance: 3, sampler: "ddim", width: 32, height: 32 }; // prettier-ignore
    const { request } = resolveRequest(backend, { negativePrompt: undefined, ...asked });
    for await (const event of strategy.run({ ...models, request, budget: { candidates: 6 }, meter: inside }))
      void event;
    expect(outside.operations).toBeGreaterThan(0);
    expect(outside.operations).toBe(inside.operations);
    // pictures that go back in are encoded once, however often they are asked for
    if (name === "img2img-loop") expect(outside.counted("encoding")).toBeGreaterThan(0);
  },
);

test("no strategy has an option that a comparison takes for the sampling", () => {
  const keys = STRATEGY_NAMES.flatMap((name) => strategyKeys(name));
  for (const key of ["steps", "guidance", "sampler"]) expect(keys).not.toContain(key);
});

test("the metrics name the truth first, then what chose", () => {
  const kinds = comparedMetrics({ models: { backend, reward }, oracle: true }).map(({ key }) => key);
  expect(kinds).toEqual(["holds", "facts", "guide", "watching", "diversity"]);
});

describe("what cannot be compared is refused", () => {
  test.each([
    [{ budgets: [0] }, /budgets: expected whole numbers of pictures from 1 on, got 0/],
    [{ budgets: [] }, /budgets: .* got none/],
    [{ prompts: [] }, /prompts: expected one or more/],
    [{ seeds: 0 }, /seeds: expected a whole number from 1 on, got 0/],
    [{ oracle: true }, /a cat/],
  ])("%j", async (change, message) => {
    await expect(measureStrategies(await measurement(["best-of-n"], change))).rejects.toThrow(message);
  });

  test("a strategy that is named twice, unknown, or has a setting that is none", async () => {
    await expect(measureStrategies(await measurement(["best-of-n", "best-of-n"]))).rejects.toThrow(/each once, got best-of-n twice/); // prettier-ignore
    expect(() => parseCompared(["worst-of-n"], { backend, reward })).toThrow(UsageError);
    expect(() => parseCompared(["best-of-n:steps=few"], { backend, reward })).toThrow(/expected a number for steps, got "few"/); // prettier-ignore
  });

  test("a budget that is too small for a strategy, which is left out there", async () => {
    const told: string[] = [];
    const some = { budgets: [1, 2], prompts: ["a cat"], onWarning: (message: string) => told.push(message) };
    const trials = await measureStrategies(await measurement(["best-of-n", "neighbours"], some));
    expect(trials.map(({ strategy, budget }) => [strategy, budget])).toEqual([
      ...[["best-of-n", 1], ["best-of-n", 1], ["best-of-n", 2]],
      ["neighbours", 2],
    ]); // prettier-ignore
    expect(told).toEqual([
      expect.stringMatching(/^neighbours at 1: strategy neighbours: expected .*; left out there$/),
    ]);
  });
});
