/** @file Strategies and budgets as text, and what strategies need. */

import { describe, expect, test } from "vitest";
import { parseBudget } from "#laurel/strategies/budget";
import { expectMeans } from "#laurel/strategies/check";
import { STRATEGY_NAMES, strategiesAnywhere, strategyNeeds } from "#laurel/strategies/names";
import { strategyOf } from "#laurel/strategies/open";
import { parseStrategy, printStrategy, strategyKeys, type StrategySettings } from "#laurel/strategies/settings";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";

describe("a strategy as text", () => {
  test.each<[string, StrategySettings]>([
    ["best-of-n", { name: "best-of-n" }],
    [" halving ", { name: "halving" }],
    ["particles:lambda=3:eta=0.5", { name: "particles", lambda: 3, eta: 0.5 }],
    ["particles:from=.3:times=2:potential=diff", { name: "particles", potential: "diff", schedule: { from: 0.3, times: 2 } }], // prettier-ignore
    ["neighbours:perRound=8:radius=1e-1", { name: "neighbours", perRound: 8, radius: 0.1 }],
    ["noise-gradient:explore=0:learningRate=2", { name: "noise-gradient", explore: 0, learningRate: 2 }],
    ["img2img-loop:from=0.9:to=0.2:rounds=5", { name: "img2img-loop", rounds: 5, strength: { from: 0.9, to: 0.2 } }],
    // a path of another system, and one that reads as a number
    ["refine:vocabulary=C:\\words.yaml:tokens=500", { name: "refine", vocabulary: "C:\\words.yaml", tokens: 500 }],
    ["refine:vocabulary=5", { name: "refine", vocabulary: "5" }],
  ])("%s", (text, settings) => {
    expect(parseStrategy(text)).toEqual(settings);
    expect(parseStrategy(printStrategy(settings))).toEqual(settings);
  });

  test.each([
    ["", 'strategy: expected best-of-n, halving, particles, neighbours, noise-gradient, img2img-loop, refine, got ""'],
    ["partcles:lambda=3", 'got "partcles"; did you mean particles?'],
    ["particles:lamda=3", 'strategy particles: expected potential, lambda, from, to, times, threshold, eta, got "lamda"; did you mean lambda?'], // prettier-ignore
    ["halving:keep=2", 'strategy halving: expected no options, got "keep"'],
    ["particles:lambda", 'strategy particles: expected key=value, got "lambda"'],
    ["particles:", 'strategy particles: expected key=value, got ""'],
    ["particles:lambda=3:lambda=4", "strategy particles: expected lambda once, got it again"],
    ["particles:lambda=0:eta=2", "strategy particles: lambda: expected more than 0, got 0; eta: expected at most 1, got 2"], // prettier-ignore
    ["particles:lambda=much", 'strategy particles: lambda: expected a number, got "much"'],
    ["particles:potential=dif", 'strategy particles: potential: expected one of max, add, diff, got "dif"; did you mean diff?'], // prettier-ignore
    ["particles:from=0.6:to=0.4", "strategy particles: schedule.to: expected at least from, got 0.4"],
    ["neighbours:perRound=2.5", "strategy neighbours: perRound: expected a whole number, got 2.5"],
    ["neighbours:expore=0.4:raduis=1", 'strategy neighbours: expected explore, perRound, radius, got "expore"; did you mean explore?; strategy neighbours: expected explore, perRound, radius, got "raduis"; did you mean radius?'], // prettier-ignore
    ["img2img-loop:from=0.3:to=0.4", "strategy img2img-loop: strength.to: expected at most from, got 0.4"],
  ])("%j is refused", (text, message) => {
    expect(() => parseStrategy(text)).toThrow(message);
  });

  test("of every name is one, with keys that no other option of it has", () => {
    for (const name of STRATEGY_NAMES) {
      const keys = strategyKeys(name);
      expect(new Set(keys).size).toBe(keys.length);
      if (name !== "refine") expect(strategyOf(parseStrategy(name)).name).toBe(name);
    }
    expect(() => strategyOf({ name: "refine" })).toThrow("strategy refine: expected a refiner, got none");
    const refiner = { name: "evolve", propose: () => Promise.resolve({ proposals: [], warnings: [] }) };
    expect(strategyOf({ name: "refine" }, refiner).name).toBe("evolve");
  });
});

test("a budget as text", () => {
  expect(parseBudget("64")).toEqual({ candidates: 64 });
  expect(parseBudget("evals=1280")).toEqual({ evaluations: 1280 });
  expect(["60s", "1.5m", "2h"].map((text) => parseBudget(text).seconds)).toEqual([60, 90, 7200]);
  for (const text of ["", "0", "-3", "6.5", "evals=0", "evals=", "0s", "s", "5 s", "5d", "1e9", "evals=1s"]) {
    const got = JSON.stringify(text);
    expect(() => parseBudget(text, "--budget"), text).toThrow(
      `--budget: expected a number of candidates (64), of evaluations (evals=1280) or a time (60s, 5m, 1h), got ${got}`,
    );
  }
});

describe("what strategies need", () => {
  const reward = createBrightnessReward();
  const painter = createProceduralBackend();

  test("is said by name, and refused where it lacks", () => {
    expect(strategiesAnywhere()).toEqual(["best-of-n", "img2img-loop", "refine"]);
    for (const name of STRATEGY_NAMES.filter((one) => strategyNeeds(one).stepwise))
      expect(() => expectMeans(name, { backend: painter, reward })).toThrow(
        /^strategy: expected .*best-of-n.* for the backend procedural, whose pictures cannot be followed step by step, got /,
      );
    expect(() => expectMeans("refine", { backend: painter, reward })).not.toThrow();
    expect(() => expectMeans("refine", { backend: painter, reward: undefined })).toThrow("expected best-of-n where no reward scores, got refine"); // prettier-ignore
    expect(() => expectMeans("best-of-n", { backend: painter, reward: undefined })).not.toThrow();
    const words = { ...painter, capabilities: { ...painter.capabilities, imageToImage: false } };
    expect(() => expectMeans("img2img-loop", { backend: words, reward })).toThrow(
      "strategy: expected best-of-n or refine for the backend procedural, which starts from no picture, got img2img-loop",
    );
  });

  test("a reward without a gradient is none for noise-gradient", () => {
    const followed = { ...painter, stepwise: {} as never };
    expect(() => expectMeans("noise-gradient", { backend: followed, reward })).toThrow(
      "strategy: expected a strategy without gradients for the reward brightness, which has none, got noise-gradient",
    );
    expect(() => expectMeans("halving", { backend: followed, reward })).not.toThrow();
  });

  test("evaluations that a server does not tell are no budget", () => {
    const server = { ...painter, capabilities: { ...painter.capabilities, concurrency: 2 } };
    expect(() => expectMeans("best-of-n", { backend: server, reward }, { evaluations: 50 })).toThrow(
      "budget: expected candidates or a time for the backend procedural, whose evaluations nobody counts, got 50 evaluations",
    );
    expect(() => expectMeans("best-of-n", { backend: server, reward }, { seconds: 5 })).not.toThrow();
  });
});
