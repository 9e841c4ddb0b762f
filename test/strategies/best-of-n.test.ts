import { expect, test } from "vitest";
import type { ImageRequest } from "#laurel/backends/contract";
import { resolveRequest } from "#laurel/backends/resolve";
import { CancelledError } from "#laurel/errors";
import { bestOfN } from "#laurel/strategies/best-of-n";
import { unfinishedStretches } from "#laurel/strategies/drawing";
import type { Scored, StrategyContext, StrategyEvent } from "#laurel/strategies/contract";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";

const open = {
  prompt: "rectangles",
  negativePrompt: undefined,
  seed: 100,
  count: 10,
  steps: undefined,
  guidance: undefined,
  sampler: undefined,
  width: undefined,
  height: undefined,
  batch: undefined,
};

function setUp(change: Partial<StrategyContext> = {}): StrategyContext & { readonly requests: ImageRequest[] } {
  const requests: ImageRequest[] = [];
  const backend = createProceduralBackend({ onRequest: (request) => requests.push(request) });
  const { request } = resolveRequest(backend, open);
  return { backend, reward: createBrightnessReward(), request, budget: { candidates: 10 }, requests, ...change };
}

async function collect(context: StrategyContext): Promise<StrategyEvent[]> {
  const events: StrategyEvent[] = [];
  for await (const event of bestOfN.run(context)) events.push(event);
  return events;
}

function last(events: readonly StrategyEvent[]): Extract<StrategyEvent, { type: "done" }> {
  const event = events.at(-1);
  if (event?.type !== "done") throw new Error(`expected the last event to be done, got ${event?.type}`);
  return event;
}

test("each candidate is told, then scored; the end ranks all of them", async () => {
  const events = await collect(setUp());
  const order = events.map((event) => event.type);
  expect(order.filter((type) => type === "candidate")).toHaveLength(10);
  expect(order.filter((type) => type === "scored")).toHaveLength(10);
  for (let index = 0; index < 10; index++) {
    const at = (type: string): number =>
      events.findIndex((event) => event.type === type && "candidate" in event && event.candidate.index === index);
    expect(at("candidate")).toBeLessThan(at("scored"));
  }
  const { ranking, reason, evaluations } = last(events);
  expect(reason).toBe("complete");
  expect(evaluations).toBe(40);
  expect(ranking.map(({ index, seed }) => seed - index)).toEqual(new Array(10).fill(100));
  const scores = ranking.map(({ score }) => score ?? Number.NaN);
  expect(scores).toEqual([...scores].sort((a, b) => b - a));
  const scored = events.flatMap((event) => (event.type === "scored" ? [[event.candidate.index, event.score]] : []));
  expect(Object.fromEntries(scored)).toEqual(Object.fromEntries(ranking.map(({ index, score }) => [index, score])));
});

test("candidates carry their seed, settings and lineage", async () => {
  const events = await collect(setUp());
  const first = events.find((event) => event.type === "candidate");
  expect(first).toMatchObject({
    candidate: {
      index: 0,
      seed: 100,
      prompt: "rectangles",
      settings: { steps: 4, sampler: "paint", width: 16, height: 16 },
      evaluations: 4,
      lineage: { strategy: "best-of-n", parent: null, round: 0 },
    },
  });
});

test("scores that are not finite rank last, in the order of their index, with a warning each", async () => {
  let call = 0;
  const values = [1, Number.NaN, 3, Infinity, 2, -Infinity, 0, 5, 4, 6];
  const reward = createBrightnessReward(() => values[call++] ?? 0);
  const events = await collect(setUp({ reward }));
  expect(last(events).ranking.map(({ index, score }) => [index, score])).toEqual([
    [9, 6],
    [7, 5],
    [8, 4],
    [2, 3],
    [4, 2],
    [0, 1],
    [6, 0],
    [1, null],
    [3, null],
    [5, null],
  ]);
  expect(events.flatMap((event) => (event.type === "warning" ? event.message : []))).toEqual([
    "candidate 1 (seed 101): expected a finite score, got NaN; it ranks last",
    "candidate 3 (seed 103): expected a finite score, got Infinity; it ranks last",
    "candidate 5 (seed 105): expected a finite score, got -Infinity; it ranks last",
  ]);
});

