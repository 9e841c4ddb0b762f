/** @file The searches inside trajectories, on a tiny Stable Diffusion, by a reward that tells pictures apart. */

import { describe, expect, test } from "vitest";
import type { ImageBackend } from "#laurel/backends/contract";
import { resolveRequest } from "#laurel/backends/resolve";
import type { Budget, Candidate, StrategyContext } from "#laurel/strategies/contract";
import { Calibration } from "#laurel/strategies/search/calibration";
import { halving, type HalvingReport, previewGrid } from "#laurel/strategies/search/halving";
import { neighbours } from "#laurel/strategies/search/neighbours";
import { particles, resamplingEntries } from "#laurel/strategies/search/particles";
import { plainPicture, WorkMeter } from "#laurel/strategies/search/work-meter";
import type { LatentState } from "#laurel/diffusion/latents";
import type { RgbImage } from "#laurel/image/types";
import { intercept } from "#laurel/util/intercept";
import { createBrightnessReward } from "../../backends/brightness-reward.js";
import { createProceduralBackend } from "../../backends/procedural-backend.js";
import { smallRandom } from "#laurel/util/statistics";
import { candidates, collect, useTinyBackend, warnings } from "../tiny.js";

const STEPS = 6;
const SEED = 40;
let backend: ImageBackend;
useTinyBackend((opened) => (backend = opened));

const COSTS = { evaluation: 100, decoding: 40, scoring: 10 };

/** A context for so many plain pictures, guided, of 6 steps. */
function context(
  budget: Budget,
  change: Partial<StrategyContext> = {},
): StrategyContext & { readonly meter: WorkMeter } {
  const asked = { prompt: "a cat", seed: SEED, count: 4, steps: STEPS, guidance: 3, sampler: "ddim", width: 32, height: 32, batch: 3 }; // prettier-ignore
  const { request } = resolveRequest(backend, { negativePrompt: undefined, ...asked });
  return {
    backend,
    reward: createBrightnessReward(),
    request,
    budget,
    ...change,
    meter: change.meter ?? new WorkMeter(COSTS),
  };
}

const bytes = ({ image }: Candidate): string => Buffer.from(image.data).toString("base64");

/** The pictures of these seeds as they are drawn plainly. */
async function plainly(seed: number, count: number): Promise<Map<number, string>> {
  const { request } = context({ candidates: count });
  const pictures = new Map<number, string>();
  for await (const group of backend.generate({ ...request, seed, count }))
    for (const one of group.images) pictures.set(one.seed, Buffer.from(one.image.data).toString("base64"));
  return pictures;
}

