/** @file The tables of a comparison of strategies: every figure, and what the searches cost. */

import type { ComparedArm, MetricDescription, StrategyComparison } from "../evaluation/strategy-comparison.js";
import { metricDigits, signedNumber } from "../evaluation/strategy-verdict.js";
import { kindInWords } from "./comparison-charts.js";
import { figure, percent, seriesName, type StrategySeries } from "./comparison-series.js";
import { Html, html } from "./html.js";

/** A card with the figures of a metric. */
export function metricTable(
  comparison: StrategyComparison,
  series: readonly StrategySeries[],
  metric: MetricDescription,
): Html {
  const digits = metricDigits(comparison, metric.key);
  const plain = (value: number | null): string => figure(value, digits);
  const signed = (value: number | null): string => signedNumber(value, digits);
  return html`<section class="card metric scroll">
    <h3>${metric.title} <span class="kind">${kindInWords(metric.kind)}</span></h3>
    <table class="figures">
      ${head(["value", "95 % interval", "difference", "corrected interval", "p", "verdict"])}
      ${bodies(comparison, series, (arm) => {
        const { value, difference } = arm.metrics[metric.key] ?? { value: undefined, difference: null };
        const own = [plain(value?.estimate ?? null), range(plain, value?.low ?? null, value?.high ?? null)];
        if (difference === null) return [...own.map(number), html`<td></td><td></td><td></td>`, html`<td><small>baseline</small></td>`]; // prettier-ignore
        const { corrected, estimate, p, verdict } = difference;
        return [
          ...[...own, signed(estimate)].map(number),
          html`<td class="number">
            ${range(signed, corrected.low, corrected.high)} <small>at ${level(corrected.confidence)}</small>
          </td>`,
          number(shownP(p)),
          html`<td><span class="${verdict}">${verdict}</span></td>`,
        ];
      })}
    </table>
  </section>`;
}

/** A card with compute and time of every strategy and budget. */
export function costTable(comparison: StrategyComparison, series: readonly StrategySeries[]): Html {
  const { arms } = comparison;
  const kinds = [...new Set(arms.flatMap(({ work }) => Object.keys(work)))].filter((kind) => arms.some(({ work }) => (work[kind] ?? 0) > 0)); // prettier-ignore
  const most = Math.max(1, ...arms.map(({ compute, budget }) => compute / budget).filter(Number.isFinite));
  const keys = kinds.map(
    (kind, i) => html`<svg class="swatch" aria-hidden="true"><rect class="work-${i}" width="10" height="10" /></svg>${WORK[kind] ?? kind}`, // prettier-ignore
  );
  return html`<section class="card metric scroll">
    <table class="figures">
      ${head(["spent of the budget", "of which", ...keys, "evaluations", "pictures finished", "seconds", "outside of programs"], 1)}
      ${bodies(comparison, series, (arm) => [
        number(percent(arm.compute / arm.budget)),
        html`<td>${workBar(arm, kinds, most)}</td>`,
        ...kinds.map((kind) => number(percent((arm.work[kind] ?? 0) / arm.budget))),
        number(figureOf(arm.evaluations)),
        number(figureOf(arm.pictures)),
        number(arm.seconds === null || !Number.isFinite(arm.seconds) ? "-" : arm.seconds.toFixed(arm.seconds < 10 ? 2 : 1)), // prettier-ignore
        number(percent(arm.outside)),
      ])}
    </table>
  </section>`;
}

/** Kinds of work in words. */
const WORK: Readonly<Record<string, string>> = {
  evaluation: "denoiser",
  decoding: "decoding",
  scoring: "scoring",
  encoding: "encoding",
  evaluationGradient: "gradient of the denoiser",
  scoringGradient: "gradient of the score",
};

/** Shares of the budget beside each other, with a line where it ends. */
function workBar({ work, budget, strategy }: ComparedArm, kinds: readonly string[], most: number): Html {
  const share = (kind: string): number => Math.max(0, (work[kind] ?? 0) / budget / most);
  const at = (value: number): string => `${Math.round(1e4 * value) / 100}%`;
  const told = kinds.map((kind) => `${WORK[kind] ?? kind} ${percent((work[kind] ?? 0) / budget)}`).join(", ");
  let from = 0;
  return html`<svg class="work" role="img" aria-label="${strategy} at ${budget}: ${told}">
    <title>${told}</title>
    ${kinds.map((kind, i) => {
      const start = from;
      from += share(kind);
      return html`<rect class="work-${i}" x="${at(start)}" width="${at(share(kind))}" height="14" />`;
    })}
    <line class="limit" x1="${at(1 / most)}" x2="${at(1 / most)}" y1="-3" y2="17" />
  </svg>`;
}

/** Titles after strategy and budget; those from `left` on stand at the right, above numbers, but for words. */
function head(titles: readonly (string | Html)[], wordsAt = titles.length - 1): Html {
  return html`<thead>
    <tr>
      <th scope="col">strategy</th>
      <th scope="col" class="number">budget</th>
      ${titles.map((title, i) => html`<th scope="col" ${new Html(i === wordsAt ? "" : ' class="number"')}>${title}</th>`)}
    </tr>
  </thead>`;
}

/** A group of rows for every strategy, a row for every budget. */
function bodies(
  { arms }: StrategyComparison,
  series: readonly StrategySeries[],
  cells: (arm: ComparedArm) => readonly Html[],
): Html[] {
  return series.map((one) => {
    const own = arms.filter(({ strategy }) => strategy === one.strategy);
    return html`<tbody>
      ${own.map(
        (arm, i) =>
          html`<tr>
            ${i > 0 ? null : html`<th scope="rowgroup" rowspan="${own.length}">${seriesName(one)}</th>`}
            ${number(String(arm.budget))} ${cells(arm)}
          </tr>`,
      )}
    </tbody>`;
  });
}

function number(text: string): Html {
  return html`<td class="number">${text}</td>`;
}

function range(shown: (value: number | null) => string, low: number | null, high: number | null): string {
  return low === null || high === null || !Number.isFinite(low + high) ? "-" : `${shown(low)} to ${shown(high)}`;
}

/** `99.7 %` */
function level(confidence: number): string {
  return `${Number((100 * confidence).toFixed(2))} %`;
}

function shownP(p: number | null): string {
  if (p === null || !Number.isFinite(p)) return "-";
  return p < 0.001 ? "< 0.001" : p.toFixed(3);
}

function figureOf(value: number | null): string {
  return value === null || !Number.isFinite(value) ? "-" : String(Number(value.toFixed(value < 100 ? 1 : 0)));
}
