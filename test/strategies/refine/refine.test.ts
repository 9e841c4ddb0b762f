import { describe, expect, test } from "vitest";
import type { Finished } from "#laurel/strategies/contract";
import { allocate } from "#laurel/strategies/refine/allocation";
import type { Draw } from "#laurel/strategies/refine/conclusion";
import { conclude, gainOf, verdict } from "#laurel/strategies/refine/conclusion";
import type { Proposal, Refiner, RefineState } from "#laurel/strategies/refine/contract";
import { createEvolve } from "#laurel/strategies/refine/evolve";
import { type Lamps, refineLamps, vocabularyOf } from "./lamps.js";

const PROMPT = "please draw a dim hall";
const WORDS = vocabularyOf(`
words: { light: [[dim], [lit, glowing]] }
fillers: [please, draw]
modifiers: { light: [with lamps, with candles, in fog] }
`);
/** Best is "a dim hall" with lamps and candles: fillers are dark, fog is darker. */
const LAMPS: Lamps = { words: { please: -12, draw: -12, dim: 4, hall: 20, lamps: 25, candles: 5, fog: -20 } };
const evolve = createEvolve(WORDS);

/** Proposes what it is given, round by round. */
function scripted(rounds: readonly (readonly string[])[]): Refiner & { readonly states: RefineState[] } {
  const states: RefineState[] = [];
  return {
    name: "scripted",
    states,
    propose: (state) => {
      states.push(state);
      const parent = state.original;
      const proposals = (rounds[state.round] ?? []).map((prompt): Proposal => ({ prompt, parent, edit: "add: x" }));
      return Promise.resolve({ proposals, warnings: [] });
    },
  };
}

