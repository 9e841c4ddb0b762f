/** @file Every strategy under a limit of time, of evaluations, under a goal, and with scores that are no numbers, on a tiny Stable Diffusion. */

import { describe, expect, test } from "vitest";
import type { ImageBackend } from "#laurel/backends/contract";
import { resolveRequest } from "#laurel/backends/resolve";
import type { Budget, Strategy, StrategyContext, StrategyEvent } from "#laurel/strategies/contract";
import { STRATEGY_NAMES, type StrategyName } from "#laurel/strategies/names";
import { strategyOf } from "#laurel/strategies/open";
import { parseStrategy } from "#laurel/strategies/settings";
import type { Refiner } from "#laurel/strategies/refine/contract";
import { WorkMeter } from "#laurel/strategies/search/work-meter";
import { intercept } from "#laurel/util/intercept";
import { differentiableBrightness, useTinyBackend } from "./tiny.js";

const STEPS = 5;
const BATCH = 2;
/** Of a picture; guidance takes two a step. */
const EVALUATIONS = 2 * STEPS;
let backend: ImageBackend;
useTinyBackend((opened) => (backend = opened));

const REFINER: Refiner = {
  name: "refine",
  propose: ({ original, round }, count) =>
    Promise.resolve({
      proposals: Array.from({ length: count }, (_, i) => ({ prompt: `${original} ${round} ${i}`, parent: original, edit: "a number" })), // prettier-ignore
      warnings: [],
    }),
};

/** A strategy that begins few pictures at once. */
function strategy(name: StrategyName): Strategy {
  return strategyOf(parseStrategy(name === "noise-gradient" ? "noise-gradient:through=1:from=0.8" : name), REFINER);
}

function context(budget: Budget, change: Partial<StrategyContext> = {}): StrategyContext {
  const asked = { prompt: "a cat", seed: 40, count: budget.candidates, steps: STEPS, guidance: 3, sampler: "ddim", width: 32, height: 32, batch: BATCH }; // prettier-ignore
  const { request } = resolveRequest(backend, { negativePrompt: undefined, ...asked });
  // large beside the gradients of these networks, which are counted as they are
  const meter = new WorkMeter({ evaluation: 1e10, decoding: 4e9, scoring: 1e9, encoding: 4e9 });
  return { backend, reward: differentiableBrightness(), request, budget, meter, ...change };
}

/** A backend whose every step and every group of pictures takes a time, and the clock that goes on by it. */
function timed(perPicture: number): Pick<StrategyContext, "backend" | "now"> {
  let time = 0;
  const model = backend.stepwise!;
  const stepwise = intercept(model, {
    step: (...given) => {
      time += (given[1].length * perPicture) / STEPS;
      return model.step(...given);
    },
  });
  async function* generate(...given: Parameters<ImageBackend["generate"]>) {
    for await (const group of backend.generate(...given)) {
      for (const { evaluations } of group.images) time += (perPicture * evaluations) / EVALUATIONS;
      yield group;
    }
  }
  return { backend: intercept(backend, { stepwise, generate }), now: () => time };
}

async function collect(given: StrategyContext, own: Strategy): Promise<StrategyEvent[]> {
  const events: StrategyEvent[] = [];
  for await (const event of own.run(given)) events.push(event);
  return events;
}

const last = (events: readonly StrategyEvent[]) => {
  const event = events.at(-1);
  if (event?.type !== "done") throw new Error("expected the end");
  return event;
};
const scored = (events: readonly StrategyEvent[]) => events.filter((event) => event.type === "scored");

