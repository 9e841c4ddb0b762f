/** @file The ascent on the noise, on a tiny Stable Diffusion, by a reward whose network is the mean of the pixels. */

import { describe, expect, test } from "vitest";
import type { ImageBackend, StepwiseModel } from "#laurel/backends/contract";
import { resolveRequest } from "#laurel/backends/resolve";
import type { LatentState } from "#laurel/diffusion/latents";
import { WatchedReward } from "#laurel/rewards/held-out";
import type { Budget, StrategyContext } from "#laurel/strategies/contract";
import { chiSlope, moveUphill } from "#laurel/strategies/search/noise-ascent";
import { noiseGradient } from "#laurel/strategies/search/noise-gradient";
import { WorkMeter } from "#laurel/strategies/search/work-meter";
import { intercept } from "#laurel/util/intercept";
import { createBrightnessReward } from "../../backends/brightness-reward.js";
import { candidates, collect, differentiableBrightness, scores, useTinyBackend, warnings } from "../tiny.js";

const STEPS = 4;
const SEED = 40;
let backend: ImageBackend;
useTinyBackend((opened) => (backend = opened));

function context(
  budget: Budget,
  change: Partial<StrategyContext> = {},
): StrategyContext & { readonly meter: WorkMeter } {
  const asked = { prompt: "a cat", seed: SEED, count: 4, steps: STEPS, guidance: 3, sampler: "dpmpp-2m", width: 32, height: 32, batch: 2 }; // prettier-ignore
  const { request } = resolveRequest(backend, { negativePrompt: undefined, ...asked });
  // an evaluation is cheap beside its gradient, so that a budget of few pictures pays for some steps
  const meter = change.meter ?? new WorkMeter({ evaluation: 1e10, decoding: 1e9, scoring: 1e8 });
  return { backend, reward: differentiableBrightness(), request, budget, ...change, meter };
}

/** The backend with some of its stepwise calls replaced. */
function withSteps(change: (model: StepwiseModel) => Partial<StepwiseModel>): ImageBackend {
  const model = backend.stepwise!;
  return intercept(backend, { stepwise: intercept(model, change(model)) });
}

