/** @file What to take, in words, from the figures of a comparison of strategies. */

import type { ComparedArm, ComparedDifference, MetricDescription, StrategyComparison } from "./strategy-comparison.js";

/** Fewer distinct prompts than this make rough intervals. */
const FEW_PROMPTS = 20;
/** A strategy that spends more of its budget than this had an advantage. */
const OVERSPENT = 1.02;

/** What is said of a budget. */
export interface BudgetVerdict {
  readonly budget: number;
  /** What to take, then what else is known; without full stops. */
  readonly sentences: readonly string[];
}

/**
 * What a user can act on, one text for each budget: the strategies that are shown to be better than the baseline, best estimate first; those that are shown to
 * be worse; the baseline where nothing beats it. The truth decides where it was measured, else the held-out rewards, else the guide, with the remark that it
 * judged its own choice. With several such metrics a strategy must be better on one and worse on none. A last text says so where the prompts were few.
 */
export function verdictOf(comparison: StrategyComparison): string[] {
  const few = fewPrompts(comparison);
  return [
    ...budgetVerdicts(comparison).map(
      ({ budget, sentences }) => `${pictures(budget)}: ${sentences.map((one) => `${one}.`).join(" ")}`,
    ),
    ...(few === null ? [] : [few]),
  ];
}

/** The same by budget and sentence. */
export function budgetVerdicts(comparison: StrategyComparison): BudgetVerdict[] {
  const deciding = decidingMetrics(comparison.metrics);
  return comparison.budgets.map((budget) => ({ budget, sentences: budgetVerdict(comparison, budget, deciding) }));
}

/** A remark where prompts are few; null where they are not. */
export function fewPrompts({ descriptions }: StrategyComparison): string | null {
  if (descriptions >= FEW_PROMPTS) return null;
  return `${descriptions} distinct ${descriptions === 1 ? "prompt is" : "prompts are"} few: the intervals are rough, and little can be shown.`;
}

/** `16 pictures` */
export function pictures(budget: number): string {
  return budget === 1 ? "1 picture" : `${budget} pictures`;
}

/** The metrics that a verdict stands on: the truth, else held-out rewards, else the guide. */
export function decidingMetrics(metrics: readonly MetricDescription[]): readonly MetricDescription[] {
  const kinds = ["truth", "held-out", "guide"] as const;
  return kinds.map((kind) => metrics.filter((one) => one.kind === kind)).find(({ length }) => length > 0) ?? [];
}

/** Digits after the point with which the differences of a metric can be read: two of its narrowest corrected interval, from 3 to 6. */
export function metricDigits({ arms }: StrategyComparison, key: string): number {
  const widths = arms.flatMap(({ metrics }) => {
    const { low, high } = metrics[key]?.difference?.corrected ?? { low: 0, high: 0 };
    return high > low ? [high - low] : [];
  });
  const narrowest = Math.min(...widths, 1);
  return Math.min(6, Math.max(3, 1 + Math.ceil(-Math.log10(narrowest))));
}

/** A difference in words, with its corrected interval: `+0.062 (+0.021 to +0.104)`. */
export function differenceInWords({ estimate, corrected }: ComparedDifference, digits: number): string {
  return `${signedNumber(estimate, digits)} (${signedNumber(corrected.low, digits)} to ${signedNumber(corrected.high, digits)})`;
}

/** So many digits after the point with their sign, `+0.062`; `-` for what is no number, which JSON holds as null. */
export function signedNumber(value: number | null, digits: number): string {
  if (value === null || !Number.isFinite(value)) return "-";
  const size = Math.abs(value).toFixed(digits);
  return Number(size) === 0 ? size : `${value < 0 ? "−" : "+"}${size}`;
}

function budgetVerdict(
  comparison: StrategyComparison,
  budget: number,
  deciding: readonly MetricDescription[],
): string[] {
  const { arms, baseline, metrics } = comparison;
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
  const figures = (arm: ComparedArm): string => shown(comparison, arm, deciding);
  const told = (arm: ComparedArm): string => [arm.strategy, figures(arm), ...caveats(arm, metrics)].join(", ");
  const sentences = [
    best === undefined ? `no strategy is shown to beat ${baseline}; take ${baseline}` : `take ${best.strategy}`,
    ...(best === undefined ? [] : [`${figures(best)} against ${baseline}`, ...caveats(best, metrics)]),
    ...(kind === "guide" && best !== undefined ? ["the guide judged its own choice here: nothing else shows that the pictures are better"] : []), // prettier-ignore
    ...(rest.length === 0 ? [] : [`also shown to be better: ${rest.map(told).join("; ")}`]),
    ...(worse.length === 0 ? [] : [`shown to be worse: ${worse.map(told).join("; ")}`]),
    ...(mixed.length === 0 ? [] : [`better and worse at once: ${mixed.map(told).join("; ")}`]),
    ...(raised.length === 0 ? [] : [`a higher guide, with nothing shown on ${kind === "truth" ? "the truth" : "held-out rewards"}: ${raised.map(({ strategy }) => strategy).join(", ")}`]), // prettier-ignore
  ];
  return sentences.map((sentence, i) => (i === 0 ? sentence : sentence.replace(/^./, (first) => first.toUpperCase())));
}

type Outcome = ComparedDifference["verdict"] | "mixed";

function outcomeOf({ metrics }: ComparedArm, deciding: readonly MetricDescription[]): Outcome {
  const verdicts = deciding.map(({ key }) => metrics[key]?.difference?.verdict);
  const [better, worse] = [verdicts.includes("better"), verdicts.includes("worse")];
  return better && worse ? "mixed" : better ? "better" : worse ? "worse" : "undecided";
}

/** `share of facts +0.062 (+0.021 to +0.104)` for every deciding metric that tells something. */
function shown(
  comparison: StrategyComparison,
  { metrics }: ComparedArm,
  deciding: readonly MetricDescription[],
): string {
  return deciding
    .flatMap(({ key, title }) => {
      const difference = metrics[key]?.difference ?? null;
      return difference === null || difference.verdict === "undecided" ? [] : [`${title} ${differenceInWords(difference, metricDigits(comparison, key))}`]; // prettier-ignore
    })
    .join(", ");
}

/** What speaks against a strategy although it is better. */
function caveats({ metrics: figures, compute, budget }: ComparedArm, metrics: readonly MetricDescription[]): string[] {
  const narrower = metrics.some(({ key, kind }) => kind === "diversity" && figures[key]?.difference?.verdict === "worse"); // prettier-ignore
  return [
    ...(narrower ? ["but its pictures are less diverse"] : []),
    ...(compute > OVERSPENT * budget ? [`but it spent ${Math.round((100 * compute) / budget)} % of the budget`] : []),
  ];
}

function raisesGuide({ metrics: figures }: ComparedArm, metrics: readonly MetricDescription[]): boolean {
  return metrics.some(({ key, kind }) => kind === "guide" && figures[key]?.difference?.verdict === "better");
}

function estimateOf({ metrics }: ComparedArm, key: string): number {
  const estimate = metrics[key]?.difference?.estimate ?? Number.NaN;
  return Number.isFinite(estimate) ? estimate : -Number.MAX_VALUE;
}