test("equal scores rank by index", async () => {
  const events = await collect(setUp({ reward: createBrightnessReward(() => 1) }));
  expect(last(events).ranking.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("the same warning is told once", async () => {
  const reward = createBrightnessReward((score) => score, ["the prompt was cut"]);
  const events = await collect(setUp({ reward, backend: createProceduralBackend({ warnings: ["slow"] }) }));
  expect(events.filter((event) => event.type === "warning")).toEqual([
    { type: "warning", message: "slow" },
    { type: "warning", message: "the prompt was cut" },
  ]);
});

test("finished candidates are ranked and not made again; a group that lacks one is drawn and scored whole", async () => {
  const undisturbed = last(await collect(setUp())).ranking;
  const finished = undisturbed.filter(({ index }) => index !== 5 && index < 8);
  const reward = createBrightnessReward();
  const context = setUp({ finished, reward });
  const events = await collect(context);
  expect(context.requests.map(({ seed, count }) => [seed, count])).toEqual([[104, 6]]);
  expect(reward.calls).toEqual([4, 2]);
  const made = events.flatMap((event) => (event.type === "scored" ? event.candidate.index : []));
  expect(made).toEqual([5, 8, 9]);
  expect(last(events).ranking).toEqual(undisturbed);
});

test("a run that has everything asks the backend for nothing", async () => {
  const finished = last(await collect(setUp())).ranking;
  const context = setUp({ finished });
  expect((await collect(context)).map(({ type }) => type)).toEqual(["done"]);
  expect(context.requests).toEqual([]);
});

test("the budget of evaluations ends it after the group that spent it", async () => {
  const { reason, ranking, evaluations } = last(await collect(setUp({ budget: { candidates: 10, evaluations: 20 } })));
  expect([reason, ranking.length, evaluations]).toEqual(["evaluations", 8, 32]);
});

test("the budget of seconds ends it after the group that spent it", async () => {
  let time = 0;
  const now = (): number => (time += 400);
  const { reason, ranking } = last(await collect(setUp({ budget: { candidates: 10, seconds: 1 }, now })));
  expect([reason, ranking.length]).toEqual(["seconds", 8]);
});

test("it stops with CancelledError when the signal aborts", async () => {
  const controller = new AbortController();
  const context = setUp({ signal: controller.signal });
  const events = bestOfN.run(context);
  await events.next();
  controller.abort();
  const rest = async (): Promise<void> => {
    for await (const event of events) expect(event.type).not.toBe("done");
  };
  await expect(rest()).rejects.toBeInstanceOf(CancelledError);
});

test("an error of the reward is passed on, and the backend's generator is ended", async () => {
  const backend = createProceduralBackend();
  let ended = false;
  const watched = {
    ...backend,
    async *generate(...args: Parameters<typeof backend.generate>) {
      try {
        yield* backend.generate(...args);
      } finally {
        ended = true;
      }
    },
  };
  const reward = createBrightnessReward(() => {
    throw new Error("out of memory");
  });
  await expect(collect(setUp({ backend: watched, reward }))).rejects.toThrow("out of memory");
  expect(ended).toBe(true);
});

test("stretches start and end on the borders of groups", () => {
  const has = (...indices: number[]): Map<number, Scored | undefined> => new Map(indices.map((i) => [i, undefined]));
  expect(unfinishedStretches(10, 4, has())).toEqual([{ start: 0, count: 10 }]);
  expect(unfinishedStretches(10, 4, has(4, 5, 6, 7))).toEqual([
    { start: 0, count: 4 },
    { start: 8, count: 2 },
  ]);
  expect(unfinishedStretches(8, 4, has(0, 1, 2, 4, 5, 6, 7))).toEqual([{ start: 0, count: 4 }]);
});

test("a goal ends it at the end of the group that reaches it, and nothing is drawn ahead", async () => {
  const all = last(await collect(setUp())).ranking;
  const byIndex = [...all].sort((a, b) => a.index - b.index);
  // what the first two groups of four reach together, and the first alone does not
  const passing = byIndex.slice(0, 8).map(({ score }) => score ?? 0);
  const score = [...passing].sort((a, b) => b - a)[1]!;
  const inFirst = byIndex.slice(0, 4).filter((one) => (one.score ?? 0) >= score).length;
  const images = inFirst + 1;
  const until = { score, images: Math.min(images, 2) };
  const context = setUp({ budget: { candidates: 10, until } });
  const end = last(await collect(context));
  const expected = byIndex.findIndex(
    (_, i) => byIndex.slice(0, i + 1).filter((one) => (one.score ?? 0) >= score).length >= until.images,
  );
  expect(end.reason).toBe("reached");
  expect(end.ranking).toHaveLength(expected < 4 ? 4 : 8);
  expect(context.requests).toHaveLength(expected < 4 ? 1 : 2);
  // taken up again, nothing is left to do
  const again = setUp({ budget: { candidates: 10, until }, finished: end.ranking });
  expect(last(await collect(again))).toMatchObject({ reason: "reached", ranking: end.ranking });
  expect(again.requests).toEqual([]);
});

test("a goal that is not reached spends the budget", async () => {
  const end = last(await collect(setUp({ budget: { candidates: 10, until: { score: 1e9, images: 1 } } })));
  expect(end.reason).toBe("complete");
  expect(end.ranking).toHaveLength(10);
});

test("candidates are scored against another prompt than the drawn one where that is asked for", async () => {
  const prompts: string[] = [];
  const reward = createBrightnessReward();
  const listening = {
    ...reward,
    score: (prompt: string, ...rest: [never, never]) => (prompts.push(prompt), reward.score(prompt, ...rest)),
  };
  await collect(setUp({ reward: listening as typeof reward, scoredPrompt: "what was meant" }));
  expect(new Set(prompts)).toEqual(new Set(["what was meant"]));
});

/** A reward that scores `concurrency` calls at once, the later ones first; `most` is how many were under way. */
function slowReward(
  concurrency: number,
  failing = Infinity,
): { reward: NonNullable<StrategyContext["reward"]>; most: () => number } {
  const inner = createBrightnessReward();
  let [calls, underway, most] = [0, 0, 0];
  const score: typeof inner.score = async (...given) => {
    const call = calls++;
    most = Math.max(most, ++underway);
    await new Promise((resolve) => setTimeout(resolve, 20 - 5 * (call % 4)));
    underway--;
    if (call >= failing) throw new Error(`call ${call} failed`);
    return inner.score(...given);
  };
  return { reward: { ...inner, dispose: () => inner.dispose(), concurrency, score }, most: () => most };
}

test("a reward that scores several groups at once is given them, and the events are the same", async () => {
  const given = setUp();
  const request = { ...given.request, batch: 1 };
  const alone = await collect({ ...given, request });
  const { reward, most } = slowReward(4);
  expect(await collect({ ...given, request, reward })).toEqual(alone);
  expect(most()).toBe(4);
  const turns = slowReward(1);
  expect(await collect({ ...given, request, reward: turns.reward })).toEqual(alone);
  expect(turns.most()).toBe(1);
  const goal = slowReward(4);
  await collect({
    ...given,
    request,
    reward: goal.reward,
    budget: { candidates: 10, until: { score: 1e9, images: 1 } },
  });
  expect(goal.most()).toBe(1);
});

test("what was drawn and scored before a failure is told, wherever it fails", async () => {
  const given = setUp();
  const request = { ...given.request, batch: 1 };
  const untilFailure = async (context: StrategyContext): Promise<number> => {
    let scored = 0;
    const run = async (): Promise<void> => {
      for await (const event of bestOfN.run(context)) if (event.type === "scored") scored++;
    };
    await expect(run()).rejects.toThrow(/failed/);
    return scored;
  };
  expect(await untilFailure({ ...given, request, reward: slowReward(4, 6).reward })).toBe(6);
  const { backend } = given;
  const breaking: typeof backend = {
    ...backend,
    dispose: () => backend.dispose(),
    async *generate(asked, options) {
      for await (const group of backend.generate(asked, options)) {
        if (group.images[0]!.seed === 105) throw new Error("drawing failed");
        yield group;
      }
    },
  };
  expect(await untilFailure({ ...given, request, backend: breaking, reward: slowReward(4).reward })).toBe(5);
});