describe("the ascent", () => {
  test("begins at the best of what was drawn plainly, and climbs", async () => {
    const given = context({ candidates: 8 });
    const events = await collect(noiseGradient({ explore: 0.5, from: 0, learningRate: 0.02, through: STEPS }), given);
    const found = candidates(events);
    const [own, lineages] = [scores(events) as number[], found.map(({ lineage }) => lineage)];
    const first = own.slice(0, 4).indexOf(Math.max(...own.slice(0, 4)));
    const climbed = lineages.filter(({ round }) => round > 0);
    expect(lineages.slice(0, 4).every(({ parent, round }) => parent === null && round === 0)).toBe(true);
    expect(climbed.map(({ round }) => round)).toEqual(climbed.map((_, i) => i + 1));
    expect(climbed.length).toBeGreaterThan(2);
    expect(climbed[0]!.parent).toBe(first);
    expect(own[4]!).toBeGreaterThan(own[first]!);
    // a step that led down is taken back: each goes on from the best before it
    found
      .slice(4, 4 + climbed.length)
      .forEach(({ index, lineage }) => expect(lineage.parent).toBe(own.indexOf(Math.max(...own.slice(0, index)))));
    expect(Math.max(...own)).toBeGreaterThan(own[first]! + 0.01);
    expect(found.slice(0, 4).map(({ seed }) => seed)).toEqual([40, 41, 42, 43]);
    expect(found[4]!.seed).toBe(found[first]!.seed);
    expect(events.at(-1)).toMatchObject({ type: "done", ranking: [{ score: Math.max(...own) }, ...new Array(own.length - 1).fill({})] }); // prettier-ignore
  });

  test("as published follows its path up and down, from the first seed", async () => {
    const published = {
      explore: 0,
      from: 0,
      momentum: 0.9,
      learningRate: 0.01,
      through: STEPS,
      patience: 50,
      iterations: 50,
    };
    const events = await collect(noiseGradient(published), context({ candidates: 6 }));
    const climbed = candidates(events).filter(({ lineage }) => lineage.round > 0);
    expect(climbed.length).toBeGreaterThan(2);
    expect(climbed.map(({ lineage }) => lineage.parent)).toEqual(climbed.map(({ index }) => index - 1));
    expect(climbed.every(({ seed }) => seed === SEED)).toBe(true);
  });

  test("spends what it says and no more, and the rest on plain pictures", async () => {
    const calls = { evaluation: 0, decoding: 0, scoringGradient: 0, evaluationGradient: 0 };
    const counting = withSteps((model) => ({
      step: (...given) => {
        calls.evaluation += 2 * given[1].length;
        return model.step(...given);
      },
      decode: (...given) => {
        calls.decoding += given[1].length;
        return model.decode(...given);
      },
      scoreGradient: (...given) => {
        calls.scoringGradient += given[1].length;
        return model.scoreGradient(...given);
      },
      pullBack: (...given) => {
        if (given[3]?.through !== false) calls.evaluationGradient += 2 * given[1].length;
        return model.pullBack(...given);
      },
    }));
    for (const options of [{}, { from: 0, through: 2 }, { from: 0.5, through: 0, explore: 0.2 }]) {
      Object.assign(calls, { evaluation: 0, decoding: 0, scoringGradient: 0, evaluationGradient: 0 });
      const given = context({ candidates: 5 }, { backend: counting });
      const events = await collect(noiseGradient(options), given);
      const { meter } = given;
      for (const kind of ["evaluation", "decoding", "scoringGradient", "evaluationGradient"] as const)
        expect([kind, meter.counted(kind)]).toEqual([kind, calls[kind]]);
      expect(meter.counted("scoring")).toBe(candidates(events).length);
      expect(calls.scoringGradient).toBeGreaterThan(0);
      const plain = 2 * STEPS * 1e10 + 1e9 + 1e8;
      expect(meter.operations).toBeLessThanOrEqual(5 * plain * (1 + 1e-9));
      expect(meter.operations).toBeGreaterThan(4 * plain);
    }
  });

  test("goes back to the best where a score is lost, and draws plainly where the gradient is", async () => {
    let calls = 0;
    const losing = differentiableBrightness((score) => (++calls === 4 ? Number.NaN : score));
    const settings = { explore: 0.4, from: 0, learningRate: 0.02, iterations: 4 };
    const lost = await collect(noiseGradient(settings), context({ candidates: 8 }, { reward: losing }));
    const found = candidates(lost);
    expect(scores(lost)[3]).toBe(null);
    expect(found[3]!.lineage.parent).toBe(found[4]!.lineage.parent);
    expect(warnings(lost).join()).toContain("expected a finite score, got none");

    const blind = withSteps((model) => ({
      scoreGradient: async (...given) =>
        (await model.scoreGradient(...given)).map((one) => ({ ...one, gradient: one.gradient.fill(Number.NaN) })),
    }));
    const events = await collect(noiseGradient(settings), context({ candidates: 5 }, { backend: blind }));
    expect(warnings(events).join()).toMatch(/expected a finite gradient at candidate [01], got none; the ascent ends/);
    expect(candidates(events).map(({ seed }) => seed)).toEqual([40, 41, 42, 43]);
    expect(events.at(-1)!.type).toBe("done");
  });

  test("takes no more steps than it is told, and draws plainly before them instead", async () => {
    const events = await collect(noiseGradient({ explore: 0.1, iterations: 1 }), context({ candidates: 8 }));
    const found = candidates(events);
    expect(found.filter(({ lineage }) => lineage.round > 0)).toHaveLength(1);
    expect(found.findIndex(({ lineage }) => lineage.round > 0)).toBeGreaterThan(4);
  });

  test("of a limited time begins at a batch that tells how much there is", async () => {
    let now = 0;
    const slow = withSteps((model) => ({
      step: (...given) => {
        now += 25;
        return model.step(...given);
      },
    }));
    const given = context({ candidates: 100, seconds: 1 }, { backend: slow, now: () => now });
    const events = await collect(noiseGradient({ iterations: 100 }), given);
    const found = candidates(events);
    expect(found.slice(0, 2).map(({ seed }) => seed)).toEqual([40, 41]);
    expect(found.length).toBeLessThan(100);
    expect(new Set(found.map(({ index }) => index)).size).toBe(found.length);
    expect(found.some(({ lineage }) => lineage.round > 0)).toBe(true);
  });

  test("is made again when it is resumed, and tells only what is new", async () => {
    const settings = { explore: 0.4, from: 0.5 };
    const whole = await collect(noiseGradient(settings), context({ candidates: 5 }));
    const own = scores(whole);
    const finished = candidates(whole).slice(0, 3).map(({ index, seed }, i) => ({ index, seed, score: own[i]! })); // prettier-ignore
    const rest = await collect(noiseGradient(settings), context({ candidates: 5 }, { finished }));
    expect(candidates(rest).map(({ index }) => index)).toEqual(candidates(whole).slice(3).map(({ index }) => index)); // prettier-ignore
    expect(candidates(rest).map(({ image }) => image)).toEqual(candidates(whole).slice(3).map(({ image }) => image)); // prettier-ignore
    expect(rest.at(-1)).toEqual(whole.at(-1));
  });
});

