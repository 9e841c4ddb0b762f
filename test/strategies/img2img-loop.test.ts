/** @file Rounds from the best picture so far: on a tiny Stable Diffusion, whose work is counted, and on a backend that can only be asked for pictures. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ImageBackend, ImageRequest } from "#laurel/backends/contract";
import { createLocalBackend } from "#laurel/backends/local";
import { type OpenRequest, resolveRequest } from "#laurel/backends/resolve";
import { openStableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { CancelledError } from "#laurel/errors";
import { encoderGraph, readNetworkConfigs } from "#laurel/diffusion/networks";
import { readModelFolder } from "#laurel/diffusion/model-folder";
import { matrixOperations } from "#laurel/graph/operations";
import type { RgbImage } from "#laurel/image/types";
import { type Device, openDevice } from "#laurel/runtime/device";
import type { Candidate, Finished, StrategyContext, StrategyEvent } from "#laurel/strategies/contract";
import { type Img2ImgLoopOptions, img2imgLoop } from "#laurel/strategies/img2img-loop";
import { plainPicture, WorkMeter } from "#laurel/strategies/search/work-meter";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { FOLDER } from "../diffusion/tiny-model.js";

const STEPS = 10;
const SEED = 40;
const COSTS = { evaluation: 100, decoding: 40, scoring: 10, encoding: 60 };

let device: Device;
let local: ImageBackend;
beforeAll(async () => {
  device = openDevice({ threads: 1 });
  local = createLocalBackend(await openStableDiffusion(FOLDER, device));
});
afterAll(() => device.close());

/** A context over a backend that keeps what it was asked for. */
function setUp(
  backend: ImageBackend,
  asked: Partial<OpenRequest> = {},
  change: Omit<Partial<StrategyContext>, "meter"> = {},
): StrategyContext & { readonly requests: ImageRequest[]; readonly meter: WorkMeter } {
  const requests: ImageRequest[] = [];
  const watched: ImageBackend = {
    ...backend,
    generate: (request, options) => {
      requests.push(request);
      return backend.generate(request, options);
    },
  };
  const open = { prompt: "a cat", negativePrompt: undefined, seed: SEED, count: 8, steps: STEPS, batch: 3, ...asked };
  const { request } = resolveRequest(backend, open);
  const budget = { candidates: request.count };
  return { backend: watched, reward: createBrightnessReward(), request, budget, requests, meter: new WorkMeter(COSTS), ...change }; // prettier-ignore
}

const onTiny = (change: Omit<Partial<StrategyContext>, "meter"> = {}, asked: Partial<OpenRequest> = {}) =>
  setUp(local, { guidance: 1, sampler: "ddim", width: 32, height: 32, ...asked }, change);
const onServer = (change: Omit<Partial<StrategyContext>, "meter"> = {}, asked: Partial<OpenRequest> = {}) =>
  setUp(createProceduralBackend({ pictures: true }), asked, change);

async function collect(given: StrategyContext, options?: Img2ImgLoopOptions): Promise<StrategyEvent[]> {
  const events: StrategyEvent[] = [];
  for await (const event of img2imgLoop(options).run(given)) events.push(event);
  return events;
}

const scored = (events: readonly StrategyEvent[]) =>
  events.flatMap((event) => (event.type === "scored" ? [event] : []));
const bytes = ({ data }: RgbImage): string => Buffer.from(data).toString("base64");

/** A candidate as an interrupted run keeps it. */
function finishedOf({ candidate, score }: { readonly candidate: Candidate; readonly score: number | null }): Finished {
  const { index, seed, lineage, image, evaluations } = candidate;
  return { index, seed, score, lineage, evaluations, picture: () => Promise.resolve({ ...image }) };
}