describe("halving", () => {
  test("looks at four to sixteen pictures on their way, and finishes only what its plan keeps", async () => {
    const reports: HalvingReport[] = [];
    const given = context({ candidates: 16 });
    const events = await collect(halving({ onPlan: (report) => reports.push(report) }), given);
    const [report] = reports;
    expect(report!.fidelity.map(({ entry }) => entry)).toEqual(previewGrid(STEPS));
    expect(report!.observed).toBe(4);
    const pruned = events.filter((event) => event.type === "pruned");
    const found = candidates(events);
    expect(found.length + pruned.length).toBe(4 + report!.start);
    expect(given.meter.operations).toBeLessThanOrEqual(16 * plainPicture(COSTS, 2 * STEPS));
    // what is finished is what its seed draws
    const plain = await plainly(SEED, 4 + report!.start);
    for (const one of found) expect(bytes(one)).toBe(plain.get(one.seed));
    const last = events.at(-1);
    expect(last).toMatchObject({ type: "done", reason: "complete", evaluations: given.meter.counted("evaluation") });
  });

  test("drops the pictures whose previews score least, where earlier searches have shown that previews tell the end", async () => {
    const calibration = new Calibration(previewGrid(STEPS));
    // previews that tell the end from the first look on
    for (let group = 0; group < 8; group++)
      calibration.add(Array.from({ length: 8 }, (_, i) => new Array(calibration.grid.length + 1).fill((i * 5) % 8)));
    const given = context({ candidates: 8 });
    const events = await collect(halving({ calibration }), given);
    const pruned = events.flatMap((event) => (event.type === "pruned" ? [event] : []));
    expect(pruned.length).toBeGreaterThan(4);
    const left = candidates(events);
    expect(left.length + pruned.length).toBeGreaterThan(8);
    const [, entry] = /^its preview after (\d) of 6 steps scored -?\d\.\d{3}$/.exec(pruned[0]!.reason)!;
    // every picture that was begun is either dropped at a look or finished; the dropped ones had the worst previews
    const model = backend.stepwise!;
    const { trajectory, states } = await model.begin({ ...given.request, count: left.length + pruned.length });
    let way = states;
    for (let step = 0; step < Number(entry); step++) way = await model.step(trajectory, way);
    const { scores } = await given.reward!.score("a cat", await model.preview(trajectory, way));
    const first = pruned.filter(({ reason }) => reason.startsWith(`its preview after ${entry}`));
    const worst = Math.max(...first.map(({ index }) => scores[index]!));
    const kept = scores.filter((_, index) => !first.some((one) => one.index === index));
    expect(Math.min(...kept)).toBeGreaterThanOrEqual(worst);
    expect(warnings(events)).toEqual([]);
  });

  test("turns itself off with a warning where previews do not tell the end", async () => {
    const calibration = new Calibration(previewGrid(STEPS));
    const random = smallRandom(3);
    for (let group = 0; group < 8; group++)
      calibration.add(Array.from({ length: 12 }, () => [...calibration.grid.map(random), random()]));
    const given = context({ candidates: 5 });
    const events = await collect(halving({ calibration }), given);
    expect(candidates(events).map(({ seed }) => seed)).toEqual([40, 41, 42, 43, 44]);
    expect(warnings(events)).toEqual([expect.stringMatching(/^halving: dropping pictures by their previews would not pay here \(best rank correlation/)]); // prettier-ignore
  });

  test("goes on where a killed search ended: what is known is not told again", async () => {
    const all = await collect(halving(), context({ candidates: 6 }));
    const scored = all.flatMap((event) => (event.type === "scored" ? [event] : []));
    const finished = scored.slice(0, 2).map(({ candidate, score }) => ({ index: candidate.index, seed: candidate.seed, score })); // prettier-ignore
    const rest = await collect(halving(), context({ candidates: 6 }, { finished }));
    expect(candidates(rest).map(({ index }) => index)).toEqual(scored.slice(2).map(({ candidate }) => candidate.index));
    expect(rest.at(-1)).toEqual(all.at(-1));
  });
});

describe("particles", () => {
  test("are copied and dropped by the rewards of their previews, and part after a copy", async () => {
    const given = context({ candidates: 8 });
    const events = await collect(
      particles({ lambda: 400, threshold: 1, schedule: { from: 0.2, to: 0.8, times: 4 } }),
      given,
    );
    const found = candidates(events);
    const pruned = events.filter((event) => event.type === "pruned");
    expect(pruned.length).toBeGreaterThan(0);
    // as many pictures as particles, all of them different
    expect(new Set(found.map(bytes)).size).toBe(found.length);
    const entries = resamplingEntries(STEPS, { from: 0.2, to: 0.8, times: 4 });
    const cost = plainPicture(COSTS, 2 * STEPS) + entries.length * 50;
    expect(found.length).toBe(Math.floor((8 * plainPicture(COSTS, 2 * STEPS)) / cost));
    expect(given.meter.operations).toBe(found.length * cost);
    expect(found.every(({ settings }) => settings.sampler === "ddim")).toBe(true);
    expect((await collect(particles({ lambda: 400, threshold: 1, schedule: { from: 0.2, to: 0.8, times: 4 } }), context({ candidates: 8 }))).map(({ type }) => type)).toEqual(events.map(({ type }) => type)); // prettier-ignore
  });

  test("without a threshold are those of ddim with eta 1, each from its seed", async () => {
    const events = await collect(particles({ threshold: 0 }), context({ candidates: 4 }));
    expect(events.filter((event) => event.type === "pruned")).toEqual([]);
    expect(candidates(events).map(({ seed }) => seed)).toEqual([40, 41, 42]);
    const other = await collect(particles({ threshold: 0, eta: 0.5 }), context({ candidates: 4 }));
    expect(bytes(candidates(other)[0]!)).not.toBe(bytes(candidates(events)[0]!));
  });

  test("tell which setting is wrong, and that one particle is none", async () => {
    expect(() => particles({ lambda: 0, eta: 2 })).toThrow("particles: lambda: expected a number above 0, got 0; eta: expected a share above 0, up to 1, got 2"); // prettier-ignore
    await expect(collect(particles(), context({ candidates: 1 }))).rejects.toThrow("strategy particles: expected a budget for two particles, at least 3 candidates or 36 evaluations, got 1 candidate"); // prettier-ignore
  });
});

describe("neighbours", () => {
  test("are drawn around the best noise so far, and say whose they are", async () => {
    const events = await collect(neighbours({ explore: 0.5, perRound: 3 }), context({ candidates: 13 }));
    const found = candidates(events);
    expect(found.map(({ lineage }) => lineage.round)).toEqual([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2]);
    const scores = events.flatMap((event) => (event.type === "scored" ? [event.score!] : []));
    const best = (count: number): number => scores.indexOf(Math.max(...scores.slice(0, count)));
    expect(found.map(({ lineage }) => lineage.parent)).toEqual([
      ...new Array(7).fill(null),
      ...new Array(3).fill(best(7)),
      ...new Array(3).fill(best(10)),
    ]);
    const plain = await plainly(SEED, 13);
    found.forEach((one, i) => expect(bytes(one) === plain.get(one.seed)).toBe(i < 7));
  });

  test("explore with six pictures at least, but leave one to stay near", async () => {
    const explored = async (count: number): Promise<number> => {
      const found = candidates(await collect(neighbours({ explore: 0.1 }), context({ candidates: count })));
      return found.filter(({ lineage }) => lineage.round === 0).length;
    };
    expect([await explored(4), await explored(9)]).toEqual([3, 6]);
  });

  test("of a picture to start from keep its share of what they begin with", async () => {
    const init: RgbImage = { width: 32, height: 32, data: new Uint8Array(32 * 32 * 3).map((_, i) => (i * 7) % 256) };
    const given = context({ candidates: 9 });
    const request = { ...given.request, init, strength: 0.5 };
    const starts: LatentState[] = [];
    const watched = intercept(backend, {
      stepwise: intercept(backend.stepwise!, {
        step: (trajectory, states, options) => {
          for (const state of states) if (state.stepIndex === 0) starts.push(state);
          return backend.stepwise!.step(trajectory, states, options);
        },
      }),
    });
    await collect(neighbours({ explore: 0.5, radius: 0.5 }), { ...given, backend: watched, request });
    const { trajectory } = await backend.stepwise!.begin(request);
    const { sample, noise } = trajectory.sampler.noising[0]!;
    expect(starts.length).toBeGreaterThan(8);
    for (const { latents, init: own } of starts)
      latents.forEach((value, i) => expect(value).toBeCloseTo(sample * own!.picture![i]! + noise * own!.noise[i]!, 4));
    const spread = starts.map(({ init: own }) => own!.noise.reduce((sum, value) => sum + value * value, 0) / own!.noise.length); // prettier-ignore
    for (const variance of spread) expect(variance).toBeGreaterThan(0.7);
  });

  test("with all of the noise fresh are pictures of their seeds", async () => {
    const found = candidates(await collect(neighbours({ radius: 1, perRound: 2 }), context({ candidates: 4 })));
    const plain = await plainly(SEED, 4);
    for (const one of found) expect(bytes(one)).toBe(plain.get(one.seed));
  });
});

test("a search needs a backend that can be followed, and a reward", async () => {
  const remote = createProceduralBackend();
  await expect(collect(halving(), context({ candidates: 4 }, { backend: remote }))).rejects.toThrow(
    "strategy halving: expected a backend whose pictures can be followed step by step, which local is, got procedural",
  );
  await expect(collect(neighbours(), context({ candidates: 4 }, { reward: undefined }))).rejects.toThrow(
    "strategy neighbours: expected a reward to search by, got none",
  );
});

test("a budget of evaluations or operations is kept to", async () => {
  const evaluated = context({ candidates: 100, evaluations: 2 * STEPS * 5 });
  await collect(neighbours(), evaluated);
  expect(evaluated.meter.counted("evaluation")).toBeLessThanOrEqual(2 * STEPS * 5);
  expect(evaluated.meter.counted("scoring")).toBeGreaterThan(2);
  const operations = 3.5 * plainPicture(COSTS, 2 * STEPS);
  const counted = context({ candidates: 100, operations });
  await collect(neighbours(), counted);
  expect(counted.meter.counted("scoring")).toBe(3);
  expect(counted.meter.operations).toBeLessThanOrEqual(operations);
});
