import { expect, test } from "vitest";
import { comparisonMarkdown, comparisonText } from "#laurel/cli/comparison";
import { compareStrategies, type StrategyComparison } from "#laurel/evaluation/strategy-comparison";
import { GUIDE, inventTrial, inventTrials } from "../evaluation/strategy-trials.js";

const LONG = "particles:lambda=3:from=0.5:to=0.8:times=2";
const numbers = (change: number): number[] => Array.from({ length: 30 }, (_, i) => change + (i % 5) / 100);

function compared(): StrategyComparison {
  const trials = [4, 16].flatMap((budget) => [
    ...inventTrials("best-of-n", numbers(0.5), { budget, compute: budget }),
    ...inventTrials(LONG, numbers(budget === 4 ? 0.75 : 0.25), { budget, compute: budget / 2, seconds: 12.34 }),
  ]);
  return compareStrategies(trials, "best-of-n", [GUIDE]);
}

test("a row for every strategy and budget: value, difference with its corrected interval, mark, compute, seconds", () => {
  const lines = comparisonText(compared()).split("\n");
  expect(lines[0]).toMatch(/^strategy +budget {2}the judge +compute {2}seconds$/);
  expect(lines[1]).toMatch(/^best-of-n +4 {2}0\.520 +100 % +0\.40$/);
  expect(lines[3]).toBe(`${LONG}       4  0.770 +0.250 (+0.250 to +0.250) ▲     50 %     12.3`);
  expect(lines[4]).toBe(`${LONG}      16  0.270 −0.250 (−0.250 to −0.250) ▼     50 %     12.3`);
  expect(lines[6]).toBe("Means over 30 distinct prompts; differences to best-of-n with corrected intervals: ▲ better, ▼ worse, undecided without a mark."); // prettier-ignore
  expect(lines[8]).toMatch(/^4 pictures: take particles/);
  expect(lines[9]).toMatch(
    /^16 pictures: no strategy is shown to beat best-of-n; take best-of-n\. Shown to be worse: particles/,
  );
});

test("columns that do not fit stand below each other, each with strategy and budget", () => {
  const text = comparisonText(compared(), 90);
  const tables = text.split("\n\n").filter((part) => part.startsWith("strategy"));
  expect(tables).toHaveLength(2);
  for (const line of tables.join("\n").split("\n")) expect(line.length).toBeLessThanOrEqual(90);
  expect(tables[1]).toMatch(/^strategy +budget {2}compute {2}seconds\nbest-of-n +4 +100 % +0\.40\n/);
});

test("Markdown has the same cells, with bars escaped", () => {
  const [title, rule, ...rows] = comparisonMarkdown(compared()).split("\n");
  expect(title).toBe("| strategy | budget | the judge | compute | seconds |");
  expect(rule).toBe("| --- | --: | --- | --: | --: |");
  expect(rows[2]).toBe(`| \`${LONG}\` | 4 | 0.770 +0.250 (+0.250 to +0.250) ▲ | 50 % | 12.3 |`);
  const barred = compareStrategies([inventTrial()], "best-of-n", [{ ...GUIDE, title: "a|b" }]);
  expect(comparisonMarkdown(barred)).toContain("| a\\|b |");
});

test("figures that are narrow have the digits to be read, those that are none have a dash", () => {
  const small = [
    ...inventTrials("best-of-n", numbers(0).map((value) => value / 100)), // prettier-ignore
    ...inventTrials("a", numbers(0).map((value) => value / 50 + 0.0001)), // prettier-ignore
  ];
  expect(comparisonText(compareStrategies(small, "best-of-n", [GUIDE]))).toMatch(/0\.0005\d* \+0\.0003\d* \(\+0\.0002\d* to \+0\.0003\d*\) ▲/); // prettier-ignore
  const none = JSON.parse(JSON.stringify(compareStrategies([inventTrial({ metrics: {} })], "best-of-n", [GUIDE]))) as StrategyComparison; // prettier-ignore
  expect(comparisonText(none)).toMatch(/best-of-n +4 {2}- +100 %/);
});
