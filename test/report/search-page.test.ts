/** @file The search on the page of a run: whose way goes where, what is said of it, and that prompts stay text. */

import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { generateRun } from "#laurel/pipeline/generate-run";
import type { RankedCandidate } from "#laurel/pipeline/ranked";
import { createRun, RUN_FILES } from "#laurel/pipeline/run-store";
import { writeReport } from "#laurel/report/report";
import { picturePoints, promptPoints, roundsInWords } from "#laurel/report/rounds-section";
import { searchInWords, searchPoints } from "#laurel/report/search-section";
import { waysChart, type WayPoint } from "#laurel/report/ways";
import { bestOfN } from "#laurel/strategies/best-of-n";
import type { Lineage, SearchEvent, Strategy } from "#laurel/strategies/contract";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { newRun, temporaryFolder } from "../pipeline/runs.js";

const EVIL = `</svg><script>alert("1")</script>`;

/** What the drawing needs of candidates: the scores by index, ranked, the best one kept. */
function ranked(scores: readonly (number | null)[], lineage: (index: number) => Partial<Lineage>): RankedCandidate[] {
  return scores
    .map((score, index) => ({
      index,
      seed: 7 + index,
      score,
      prompt: "p",
      lineage: { strategy: "s", parent: null, round: 0, ...lineage(index) },
    })) // prettier-ignore
    .sort((a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity))
    .map((one, i) => ({ ...one, rank: i + 1, kept: i < 1 }) as unknown as RankedCandidate);
}

/** Of a point, the scores from the beginning of its way to it. */
function wayTo(points: readonly WayPoint[], point: WayPoint): number[] {
  return point.before === undefined ? [point.y] : [...wayTo(points, points[point.before]!), point.y];
}

const PARTICLES: readonly SearchEvent[] = [
  { type: "plan", steps: 8, begun: 3, cuts: [2, 4].map((step) => ({ step, keep: 1 })) },
  ...[0.1, 0.2, 0.3].map((score, index) => ({ type: "look", index, step: 2, score }) as const),
  { type: "pruned", index: 0, step: 2, reason: "resampled away" },
  { type: "parted", index: 0, from: 2, step: 2 },
  ...[0.4, 0.5, null].map((score, index) => ({ type: "look", index, step: 4, score }) as const),
  { type: "pruned", index: 2, step: 4, reason: "resampled away" },
  { type: "parted", index: 2, from: 0, step: 4 },
];

describe("ways through the sampler", () => {
  const origins = [9, 8, 9];
  const ranking = ranked([0.6, 0.7, 0.9], (index) => ({ origin: origins[index]!, path: [] }));
  const points = searchPoints(PARTICLES, ranking, 8);

  test("go on from where a copy parted, each from its first look to its picture", () => {
    const ends = points.filter(({ x }) => x === 8);
    expect(ends.map((point) => wayTo(points, point))).toEqual([
      [0.3, 0.4, 0.9],
      [0.2, 0.5, 0.7],
      [0.3, 0.4, 0.6],
    ]);
    expect(points.filter(({ end }) => end === "dropped").map((point) => wayTo(points, point))).toEqual([[0.1]]);
    // a copy is a line of its own
    expect(new Set(points.filter(({ x }) => x !== 2).map(({ line }) => line))).toEqual(new Set(["0/1", "1/0", "2/1"]));
  });

  test("are drawn as a line each, the way to the best in its colour from the beginning, with curves where copies part", () => {
    const { markup } = waysChart({
      points,
      axis: { low: 2, high: 8, ticks: [], title: "steps" },
      spoken: "all of it",
      legend: { best: "best", other: "others", dropped: "gone" },
    });
    expect(markup).toMatch(/role="img"\s+aria-label="all of it"/);
    expect(markup.match(/<g\b/g)).toHaveLength(new Set(points.map(({ line }) => line)).size);
    // to 0.4, which parted from 0.3, and on to 0.9, which parted from 0.4
    expect(markup.match(/class="way best" d="[^"]*C/g)).toHaveLength(2);
    expect(markup.match(/<circle class="best"/g)).toHaveLength(1);
    expect(markup.match(/class="cross"/g)).toHaveLength(1);
  });

  test("are thinned where very many were dropped: all that came to a picture stay", () => {
    const many: WayPoint[] = Array.from({ length: 600 }, (_, i) => ({ x: 2, y: i, before: undefined, line: `${i}/0`, end: i % 3 === 0 ? "other" : "dropped" })); // prettier-ignore
    const { markup } = waysChart({
      points: many,
      axis: { low: 0, high: 8, ticks: [], title: "" },
      spoken: "",
      legend: {},
    });
    expect(markup.match(/<circle class="other"/g)).toHaveLength(200);
    expect(markup.match(/class="cross"/g)).toHaveLength(150);
    expect(markup).toContain("250 more lines are not drawn");
  });

  test("are told in numbers", () => {
    expect(searchInWords(PARTICLES, ranking, 4)).toBe(
      "3 particles went through the sampler with the compute of 4 plain pictures, 6 looks on the way included; 1 after step 2 and 1 after step 4 were replaced by copies of others. The 3 pictures go back to 2 of the 3 seeds.",
    );
    const halved: SearchEvent[] = [
      { type: "plan", steps: 8, begun: 5, cuts: [], previews: { observed: 2, fidelity: [] } },
      ...[0, 1, 2, 3, 4].map((index) => ({ type: "look", index, step: 3, score: index }) as const),
      ...[0, 1, 3].map((index) => ({ type: "pruned", index, step: 3, reason: "" }) as const),
    ];
    const left = ranked([null, null, 2, null, 4], () => ({})).filter(({ score }) => score !== null);
    expect(searchInWords(halved, left, 3)).toBe(
      "5 pictures were begun with the compute of 3 plain pictures, 2 more than best-of-n draws; 3 after step 3 were dropped by their previews, 2 finished.",
    );
    expect(searchInWords(halved.slice(0, 6), left, undefined)).toMatch(/^5 pictures were begun, 5 looks .* none was dropped/); // prettier-ignore
  });
});

