/** @file What searches inside trajectories tell of themselves: enough to say where each candidate comes from, and to draw it again. */

import { expect, test } from "vitest";
import type { ImageBackend } from "#laurel/backends/contract";
import { resolveRequest } from "#laurel/backends/resolve";
import type { Candidate, Finished, Parting, StrategyContext, StrategyEvent } from "#laurel/strategies/contract";
import { Calibration } from "#laurel/strategies/search/calibration";
import { halving, type HalvingReport, previewGrid } from "#laurel/strategies/search/halving";
import { particles } from "#laurel/strategies/search/particles";
import { WorkMeter } from "#laurel/strategies/search/work-meter";
import { createBrightnessReward } from "../../backends/brightness-reward.js";
import { collect, useTinyBackend } from "../tiny.js";

const STEPS = 6;
const SEED = 40;
let backend: ImageBackend;
useTinyBackend((opened) => (backend = opened));

function context(candidates: number, finished: readonly Finished[] = []): StrategyContext {
  const asked = { prompt: "a cat", negativePrompt: undefined, seed: SEED, count: 4, steps: STEPS, guidance: 3, sampler: "ddim", width: 32, height: 32, batch: 3 }; // prettier-ignore
  const { request } = resolveRequest(backend, asked);
  const meter = new WorkMeter({ evaluation: 100, decoding: 40, scoring: 10 });
  return { backend, reward: createBrightnessReward(), request, budget: { candidates }, finished, meter };
}

/** Events of one type. */
function only<Type extends StrategyEvent["type"]>(events: readonly StrategyEvent[], type: Type) {
  return events.filter((event): event is Extract<StrategyEvent, { type: Type }> => event.type === type);
}

/** Each picture that is dropped was looked at, at the same step, before; and is never heard of again unless it goes on as a copy. */
function expectOrder(events: readonly StrategyEvent[]): void {
  const looked = new Map<number, number>();
  const gone = new Set<number>();
  for (const event of events) {
    if (event.type === "look") {
      expect(gone).not.toContain(event.index);
      expect(event.step).toBeGreaterThan(looked.get(event.index) ?? 0);
      looked.set(event.index, event.step);
    } else if (event.type === "pruned") {
      expect(looked.get(event.index)).toBe(event.step);
      gone.add(event.index);
    } else if (event.type === "parted") {
      expect(gone).toContain(event.index);
      expect(gone).not.toContain(event.from);
      expect(looked.get(event.from)).toBe(event.step);
      gone.delete(event.index);
    } else if (event.type === "candidate") expect(gone).not.toContain(event.candidate.index);
  }
}

/** Previews that tell the end from the first look on, as earlier searches found them. */
function believed(): Calibration {
  const calibration = new Calibration(previewGrid(STEPS));
  for (let group = 0; group < 8; group++)
    calibration.add(Array.from({ length: 8 }, (_, i) => new Array(calibration.grid.length + 1).fill((i * 5) % 8)));
  return calibration;
}

test("halving tells its plan, every look, and whom it drops; every picture that was begun has an end", async () => {
  const reports: HalvingReport[] = [];
  const events = await collect(halving({ calibration: believed(), onPlan: (one) => reports.push(one) }), context(8));
  expectOrder(events);
  const [plan] = only(events, "plan");
  expect(plan).toEqual({
    type: "plan",
    steps: STEPS,
    begun: reports[0]!.start,
    cuts: reports[0]!.cuts.map(({ entry, keep }) => ({ step: entry, keep })),
    previews: {
      observed: 64,
      fidelity: reports[0]!.fidelity.map(({ entry, ...found }) => ({ step: entry, ...found })),
    },
  });
  const [dropped, found] = [only(events, "pruned"), only(events, "candidate")];
  expect(dropped.length).toBeGreaterThan(0);
  const ends = [...dropped.map(({ index }) => index), ...found.map(({ candidate }) => candidate.index)];
  expect(ends.sort((a, b) => a - b)).toEqual(Array.from({ length: plan!.begun }, (_, i) => i));
  // of those that are looked at after the same step, those that go on score no less than those that do not
  const [first] = plan!.cuts;
  const looks = only(events, "look").filter(({ step }) => step === first!.step);
  const gone = new Set(dropped.filter(({ step }) => step === first!.step).map(({ index }) => index));
  const scores = (kept: boolean) => looks.flatMap(({ index, score }) => (gone.has(index) === kept ? [] : [score!]));
  expect(Math.min(...scores(true))).toBeGreaterThanOrEqual(Math.max(...scores(false)));
});

