/** @file The charts of a comparison of strategies: values against compute, and differences to the baseline with their intervals. */

import type {
  ComparedArm,
  ComparedDifference,
  MetricDescription,
  StrategyComparison,
} from "../evaluation/strategy-comparison.js";
import { differenceInWords, metricDigits, signedNumber } from "../evaluation/strategy-verdict.js";
import { figure, percent, seriesName, type StrategySeries } from "./comparison-series.js";
import { type Html, html } from "./html.js";
import { type Curve, type HorizontalAxis, lineChart } from "./line-chart.js";
import { niceScale, type Scale } from "./scale.js";

/** Part of the axis by which neighbouring strategies stand apart at the same budget, so that their bars do not cover each other. */
const APART = 0.016;

/** A chart for every metric: its mean against the budget, a line for each strategy. Empty for one budget, which makes no line. */
export function budgetCharts(comparison: StrategyComparison, series: readonly StrategySeries[]): Html[] {
  const { budgets, metrics } = comparison;
  const [low, high] = [budgets[0], budgets.at(-1)];
  if (low === undefined || high === undefined || low === high) return [];
  const apart = (high / low) ** APART;
  const margin = apart ** (series.length / 2 + 1);
  const axis: HorizontalAxis = { low: low / margin, high: high * margin, ticks: budgets, logarithmic: true };
  return metrics.flatMap((metric) => {
    const digits = metricDigits(comparison, metric.key);
    const curves = series.map((one, i): Curve => {
      const shift = apart ** (i - (series.length - 1) / 2);
      const points = armsOf(comparison, one).flatMap((arm) => {
        const value = arm.metrics[metric.key]?.value;
        if (value === undefined || !Number.isFinite(value.estimate)) return [];
        const title = `${one.strategy} at ${arm.budget}: ${figure(value.estimate, digits)} (${figure(value.low, digits)} to ${figure(value.high, digits)})`;
        return [{ x: arm.budget * shift, y: value.estimate, low: value.low, high: value.high, title }];
      });
      return { name: one.strategy, tone: one.tone, marker: one.marker, points, dots: true, bars: true };
    });
    const values = curves.flatMap(({ points }) => points.flatMap(({ y, high = y, low = y }) => [y, high, low]));
    const isShare = metric.kind === "truth" && values.every((value) => value >= 0 && value <= 1);
    const chart = { title: metric.title, note: kindInWords(metric.kind), curves, last: axis, legend: false };
    return lineChart(isShare ? { ...chart, limits: [0, 1] } : chart) ?? [];
  });
}

/** The guide so far on the way through the largest budget; null without a curve. */
export function searchChart(comparison: StrategyComparison, series: readonly StrategySeries[]): Html | null {
  const budget = comparison.budgets.at(-1) ?? 0;
  const curves = series.map(({ strategy, tone, marker }): Curve => {
    const arm = comparison.arms.find((one) => one.strategy === strategy && one.budget === budget);
    const points = (arm?.curve ?? []).map(({ compute, guide }) => {
      return { x: compute, y: guide, title: `${strategy} after ${percent(compute / budget)}: ${figure(guide)}` };
    });
    return { name: strategy, tone, marker, points, dots: "last" };
  });
  const { ticks } = niceScale(0, budget, 6);
  return lineChart({
    title: `Best guide so far, at a budget of ${budget}`,
    note: "guide on the way, against the compute spent so far in pictures; no intervals",
    curves,
    last: { low: 0, high: budget, ticks: ticks.filter((tick) => tick >= 0 && tick <= budget) },
    legend: false,
  });
}

/** What a kind of metric is, in a word or two. */
export function kindInWords(kind: MetricDescription["kind"]): string {
  return { guide: "guide", "held-out": "held-out reward", truth: "truth", diversity: "diversity" }[kind];
}

/** A card for a metric: dot and corrected interval of every strategy and budget beside a line at zero. Null where nothing differs from a baseline. */
export function forestPlot(
  comparison: StrategyComparison,
  series: readonly StrategySeries[],
  metric: MetricDescription,
): Html | null {
  const groups = series
    .filter(({ strategy }) => strategy !== comparison.baseline)
    .map((one) => ({ one, rows: armsOf(comparison, one).flatMap((arm) => differenceRow(arm, metric.key)) }));
  const ends = groups.flatMap(({ rows }) => rows.flatMap(({ difference: { estimate, corrected } }) => [estimate, corrected.low, corrected.high])); // prettier-ignore
  const known = ends.filter(Number.isFinite);
  if (known.length === 0) return null;
  const digits = metricDigits(comparison, metric.key);
  const scale = niceScale(Math.min(0, ...known), Math.max(0, ...known), 4);
  return html`<section class="card forest">
    <h3>${metric.title} <span class="kind">${kindInWords(metric.kind)}</span></h3>
    ${groups.map(({ one, rows }) => [
      seriesName(one),
      ...rows.map(
        ({ budget, difference }) =>
          html`<div class="row">
            <span>${budget}</span
            >${strip(scale, difference, `${one.strategy} at ${budget}: ${differenceInWords(difference, digits)}`)}
            <span
              ><b>${signedNumber(difference.estimate, digits)}</b
              ><span class="${difference.verdict}">${difference.verdict}</span></span
            >
          </div>`,
      ),
    ])}
    <div class="row">
      <span></span>
      <svg aria-hidden="true">
        ${scale.ticks.map((tick) => html`<text class="axis-text" x="${place(scale, tick)}" y="14">${tick === 0 ? "0" : signed(tick, scale.digits)}</text>`)}
      </svg>
      <span></span>
    </div>
  </section>`;
}

function strip(scale: Scale, { estimate, corrected, verdict }: ComparedDifference, text: string): Html {
  const told = `${text}, ${verdict}`;
  const known = Number.isFinite(corrected.low) && Number.isFinite(corrected.high);
  return html`<svg role="img" aria-label="${told}">
    ${scale.ticks.map((tick) => html`<line class="${tick === 0 ? "zero" : "grid-line"}" x1="${place(scale, tick)}" x2="${place(scale, tick)}" y1="0" y2="22" />`)}
    <g class="${verdict}">
      <title>${told}</title>
      ${known ? html`<line x1="${place(scale, corrected.low)}" x2="${place(scale, corrected.high)}" y1="11" y2="11" />` : null}
      ${Number.isFinite(estimate) ? html`<circle cx="${place(scale, estimate)}" cy="11" r="4.5" stroke-width="2" />` : null}
    </g>
  </svg>`;
}

function differenceRow(
  { budget, metrics }: ComparedArm,
  key: string,
): { readonly budget: number; readonly difference: ComparedDifference }[] {
  const difference = metrics[key]?.difference ?? null;
  return difference === null ? [] : [{ budget, difference }];
}

function armsOf({ arms }: StrategyComparison, { strategy }: StrategySeries): ComparedArm[] {
  return arms.filter((arm) => arm.strategy === strategy);
}

function place({ low, high }: Scale, value: number): string {
  return `${Math.round(((value - low) / (high - low)) * 1e4) / 100}%`;
}

function signed(value: number, digits: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
}
