/** @file What to take, in words, from the figures of a comparison of strategies. */

import type { ComparedArm, ComparedDifference, MetricDescription, StrategyComparison } from "./strategy-comparison.js";

/** Fewer distinct prompts than this make rough intervals. */
const FEW_PROMPTS = 20;
/** A strategy that spends more of its budget than this had an advantage. */
const OVERSPENT = 1.02;

/**
 * What a user can act on, one text for each budget: the strategies that are shown to be better than the baseline, best estimate first; those that are shown to
 * be worse; the baseline where nothing beats it. The truth decides where it was measured, else the held-out rewards, else the guide, with the remark that it
 * judged its own choice. With several such metrics a strategy must be better on one and worse on none. A last text says so where the prompts were few.
 */
export function verdictOf(comparison: StrategyComparison): string[] {
  const deciding = decidingMetrics(comparison.metrics);
  const few = `${comparison.descriptions} distinct ${comparison.descriptions === 1 ? "prompt is" : "prompts are"} few: the intervals are rough, and little can be shown`;
  return [
    ...comparison.budgets.map((budget) => `${pictures(budget)}: ${budgetVerdict(comparison, budget, deciding)}`),
    ...(comparison.descriptions < FEW_PROMPTS ? [`Take care: ${few}.`] : []),
  ];
}

/** The metrics that a verdict stands on: the truth, else held-out rewards, else the guide. */
export function decidingMetrics(metrics: readonly MetricDescription[]): readonly MetricDescription[] {
  const kinds = ["truth", "held-out", "guide"] as const;
  return kinds.map((kind) => metrics.filter((one) => one.kind === kind)).find(({ length }) => length > 0) ?? [];
}

/** A difference in words, with its corrected interval: `+0.062 (+0.021 to +0.104)`. */
export function differenceInWords({ estimate, corrected }: ComparedDifference): string {
  return `${signedNumber(estimate)} (${signedNumber(corrected.low)} to ${signedNumber(corrected.high)})`;
}

/** Three digits with their sign, `+0.062`; `-` for what is no number. */
export function signedNumber(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return "-";
  const size = Math.abs(value).toFixed(3);
  return Number(size) === 0 ? size : `${value < 0 ? "−" : "+"}${size}`;
}

function budgetVerdict(
  { arms, baseline, metrics }: StrategyComparison,
  budget: number,
  deciding: readonly MetricDescription[],
): string {
  const others = arms.filter((arm) => arm.budget === budget && arm.strategy !== baseline);
  const outcome = (arm: ComparedArm): Outcome => outcomeOf(arm, deciding);
  const first = deciding[0]?.key ?? "";
  const ranked = [...others].sort((a, b) => estimateOf(b, first) - estimateOf(a, first));
  const better = ranked.filter((arm) => outcome(arm) === "better");
  const worse = ranked.filter((arm) => outcome(arm) === "worse").reverse();
  const mixed = ranked.filter((arm) => outcome(arm) === "mixed");
  const kind = deciding[0]?.kind;
  const raised = kind === "guide" ? [] : ranked.filter((arm) => outcome(arm) === "undecided" && raisesGuide(arm, metrics)); // prettier-ignore
  const [best, ...rest] = better;
  const told = (arm: ComparedArm): string => `${arm.strategy}, ${shown(arm, deciding)}`;
  const sentences = [
    best === undefined
      ? `no strategy is shown to beat ${baseline}; take ${baseline}`
      : `take ${told(best)}${caveats(best, metrics)}`,
    ...(rest.length === 0 ? [] : [`Also shown to be better: ${rest.map((arm) => told(arm) + caveats(arm, metrics)).join("; ")}`]), // prettier-ignore
    ...(worse.length === 0 ? [] : [`Shown to be worse: ${worse.map(told).join("; ")}`]),
    ...(mixed.length === 0 ? [] : [`Better and worse at once: ${mixed.map(told).join("; ")}`]),
    ...(raised.length === 0 ? [] : [`A higher guide, with nothing shown on ${kind === "truth" ? "the truth" : "held-out rewards"}: ${raised.map(({ strategy }) => strategy).join(", ")}`]), // prettier-ignore
    ...(kind === "guide" && best !== undefined ? ["The guide judged its own choice here: that its pictures are better is not shown by anything else"] : []), // prettier-ignore
  ];
  return sentences.map((sentence) => `${sentence}.`).join(" ");
}

type Outcome = ComparedDifference["verdict"] | "mixed";

function outcomeOf({ metrics }: ComparedArm, deciding: readonly MetricDescription[]): Outcome {
  const verdicts = deciding.map(({ key }) => metrics[key]?.difference?.verdict);
  const [better, worse] = [verdicts.includes("better"), verdicts.includes("worse")];
  return better && worse ? "mixed" : better ? "better" : worse ? "worse" : "undecided";
}

/** `share of facts +0.062 (+0.021 to +0.104)` for every deciding metric that tells something. */
function shown({ metrics }: ComparedArm, deciding: readonly MetricDescription[]): string {
  return deciding
    .flatMap(({ key, title }) => {
      const difference = metrics[key]?.difference ?? null;
      return difference === null || difference.verdict === "undecided" ? [] : [`${title} ${differenceInWords(difference)}`]; // prettier-ignore
    })
    .join(", ");
}

function caveats({ metrics: figures, compute, budget }: ComparedArm, metrics: readonly MetricDescription[]): string {
  const narrower = metrics.some(({ key, kind }) => kind === "diversity" && figures[key]?.difference?.verdict === "worse"); // prettier-ignore
  const said = [
    ...(narrower ? ["its pictures are less diverse"] : []),
    ...(compute > OVERSPENT * budget ? [`it spent ${Math.round((100 * compute) / budget)} % of the budget`] : []),
  ];
  return said.length === 0 ? "" : ` (but ${said.join(" and ")})`;
}

function raisesGuide({ metrics: figures }: ComparedArm, metrics: readonly MetricDescription[]): boolean {
  return metrics.some(({ key, kind }) => kind === "guide" && figures[key]?.difference?.verdict === "better");
}

function estimateOf({ metrics }: ComparedArm, key: string): number {
  const estimate = metrics[key]?.difference?.estimate ?? Number.NaN;
  return Number.isFinite(estimate) ? estimate : -Number.MAX_VALUE;
}

function pictures(budget: number): string {
  return budget === 1 ? "1 picture" : `${budget} pictures`;
}