describe.each([
  ["a backend that is followed step by step", onTiny],
  ["a backend that is only asked for pictures", onServer],
])("on %s", (_, on) => {
  test("every picture of a round is drawn from the best before the round, less and less far", async () => {
    const given = on();
    const found = scored(await collect(given, { explore: 0.5, rounds: 3, strength: { from: 0.8, to: 0.4 } }));
    const strengths = new Map<number, number | undefined>();
    const checked = new Set<number>();
    for (const { candidate, score } of found) {
      const { index, seed, lineage, settings } = candidate;
      expect(seed).toBe(SEED + index);
      expect(lineage.strategy).toBe("img2img-loop");
      strengths.set(lineage.round, settings.strength);
      if (lineage.round === 0) {
        expect(lineage.parent).toBeNull();
        continue;
      }
      const before = found.filter((one) => one.candidate.lineage.round < lineage.round);
      const best = before.reduce((a, b) => (b.score! > a.score! ? b : a)).candidate;
      expect(lineage.parent).toBe(best.index);
      if (checked.has(lineage.round)) continue;
      checked.add(lineage.round);
      // the picture is what the backend draws from the parent's pixels, at that strength, with that seed
      for await (const { images } of given.backend.generate({
        ...given.request,
        init: best.image,
        strength: settings.strength,
        seed,
        count: 1,
      }))
        expect(bytes(candidate.image)).toBe(bytes(images[0]!.image));
      expect(score).toBe((await given.reward!.score("", [candidate.image])).scores[0]);
    }
    expect([...strengths]).toEqual([[0, undefined], [1, 0.8], [2, 0.6], [3, 0.4]]); // prettier-ignore
  });

  test("it ends as if nothing had happened wherever it was killed, and draws no finished group again", async () => {
    const given = on();
    const events = await collect(given);
    const all = scored(events);
    const untouched = all.map(({ candidate, score }) => [candidate.index, candidate.lineage, score, bytes(candidate.image)]); // prettier-ignore
    for (const kept of [1, 4, all.length - 1, all.length]) {
      const resumed = on({ finished: all.slice(0, kept).map(finishedOf) });
      const rest = await collect(resumed);
      const told = scored(rest).map(({ candidate, score }) => [candidate.index, candidate.lineage, score, bytes(candidate.image)]); // prettier-ignore
      expect(told).toEqual(untouched.slice(kept));
      expect(rest.at(-1)).toMatchObject({ ...events.at(-1), evaluations: expect.any(Number) as number });
      if (kept === all.length) expect(resumed.requests).toEqual([]);
    }
    // without the pictures, what is needed is drawn again, and nothing is told twice
    const blind = all.slice(0, 6).map(({ candidate, score }) => ({ index: candidate.index, seed: candidate.seed, score })); // prettier-ignore
    const rest = scored(await collect(on({ finished: blind })));
    expect(rest.map(({ candidate }) => candidate.index)).toEqual(all.slice(6).map(({ candidate }) => candidate.index));
  });

  test("a candidate without a score never goes back in", async () => {
    const reward = createBrightnessReward((score) => (Math.floor(score * 1e6) % 2 === 0 ? Number.NaN : score));
    const found = scored(await collect(on({ reward })));
    expect(found.some(({ score }) => score === null)).toBe(true);
    for (const { candidate } of found) {
      const { parent } = candidate.lineage;
      if (parent !== null) expect(found.find((one) => one.candidate.index === parent)!.score).not.toBeNull();
    }
    const nothing = await collect(on({ reward: createBrightnessReward(() => Number.NaN) }));
    expect(scored(nothing).every(({ candidate }) => candidate.lineage.parent === null)).toBe(true);
    expect(nothing.at(-1)).toMatchObject({ type: "done", reason: "complete" });
  });

  test("the first pictures start from the request's own, and a mask stays", async () => {
    const init: RgbImage = { width: 32, height: 32, data: new Uint8Array(32 * 32 * 3).fill(90) };
    const mask: RgbImage = { ...init, data: init.data.map((_, i) => (i < init.data.length / 2 ? 255 : 0)) };
    const given = on({}, { init, mask, strength: 0.9, width: 32, height: 32 });
    const found = scored(await collect(given));
    expect(given.requests.every((request) => request.mask === mask)).toBe(true);
    expect(given.requests[0]).toMatchObject({ init, strength: 0.9 });
    const last = found.at(-1)!.candidate;
    expect(last.lineage.parent).not.toBeNull();
    expect(given.requests.at(-1)!.init).toBe(found.find(({ candidate }) => candidate.index === last.lineage.parent)!.candidate.image); // prettier-ignore
  });

  test("it stops at the end of a group when it is cancelled, or its goal is reached", async () => {
    const controller = new AbortController();
    const events: StrategyEvent[] = [];
    const run = async () => {
      for await (const event of img2imgLoop().run(on({ signal: controller.signal }))) {
        events.push(event);
        if (event.type === "scored" && event.candidate.lineage.round === 1) controller.abort();
      }
    };
    await expect(run()).rejects.toBeInstanceOf(CancelledError);
    expect(scored(events).every(({ candidate }) => candidate.lineage.round <= 1)).toBe(true);

    const everything = scored(await collect(on()));
    const goal = Math.max(...everything.slice(0, 3).map(({ score }) => score!));
    const reached = await collect(on({ budget: { candidates: 8, until: { score: goal, images: 1 } } }));
    expect(reached.at(-1)).toMatchObject({ type: "done", reason: "reached" });
    expect(scored(reached)).toHaveLength(3);
  });

  test("where time is limited, it leaves time for the rounds, and takes up what it had", async () => {
    // a clock that goes by the work where it is counted, or by the pictures
    const timed = (change: Omit<Partial<StrategyContext>, "meter"> = {}) => {
      const reward = createBrightnessReward();
      const given = on({ reward, budget: { candidates: 1000, seconds: 18 }, ...change }, { count: 1000 });
      const drawn = (): number => 1000 * reward.calls.reduce((sum, pictures) => sum + pictures, 0);
      return { ...given, now: () => (given.backend.stepwise === undefined ? drawn() : given.meter.operations) };
    };
    const found = scored(await collect(timed()));
    const rounds = found.map(({ candidate }) => candidate.lineage.round);
    expect(Math.max(...rounds)).toBe(3);
    const explored = rounds.filter((round) => round === 0).length;
    expect(explored).toBeGreaterThanOrEqual(9);
    expect(explored).toBeLessThanOrEqual(12);
    const kept = found.slice(0, rounds.indexOf(2) + 1);
    const rest = scored(await collect(timed({ finished: kept.map(finishedOf) })));
    expect(rest[0]!.candidate).toMatchObject({ index: kept.length, lineage: { round: 2 } });
  });
});

