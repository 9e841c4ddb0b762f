/** @file The distribution of scores as an inline SVG: one dot per candidate, or a histogram when there are many. */

import { mean } from "../util/statistics.js";
import { Html, html } from "./html.js";
import { niceScale, px } from "./scale.js";

/** A candidate as the chart shows it. */
export interface ChartPoint {
  readonly score: number;
  readonly kept: boolean;
  readonly best: boolean;
  readonly label: string;
}

const WIDTH = 760;
const MARGIN = { left: 16, right: 16, top: 26, bottom: 30 };
const MOST_DOTS = 120;

/** An SVG of 760 units width with its legend, coloured by the page's style; empty markup for fewer than two. */
export function distributionChart(points: readonly ChartPoint[]): Html {
  if (points.length < 2) return new Html("");
  const scores = points.map((point) => point.score);
  const scale = niceScale(Math.min(...scores), Math.max(...scores));
  const x = (value: number): number =>
    MARGIN.left + ((value - scale.low) / (scale.high - scale.low)) * (WIDTH - MARGIN.left - MARGIN.right);
  const few = points.length <= MOST_DOTS;
  const { marks, height } = few ? dots(points, x) : bars(points, scale, x);
  const floor = MARGIN.top + height;
  const middle = mean(scores);
  const meanLine = html`<line
    class="mean"
    x1="${px(x(middle))}"
    x2="${px(x(middle))}"
    y1="${MARGIN.top - 8}"
    y2="${floor}"
  />`;
  return html`<svg
      class="chart"
      viewBox="0 0 ${WIDTH} ${floor + MARGIN.bottom}"
      role="img"
      aria-label="Distribution of ${points.length} scores from ${format(Math.min(...scores))} to ${format(Math.max(...scores))}, mean ${format(middle)}"
    >
      ${few ? meanLine : null}
      <text class="mean-label" x="${px(Math.min(Math.max(x(middle), 40), WIDTH - 40))}" y="${MARGIN.top - 13}">
        mean ${format(middle)}
      </text>
      ${marks} ${few ? null : meanLine}
      <line class="axis" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${floor + 0.5}" y2="${floor + 0.5}" />
      ${scale.ticks.map(
        (tick) =>
          html`<line class="axis" x1="${px(x(tick))}" x2="${px(x(tick))}" y1="${floor}" y2="${floor + 5}" /><text
              class="tick"
              x="${px(x(tick))}"
              y="${floor + 20}"
              >${tick.toFixed(scale.digits)}</text
            >`,
      )}
    </svg>
    <div class="legend">
      ${few ? html`<span class="best">best</span>` : null}<span class="kept">kept</span><span>others</span>
    </div>`;
}

/** Each dot stands at its score; one that would overlap another is stacked on it. */
function dots(points: readonly ChartPoint[], x: (value: number) => number): { marks: Html; height: number } {
  const radius = points.length <= 40 ? 7 : 5;
  const spacing = radius * 2 + 2;
  const levels: number[] = [];
  const placed = [...points]
    .sort((a, b) => a.score - b.score)
    .map((point) => {
      const at = x(point.score);
      const free = levels.findIndex((last) => at - last >= spacing);
      const level = free < 0 ? levels.length : free;
      levels[level] = at;
      return { point, at, level };
    });
  const height = Math.max(levels.length, 3) * spacing + 4;
  const marks = placed.map(
    ({ point, at, level }) =>
      html`<circle
        class="${pointClass(point)}"
        cx="${px(at)}"
        cy="${px(MARGIN.top + height - 4 - radius - level * spacing)}"
        r="${radius}"
      >
        <title>${point.label}</title>
      </circle>`,
  );
  return { marks: html`${marks}`, height };
}

function bars(
  points: readonly ChartPoint[],
  scale: { readonly low: number; readonly high: number },
  x: (value: number) => number,
): { marks: Html; height: number } {
  const bins = Math.min(40, Math.ceil(Math.sqrt(points.length)) + 4);
  const step = (scale.high - scale.low) / bins;
  const total = new Array<number>(bins).fill(0);
  const kept = new Array<number>(bins).fill(0);
  for (const point of points) {
    const bin = Math.min(bins - 1, Math.floor((point.score - scale.low) / step));
    total[bin] = (total[bin] ?? 0) + 1;
    if (point.kept) kept[bin] = (kept[bin] ?? 0) + 1;
  }
  const height = 130;
  const most = Math.max(...total);
  const bar = (bin: number, from: number, to: number, name: string): Html => {
    const left = x(scale.low + bin * step) + 1;
    const top = MARGIN.top + height - (to / most) * height;
    const size = ((to - from) / most) * height;
    return html`<rect
      class="${name}"
      x="${px(left)}"
      y="${px(top)}"
      width="${px(x(scale.low + (bin + 1) * step) - left - 1)}"
      height="${px(size)}"
      ><title>${to - from} candidates</title></rect
    >`;
  };
  const marks = total.flatMap((count, bin) => {
    const best = kept[bin] ?? 0;
    return [
      ...(count > best ? [bar(bin, best, count, "point")] : []),
      ...(best > 0 ? [bar(bin, 0, best, "point kept")] : []),
    ];
  });
  return { marks: html`${marks}`, height };
}

function pointClass(point: ChartPoint): string {
  return ["point", ...(point.kept ? ["kept"] : []), ...(point.best ? ["best"] : [])].join(" ");
}

/** A score as people read it. */
export function format(score: number): string {
  return score.toFixed(3);
}