test("halving tells its looks at the pictures it learns from, which all come to an end", async () => {
  const events = await collect(halving(), context(8));
  expectOrder(events);
  const grid = previewGrid(STEPS);
  const [plan] = only(events, "plan");
  const before = only(events.slice(0, events.indexOf(plan!)), "look");
  expect(before.map(({ step }) => step)).toEqual(grid.flatMap((step) => [step, step, step, step]));
  expect(new Set(before.map(({ index }) => index))).toEqual(new Set([0, 1, 2, 3]));
  expect(only(events, "candidate").slice(0, 4).map(({ candidate }) => candidate.index)).toEqual([0, 1, 2, 3]); // prettier-ignore
  expect(plan!.previews!.fidelity.map(({ step }) => step)).toEqual(grid);
});

test("particles tell who went on as whose copy: the events give each candidate's way, and the way draws it again", async () => {
  const strategy = particles({ lambda: 400, threshold: 1 });
  const given = context(24);
  const events = await collect(strategy, given);
  expectOrder(events);
  const count = only(events, "plan")[0]!.begun;
  const found = only(events, "candidate").map(({ candidate }) => candidate);
  expect(found).toHaveLength(count);

  // by the events alone
  let ways = Array.from({ length: count }, (_, i) => ({ origin: SEED + i, path: [] as readonly Parting[] }));
  const partings = only(events, "parted");
  for (const step of new Set(partings.map((event) => event.step))) {
    const before = ways;
    ways = before.map((way, place) => {
      const parting = partings.find((event) => event.step === step && event.index === place);
      if (parting === undefined) return way;
      const { origin, path } = before[parting.from]!;
      return { origin, path: [...path, { step, from: parting.from }] };
    });
  }
  expect(found.map(({ lineage: { origin, path } }) => ({ origin, path }))).toEqual(ways);
  expect(partings.length).toBe(only(events, "pruned").length);
  expect(found.some(({ lineage }) => lineage.path!.length > 1)).toBe(true);

  // from the seed through every parting, for those that parted most
  const steps = [...new Set(only(events, "look").map(({ step }) => step))];
  const farthest = found.toSorted((a, b) => b.lineage.path!.length - a.lineage.path!.length).slice(0, 4);
  for (const candidate of farthest) expect(await redrawn(given, candidate, steps, count)).toEqual(candidate.image.data);
});

/** The picture of a candidate from its lineage: from the noise of its origin, with the noise of another seed from each parting on. */
async function redrawn(
  { request }: StrategyContext,
  { index, lineage: { origin, path } }: Candidate,
  looks: readonly number[],
  count: number,
): Promise<Uint8Array> {
  const model = backend.stepwise!;
  const { trajectory } = await model.begin({ ...request, sampler: "ddim", eta: 1, count: 1 }, {});
  let states = model.start(trajectory, origin!, 1);
  for (const [i, { step }] of path!.entries()) {
    while (states[0]!.stepIndex < step) states = await model.step(trajectory, states, {});
    const place = path![i + 1]?.from ?? index;
    states = [model.fork(states[0]!, SEED + (looks.indexOf(step) + 1) * count + place)];
  }
  while (states[0]!.stepIndex < STEPS) states = await model.step(trajectory, states, {});
  return (await model.decode(trajectory, states, {}))[0]!.data;
}

test.each([
  ["halving", halving()],
  ["particles", particles({ lambda: 400, threshold: 1 })],
] as const)("%s that is taken up tells the same of itself from the start", async (_, strategy) => {
  const own = (events: readonly StrategyEvent[]): StrategyEvent[] =>
    events.filter(({ type }) => type === "look" || type === "pruned" || type === "parted" || type === "plan");
  const whole = await collect(strategy, context(6));
  const finished = only(whole, "scored").slice(0, 2).map(({ candidate: { index, seed }, score }) => ({ index, seed, score })); // prettier-ignore
  expect(own(await collect(strategy, context(6, finished)))).toEqual(own(whole));
});