describe("the winner", () => {
  test("is the best prompt there is, and its gain over the original is told from fresh seeds", async () => {
    const { conclusion, done, scoredAgainst, warnings, events } = await refineLamps(evolve, LAMPS, PROMPT, 96);
    expect(conclusion.winner.split(", ").sort()).toEqual(["a dim hall", "with candles", "with lamps"]);
    // 24 levels of fillers, 25 of lamps, 5 of candles; brightness is 4 times the share of white
    expect(conclusion.confirmed?.estimate).toBeCloseTo((4 * 54) / 255, 2);
    expect(conclusion.confirmed).toMatchObject({ seeds: 24 });
    expect(conclusion.confirmed!.low!).toBeGreaterThan(0.5);
    expect(conclusion.best!.score!).toBeGreaterThan(conclusion.baseline!.score!);
    expect(verdict(conclusion)).toMatch(/^".*" beats the original prompt by \+0\.8\d\d \(95 % interval/);
    expect(done.reason).toBe("complete");
    expect([...scoredAgainst]).toEqual([PROMPT]);
    expect(warnings).toEqual([]);
    expect(events.filter(({ type }) => type === "refined").at(-1)).toMatchObject({ prompt: conclusion.winner });
  });

  test("is the original when nothing helps, and that is said", async () => {
    const fine: Lamps = {
      words: { please: 15, draw: 15, dim: 15, lamps: -9, candles: -9, fog: -9, lit: -9, glowing: -9 },
    };
    const { conclusion, warnings, events } = await refineLamps(evolve, fine, PROMPT, 64);
    expect(conclusion.winner).toBe(PROMPT);
    expect(conclusion.best).toEqual(conclusion.baseline);
    expect(warnings).toEqual([expect.stringMatching(/^nothing beats the original prompt, which is kept/)]);
    expect(events.filter(({ type }) => type === "refined").at(-1)).toMatchObject({ prompt: PROMPT });
  });

  test("is the original when all prompts are drawn alike, however lucky one of them was in the search", async () => {
    for (const seed of [1, 2, 3]) {
      const noisy: Lamps = { words: {}, noise: 60 };
      const words = vocabularyOf(`modifiers: { x: [one${seed}, two${seed}, three${seed}, four${seed}, five${seed}] }`);
      const { conclusion } = await refineLamps(createEvolve(words), noisy, "a hall", 48);
      expect(conclusion.winner).toBe("a hall");
    }
  });

  test("is not a prompt that is cut, unless the original was cut too", async () => {
    const refiner = scripted([["a b c lamps d"]]);
    const cut = await refineLamps(refiner, { words: { lamps: 40 }, room: 4 }, "a b c", 16);
    expect(cut.conclusion.winner).toBe("a b c");
    expect(cut.conclusion.prompts[1]).toMatchObject({
      prompt: "a b c lamps d",
      excluded: expect.stringContaining('not read: "d"'),
    });
    expect(cut.warnings[0]).toBe('"a b c lamps d": lamp: long; not read: "d"');
    const both = await refineLamps(refiner, { words: { lamps: 40 }, room: 4 }, "a b c d e", 16);
    expect(both.conclusion.winner).toBe("a b c lamps d");
  });
});

describe("the budget", () => {
  test.each([1, 2, 3, 7, 11, 12, 16, 31, 48, 100])("of %i is spent to the last candidate", async (count) => {
    const { draws, requests } = await refineLamps(evolve, LAMPS, PROMPT, count);
    expect(draws.map(({ index }) => index)).toEqual(Array.from({ length: count }, (_, i) => i));
    expect(requests.reduce((sum, request) => sum + request.count, 0)).toBe(count);
    expect(Math.max(...draws.map(({ seed }) => seed))).toBeLessThan(100 + count);
  });

  test("goes to the original when there is nothing to try", async () => {
    const { draws, conclusion } = await refineLamps(scripted([]), LAMPS, PROMPT, 20);
    expect(draws.map(({ seed }) => seed - 100)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(verdict(conclusion)).toBe("no other prompt was compared with the original one, which is kept");
  });

  test("half of it confirms, and what is small compares a single prompt", () => {
    expect(allocate(64)).toEqual({
      rungs: [
        { seeds: 1, share: 12 },
        { seeds: 2, share: 10 },
        { seeds: 4, share: 10 },
      ],
      pairs: 16,
    });
    expect(allocate(11)).toEqual({ rungs: [], pairs: 5 });
  });
});

test("prompts in the race share their seeds, and the confirmation has seeds of its own", async () => {
  const { draws } = await refineLamps(evolve, LAMPS, PROMPT, 64);
  const seedsOf = (prompt: string, phase: string): number[] =>
    draws.filter((one) => one.prompt === prompt && one.refinement.phase === phase).map(({ seed }) => seed - 100);
  const prompts = [...new Set(draws.map(({ prompt }) => prompt))];
  const full = seedsOf(PROMPT, "search");
  expect(full).toEqual([0, 1, 2, 3]);
  for (const prompt of prompts)
    expect(seedsOf(prompt, "search")).toEqual(full.slice(0, seedsOf(prompt, "search").length));
  const confirming = prompts.filter((prompt) => seedsOf(prompt, "confirm").length > 0);
  expect(confirming).toHaveLength(2);
  const fresh = seedsOf(PROMPT, "confirm");
  expect(Math.min(...fresh)).toBe(4);
  expect(
    seedsOf(
      confirming.find((prompt) => prompt !== PROMPT)!,
      "confirm",
    ).slice(0, fresh.length),
  ).toEqual(fresh);
});

test("a refinement that is killed anywhere and taken up again ends as if it had not been", async () => {
  const whole = await refineLamps(evolve, LAMPS, PROMPT, 32);
  for (let stop = 1; stop < 32; stop += 3) {
    const killed = await refineLamps(evolve, LAMPS, PROMPT, 32, { stopAfter: stop });
    const finished = killed.draws.map(({ refinement, ...one }): Finished => ({
      ...one,
      lineage: { strategy: "evolve", parent: null, round: roundOf(one.index), refinement },
    }));
    const resumed = await refineLamps(evolve, LAMPS, PROMPT, 32, { finished });
    expect(resumed.draws).toEqual(whole.draws);
    expect(resumed.events.filter(({ type }) => type === "scored")).toHaveLength(32 - stop);
    expect(resumed.done.ranking).toEqual(whole.done.ranking);
  }
  function roundOf(index: number): number {
    const event = whole.events.find((one) => one.type === "scored" && one.candidate.index === index);
    return event?.type === "scored" ? event.candidate.lineage.round : 0;
  }
});

test("what a killed run had proposed is kept, whatever the refiner says now", async () => {
  const first = scripted([["a", "b", "c", "d", "e", "f", "g"]]);
  const killed = await refineLamps(first, LAMPS, PROMPT, 32, { stopAfter: 5 });
  const finished = killed.draws.map(({ refinement, ...one }): Finished => ({
    ...one,
    lineage: { strategy: "x", parent: null, round: 0, refinement },
  }));
  const resumed = await refineLamps(scripted([["x", "y", "z", "w", "v"]]), LAMPS, PROMPT, 32, { finished });
  expect(resumed.conclusion.prompts.map(({ prompt }) => prompt)).toEqual([PROMPT, "a", "b", "c", "d", "x", "y", "z"]);
  const other: Finished = { ...finished[0]!, prompt: "another" };
  await expect(refineLamps(first, LAMPS, PROMPT, 32, { finished: [other] })).rejects.toThrow(
    /candidate 0: expected one of/,
  );
});

test("results do not depend on the groups candidates are drawn in", async () => {
  const draws = await Promise.all(
    [1, 3, 8].map(async (batch) => (await refineLamps(evolve, { ...LAMPS, batch }, PROMPT, 48)).draws),
  );
  expect(draws[1]).toEqual(draws[0]);
  expect(draws[2]).toEqual(draws[0]);
});

test("a goal ends it after the group that reaches it, and other budgets after the group that spends them", async () => {
  const goal = await refineLamps(evolve, LAMPS, PROMPT, 64, {
    budget: { candidates: 64, until: { score: -0.9, images: 1 } },
  });
  expect(goal.done.reason).toBe("reached");
  expect(goal.draws.length).toBeLessThan(32);
  const spent = await refineLamps(evolve, LAMPS, PROMPT, 64, { budget: { candidates: 64, evaluations: 40 } });
  expect(spent.done.reason).toBe("evaluations");
  expect(spent.conclusion.winner).toBe(PROMPT);
});

test("prompts that are blank, known or proposed twice are left out", async () => {
  const refiner = scripted([
    ["  ", PROMPT, "a", " a ", "b"],
    ["a", "c"],
  ]);
  const { conclusion } = await refineLamps(refiner, LAMPS, PROMPT, 32);
  expect(conclusion.prompts.map(({ prompt }) => prompt)).toEqual([PROMPT, "a", "b", "c"]);
  expect(refiner.states[1]!.history.map(({ prompt, candidates }) => [prompt, candidates])).toEqual([
    [PROMPT, 1],
    ["a", 1],
    ["b", 1],
  ]);
});

describe("gains", () => {
  const draw = (prompt: string, seed: number, score: number | null, phase: "search" | "confirm" = "search"): Draw => {
    const from = prompt === "o" ? null : "o";
    return {
      index: seed,
      seed,
      prompt,
      score,
      refinement: { from, edit: from === null ? null : "e", phase, flag: null },
    };
  };

  test("are differences over the seeds that both prompts have scores for, with Student's interval", () => {
    const before = [draw("o", 1, 1), draw("o", 2, 2), draw("o", 3, 3), draw("o", 4, null)];
    const after = [draw("p", 1, 2), draw("p", 2, 4), draw("p", 3, 6), draw("p", 4, 9), draw("p", 5, 9)];
    const gain = gainOf(before, after)!;
    // differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.30265
    expect(gain).toMatchObject({ estimate: 2, seeds: 3 });
    expect(gain.low).toBeCloseTo(2 - 4.30265 / Math.sqrt(3), 4);
    expect(gain.high).toBeCloseTo(2 + 4.30265 / Math.sqrt(3), 4);
    expect(gainOf(before, [draw("p", 9, 1)])).toBeNull();
  });

  test("of the search alone do not make a winner", () => {
    const search = [1, 2, 3].flatMap((seed) => [draw("o", seed, 0), draw("p", seed, 5 + seed / 10)]);
    expect(conclude(search, "o").winner).toBe("o");
    const confirming = [4, 5, 6].flatMap((seed) => [
      draw("o", seed, 0, "confirm"),
      draw("p", seed, seed === 4 ? -9 : 1, "confirm"),
    ]);
    expect(conclude([...search, ...confirming], "o").winner).toBe("o");
  });
});