describe("rounds", () => {
  const parents = [null, null, 1, 1, 3];
  const rounds = [0, 0, 1, 1, 2];
  const ranking = ranked([0.1, 0.4, 0.2, 0.5, 0.8], (index) => ({ parent: parents[index]!, round: rounds[index]! }));

  test("join every picture with the one it was made from", () => {
    const points = picturePoints([...ranking].sort((a, b) => a.index - b.index));
    expect(wayTo(points, points[4]!)).toEqual([0.4, 0.5, 0.8]);
    expect(points.map(({ before }) => before)).toEqual([undefined, undefined, 1, 1, 3]);
    expect(points.map(({ x }) => Math.round(x + 1) - 1)).toEqual(rounds);
    expect(roundsInWords(ranking)).toBe(
      "2 pictures from seeds, the best at 0.400, then 3 pictures in 2 rounds, the best at 0.800. The best picture came in round 2 by way of 2 other pictures.",
    );
  });

  test("join every prompt with the one it was made from, at its mean so far; fresh seeds count alone", () => {
    const draw = (prompt: string, round: number, seed: number, score: number, from: string | null, phase: "search" | "confirm" = "search") =>
      ({ index: 0, seed, prompt, score, round, refinement: { from, edit: null, phase, flag: null } }); // prettier-ignore
    const draws = [
      ...[draw("a", 0, 1, 0.2, null), draw("b", 0, 1, 0.4, "a")],
      ...[draw("b", 1, 2, 0.6, "a"), draw("c", 1, 1, 0.3, "b"), draw("c", 1, 2, 0.5, "b")],
      ...[1, 2, 3].flatMap((seed) => [draw("a", 2, 9 + seed, 0.1, null, "confirm"), draw("b", 2, 9 + seed, 0.9 + seed / 100, "a", "confirm")]), // prettier-ignore
    ];
    const points = promptPoints(draws, "a");
    const winner = points.find(({ end }) => end === "best")!;
    expect(wayTo(points, winner)).toEqual([0.2, 0.4, 0.5, 0.92].map((value) => expect.closeTo(value, 12)));
    expect(points.map((point) => wayTo(points, point).length)).toEqual([1, 2, 3, 3, 2, 4]);
  });
});

test("the page of a search draws it, with what previews were worth; prompts in its titles stay text", async () => {
  const strategy: Strategy = {
    name: "halving",
    async *run(context) {
      yield { type: "look", index: 0, step: 2, score: -0.4 };
      yield { type: "look", index: 9, step: 2, score: -0.5 };
      yield { type: "plan", steps: 4, begun: 4, cuts: [{ step: 2, keep: 0.5 }], previews: { observed: 3, fidelity: [{ step: 2, rankCorrelation: 0.71, regret: 0.125 }] } }; // prettier-ignore
      yield { type: "pruned", index: 9, step: 2, reason: EVIL };
      for await (const event of bestOfN.run(context)) {
        if (event.type !== "candidate" && event.type !== "scored") yield event;
        else {
          const { index, lineage } = event.candidate;
          const made = { ...lineage, parent: index === 0 ? null : 0, round: index === 0 ? 0 : 1 };
          yield { ...event, candidate: { ...event.candidate, lineage: made } };
        }
      }
    },
  };
  const run = await createRun(await temporaryFolder(), newRun({ count: 3, prompt: EVIL }));
  await generateRun(run, { backend: createProceduralBackend(), reward: createBrightnessReward(), strategy });
  await run.close();
  const { report } = await writeReport(run.snapshot());
  const page = await readFile(report, "utf8");
  // one through the sampler, one over the rounds
  expect(page.match(/<svg\s+class="chart ways"/g)).toHaveLength(2);
  expect(page).toMatch(/<td>2 of 4<\/td>\s*<td>0\.71<\/td>\s*<td>0\.125<\/td>\s*<td>the better 50 % go on<\/td>/);
  expect(page).not.toMatch(/<script|https?:/);
  expect(page).toContain("<title>candidate 9: &#60;/svg&#62;&#60;script&#62;");
  expect(page).toContain("made from candidate 0");

  const plain = await createRun(await temporaryFolder(), newRun({ count: 3 }));
  await generateRun(plain, { backend: createProceduralBackend(), reward: createBrightnessReward(), strategy: bestOfN });
  await plain.close();
  const { report: other } = await writeReport(plain.snapshot());
  expect(await readFile(other, "utf8")).not.toContain("The search");
  // what a stranger wrote into the file draws nothing that is not there
  await appendFile(join(plain.directory, RUN_FILES.search), `${JSON.stringify({ type: "parted", index: 5, from: 3, step: 1e9 })}\n${JSON.stringify({ type: "pruned", index: 5, step: 2, reason: EVIL })}\n`); // prettier-ignore
  const strange = await readFile((await writeReport(plain.snapshot())).report, "utf8");
  expect(strange).not.toMatch(/<script|NaN|Infinity/);
});