describe.each(STRATEGY_NAMES)("%s", (name) => {
  test("keeps within a batch of a limit of time, and uses it", async () => {
    const clock = timed(1000);
    const events = await collect(
      context({ candidates: name === "refine" ? 64 : 1000, seconds: 12 }, clock),
      strategy(name),
    );
    expect(last(events).reason).toBe("seconds");
    expect(clock.now!() / 1000).toBeLessThanOrEqual(12 + BATCH);
    expect(clock.now!() / 1000).toBeGreaterThan(6);
    expect(scored(events).length).toBeGreaterThanOrEqual(5);
    expect(scored(events).length).toBeLessThanOrEqual(12 * (name === "img2img-loop" || name === "noise-gradient" ? 3 : 1) + BATCH); // prettier-ignore
  });

  test("keeps to evaluations, to within a batch", async () => {
    const evaluations = 10 * EVALUATIONS;
    const events = await collect(context({ candidates: 40, evaluations }), strategy(name));
    expect(last(events).reason).toBe("evaluations");
    expect(last(events).evaluations).toBeLessThanOrEqual(evaluations + BATCH * EVALUATIONS);
    expect(last(events).ranking.length).toBeGreaterThanOrEqual(4);
  });

  test("ends once enough candidates are good enough", async () => {
    const goal = { score: -2, images: 3 };
    const events = await collect(context({ candidates: 16, until: goal }), strategy(name));
    expect(last(events).reason).toBe("reached");
    expect(scored(events).length).toBeGreaterThanOrEqual(3);
    expect(scored(events).length).toBeLessThan(3 + BATCH + (name === "halving" ? 2 : 0));
  });

  test("keeps the best so far where scores are no numbers: they rank last, with a warning", async () => {
    let scores = 0;
    const reward = differentiableBrightness((score) => (scores++ % 3 === 1 ? Number.NaN : score));
    const events = await collect(context({ candidates: 12 }, { reward }), strategy(name));
    const { ranking } = last(events);
    const finite = ranking.flatMap(({ score }) => (score === null ? [] : [score]));
    expect(finite.length).toBeGreaterThan(1);
    expect(finite.length).toBeLessThan(ranking.length);
    expect(ranking.slice(0, finite.length).map(({ score }) => score)).toEqual(finite.toSorted((a, b) => b - a));
    const warnings = events.flatMap((event) => (event.type === "warning" ? [event.message] : []));
    expect(warnings.filter((message) => /: expected a finite score, got .*; it ranks last$/.test(message))).toHaveLength(ranking.length - finite.length); // prettier-ignore
  });

  test("goes to its end where no score is a number", async () => {
    const events = await collect(
      context({ candidates: 12 }, { reward: differentiableBrightness(() => Number.NaN) }),
      strategy(name),
    );
    expect(last(events).ranking.length).toBeGreaterThan(1);
    expect(last(events).ranking.every(({ score }) => score === null)).toBe(true);
  });
});

test.each([
  ["particles", 2, "strategy particles: expected a budget for two particles, at least 3 candidates or 30 evaluations, got 2 candidates"], // prettier-ignore
  ["neighbours", 1, "strategy neighbours: expected a budget for two pictures, at least 2 candidates or 20 evaluations, got 1 candidate"], // prettier-ignore
  ["noise-gradient", 1, "strategy noise-gradient: expected a budget for a picture and a step of the ascent, at least 2 candidates"], // prettier-ignore
  ["img2img-loop", 1, "strategy img2img-loop: expected a budget for 2 candidates or more, got 1"],
] as const)("%s of %i refuses, before it draws and when it is run", async (name, candidates, message) => {
  const given = context({ candidates });
  await expect(strategy(name).check!(given)).rejects.toThrow(message);
  await expect(collect(given, strategy(name))).rejects.toThrow(message);
  await expect(strategy(name).check!(context({ candidates: 8 }))).resolves.toBeUndefined();
});

test("too few evaluations are told in evaluations", async () => {
  const given = context({ candidates: 16, evaluations: 9 });
  await expect(strategy("halving").check!(given)).rejects.toThrow(
    "strategy halving: expected a budget for a picture, at least 1 candidates or 10 evaluations, got 9 evaluations",
  );
});

test.each(["max", "add", "diff"])("particles by %s go on from previews that have no score", async (potential) => {
  let scores = 0;
  const reward = differentiableBrightness((score) => (scores++ % 2 === 0 ? Number.NaN : score));
  const own = strategyOf(parseStrategy(`particles:potential=${potential}:threshold=1`));
  const events = await collect(context({ candidates: 8 }, { reward }), own);
  const found = scored(events);
  expect(found.length).toBeGreaterThan(3);
  expect(new Set(found.map((event) => Buffer.from(event.candidate.image.data).toString("base64"))).size).toBe(found.length); // prettier-ignore
});