test("its compute is that of the budget's pictures, counted in operations with the pictures that were encoded", async () => {
  const given = onTiny();
  const events = await collect(given, { strength: { from: 0.7, to: 0.3 } });
  const found = scored(events).map(({ candidate }) => candidate);
  const { meter } = given;
  expect(meter.counted("evaluation")).toBe(found.reduce((sum, one) => sum + one.evaluations, 0));
  expect(found.map(({ evaluations, lineage }) => [lineage.round, evaluations])).toEqual(
    found.map(({ lineage }) => [lineage.round, [10, 7, 5, 3][lineage.round]]),
  );
  expect(meter.counted("decoding")).toBe(found.length);
  expect(meter.counted("scoring")).toBe(found.length);
  const parents = found.flatMap(({ lineage }) => lineage.parent ?? []);
  expect(meter.counted("encoding")).toBe(new Set(parents).size);
  const whole = 8 * plainPicture(COSTS, STEPS);
  expect(meter.operations).toBeLessThanOrEqual(whole);
  // not even the cheapest picture would have fitted in
  expect(meter.operations).toBeGreaterThan(whole - plainPicture(COSTS, 3) - COSTS.encoding);
  expect(found.length).toBeGreaterThan(8);
});

test("what it takes to encode a picture is counted by the network's graph", async () => {
  const { trajectory } = await local.stepwise!.begin({ prompt: "a cat", seed: 1, width: 32, height: 32 });
  const { autoencoder } = readNetworkConfigs(await readModelFolder(FOLDER));
  const expected = matrixOperations(encoderGraph(autoencoder, 32, 32), { N: 1 });
  expect(expected).toBeGreaterThan(0);
  expect(local.stepwise!.operations(trajectory).encoding).toBe(expected);
});

test("evaluations are shared out as candidates are", async () => {
  const events = await collect(onTiny({ budget: { candidates: 8, evaluations: 4 * STEPS } }));
  const found = scored(events);
  expect(found.reduce((sum, { candidate }) => sum + candidate.evaluations, 0)).toBeLessThanOrEqual(4 * STEPS);
  expect(Math.max(...found.map(({ candidate }) => candidate.lineage.round))).toBeGreaterThan(0);
});

test("a strength takes at least one of few steps", async () => {
  const found = scored(await collect(onTiny({}, { steps: 2 }), { strength: { from: 0.3, to: 0.1 } }));
  expect(new Set(found.map(({ candidate }) => candidate.settings.strength))).toEqual(new Set([undefined, 0.5]));
});

test("says what it cannot work with", async () => {
  const unable = setUp(createProceduralBackend());
  await expect(collect(unable)).rejects.toThrow("strategy img2img-loop: expected a backend that draws on from a picture, got procedural"); // prettier-ignore
  await expect(collect(onServer({ reward: undefined }))).rejects.toThrow("strategy img2img-loop: expected a reward to choose by, got none"); // prettier-ignore
  await expect(img2imgLoop().check!(onServer({}, { count: 1 }))).rejects.toThrow("strategy img2img-loop: expected a budget for 2 candidates or more, got 1"); // prettier-ignore
  expect(() => img2imgLoop({ explore: 1, rounds: 0, strength: { from: 0, to: 1.5 } })).toThrow(
    "img2img-loop: explore: expected a share above 0, below 1, got 1; rounds: expected a whole number >= 1, got 0; strength.from: expected a number above 0, up to 1, got 0; strength.to: expected a number above 0, up to 1, got 1.5; strength.to: expected at most strength.from, which is 0, got 1.5",
  );
});