describe("needs", () => {
  test("a reward with gradients, watched or not", async () => {
    const blind = context({ candidates: 4 }, { reward: createBrightnessReward() });
    await expect(collect(noiseGradient(), blind)).rejects.toThrow("strategy noise-gradient: expected a reward with gradients, which image-reward and clip-score have, got brightness"); // prettier-ignore
    const watched = new WatchedReward(differentiableBrightness(), []);
    expect(candidates(await collect(noiseGradient(), context({ candidates: 4 }, { reward: watched }))).length).toBeGreaterThan(2); // prettier-ignore
  });

  test("a budget for a picture and a step", async () => {
    await expect(collect(noiseGradient(), context({ candidates: 1 }))).rejects.toThrow("strategy noise-gradient: expected a budget for a picture and a step of the ascent, at least 2 candidates or"); // prettier-ignore
    await expect(noiseGradient().check!(context({ candidates: 1 }))).rejects.toThrow("at least 2 candidates or");
    expect(
      candidates(await collect(noiseGradient({ explore: 0.9, iterations: 1 }), context({ candidates: 2 }))),
    ).toHaveLength(2);
  });

  test("settings in their ranges", () => {
    expect(() => noiseGradient({ explore: 1, through: 1.5, clip: 0, momentum: -1 })).toThrow("noise-gradient: explore: expected a share from 0, below 1, got 1; through: expected a whole number from 0 on, got 1.5; clip: expected a number above 0, got 0; momentum: expected a share from 0, below 1, got -1"); // prettier-ignore
  });
});

describe("a step uphill", () => {
  const state = { latents: Float32Array.of(3, 0, 4) } as unknown as LatentState;
  const settings = { learningRate: 0.1, clip: 0.5, momentum: 0.5, regulariser: 0.25, noise: undefined };

  test("is as long as its share of the latents along a clipped gradient, shorter along a smaller one", () => {
    const { state: far, velocity } = moveUphill(state, Float32Array.of(0, 8, 0), undefined, { ...settings, momentum: 0 }); // prettier-ignore
    expect([...far.latents]).toEqual([3, expect.closeTo(0.5, 6), 4]);
    expect([...velocity]).toEqual([0, 0.5, 0]);
    const near = moveUphill(state, Float32Array.of(0, 0.1, 0), undefined, { ...settings, momentum: 0 });
    expect([...near.state.latents]).toEqual([3, expect.closeTo(0.1, 6), 4]);
  });

  test("has Nesterov's momentum as PyTorch's SGD", () => {
    // v = 0.5 * 0.2 + 0.1; x += (0.1 * 5 / 0.5) * (0.1 + 0.5 v)
    const moved = moveUphill(state, Float32Array.of(0, 0.1, 0), Float64Array.of(0, 0.2, 0), settings);
    expect(moved.velocity[1]).toBeCloseTo(0.2, 6);
    expect(moved.state.latents[1]).toBeCloseTo(0.2, 6);
  });

  test("keeps noise as long as noise is, in units of the noise", () => {
    expect(chiSlope(Float64Array.of(3, 0, 4))).toBeCloseTo(2 / 25 - 1, 12);
    expect(chiSlope(Float64Array.of(1, 1, 0))).toBeCloseTo(0, 12);
    const noise = { sampler: { initialScale: 2 }, init: undefined } as never;
    // x = (1.5, 0, 2): pull 0.25 (2 / 6.25 - 1) = -0.17; of norm 0.425, below the clip; rate 0.1 * 2.5 / 0.5
    const moved = moveUphill(state, new Float32Array(3), undefined, { ...settings, momentum: 0, noise });
    const by = 2 * 0.5 * -0.17;
    expect([...moved.state.latents]).toEqual([expect.closeTo(3 + by * 1.5, 5), 0, expect.closeTo(4 + by * 2, 5)]);
  });
});
