/** @file Lines over the steps of a training run, or over what a search spends, as an inline SVG: curves with bands, levels, marked steps. */

import { mean, quantile } from "../util/statistics.js";
import { type Html, html } from "./html.js";
import { mark, type Marker } from "./markers.js";
import { niceScale, px, type Scale } from "./scale.js";

/** A value at a step, with the ends of its band where it has one. */
export interface CurvePoint {
  readonly x: number;
  readonly y: number;
  readonly low?: number | undefined;
  readonly high?: number | undefined;
  /** Said where the pointer rests on its dot. @default the step and the value */
  readonly title?: string;
}

/** A curve of a chart. */
export interface Curve {
  readonly name: string;
  /** Its colour: what training follows, what it never sees, or neither; or that of one of many. */
  readonly tone: "guide" | "held" | "plain" | `series-${number}`;
  readonly points: readonly CurvePoint[];
  /** A dot at every point, for a few that were measured one by one; or at the last alone. */
  readonly dots?: boolean | "last";
  /** The shape of its dots. @default "circle" */
  readonly marker?: Marker;
  /** Its band as a bar at every point: many bands would cover each other. */
  readonly bars?: boolean;
}

/** A horizontal axis of its own. */
export interface HorizontalAxis {
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
  /** Equal factors are equally wide; needs a low end above 0. */
  readonly logarithmic?: boolean;
}

/** What a chart shows. */
export interface LineChart {
  readonly title: string;
  /** What the numbers are, in a few words. */
  readonly note: string;
  readonly curves: readonly Curve[];
  /** Horizontal lines: the base, a floor, a limit. */
  readonly levels?: readonly { readonly y: number; readonly label: string }[];
  /** Vertical lines: the kept checkpoint, an alarm. */
  readonly steps?: readonly { readonly x: number; readonly label: string; readonly kind: "kept" | "alarm" }[];
  /** The last step of the axis, which begins at 0; or an axis of its own. */
  readonly last: number | HorizontalAxis;
  /** A logarithmic axis, where all values are positive. */
  readonly logarithmic?: boolean;
  /** Ends that the vertical axis does not pass, for values that cannot either: 0 and 1 of a share. */
  readonly limits?: readonly [low: number, high: number];
  /** Names of the curves below, where there are several. @default true */
  readonly legend?: boolean;
}

const WIDTH = 520;
const HEIGHT = 230;
const MARGIN = { left: 66, right: 24, top: 22, bottom: 28 };
/** Fewer points than this are drawn as they are; more as means of stretches, each of several points. */
const FEW_POINTS = 120;
const STRETCHES = { least: 40, most: 160, points: 8 } as const;
/** Width that the label of a marked step takes. */
const LABEL = 42;

/** Means of equal stretches of steps with a band from the 10th to the 90th percentile; as they are, when there are few. Values that are no numbers are left out. */
export function condensed(points: readonly CurvePoint[]): CurvePoint[] {
  const known = finite(points);
  const [first, last] = [known[0], known.at(-1)];
  if (first === undefined || last === undefined || known.length <= FEW_POINTS) return known;
  const count = Math.min(STRETCHES.most, Math.max(STRETCHES.least, Math.floor(known.length / STRETCHES.points)));
  const stretches: CurvePoint[][] = Array.from({ length: count }, () => []);
  const width = (last.x - first.x) / count;
  for (const point of known) stretches[Math.min(count - 1, Math.floor((point.x - first.x) / width))]?.push(point);
  return stretches.flatMap((stretch) => {
    if (stretch.length === 0) return [];
    const values = stretch.map(({ y }) => y);
    const x = mean(stretch.map((point) => point.x));
    return { x, y: mean(values), low: quantile(values, 0.1), high: quantile(values, 0.9) };
  });
}

/** A card with the chart; null where no curve has a point. */
export function lineChart(chart: LineChart): Html | null {
  const logarithmic = chart.logarithmic === true && everyValue(chart).every((value) => value > 0);
  const place = (value: number): number => (logarithmic ? Math.log10(value) : value);
  const curves = chart.curves
    .map((curve) => ({ ...curve, points: curve.dots === true ? finite(curve.points) : condensed(curve.points) }))
    .filter(({ points }) => points.length > 0);
  const values = everyValue({ ...chart, curves }).map(place);
  if (curves.length === 0) return null;
  const scale = logarithmic
    ? logScale(Math.min(...values), Math.max(...values))
    : limited(linearScale(Math.min(...values), Math.max(...values)), chart.limits);
  const [right, floor] = [WIDTH - MARGIN.right, HEIGHT - MARGIN.bottom];
  const axis = typeof chart.last === "number" ? stepAxis(chart.last) : chart.last;
  const along = axis.logarithmic === true ? Math.log : Number;
  const x = (step: number): number =>
    MARGIN.left + ((along(step) - along(axis.low)) / (along(axis.high) - along(axis.low))) * (right - MARGIN.left);
  const y = (value: number): number =>
    floor - ((place(value) - scale.low) / (scale.high - scale.low)) * (floor - MARGIN.top);
  return html`<figure class="card curve">
    <h3>${chart.title}</h3>
    <p class="note">${chart.note}</p>
    <svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${chart.title}: ${spoken(curves)}">
      ${verticalAxis(scale, logarithmic, floor)} ${horizontalAxis(axis, x, floor)}
      ${markedSteps(chart.steps ?? [], x, right, floor)}
      ${(chart.levels ?? []).map(
        (level) =>
          html`<line class="level" x1="${MARGIN.left}" x2="${right}" y1="${px(y(level.y))}" y2="${px(y(level.y))}" />`,
      )}
      ${curves.map((curve) => drawn(curve, x, y))}
      ${(chart.levels ?? []).map((level) => html`<text class="end level" x="${right}" y="${px(y(level.y) - 4)}">${level.label}</text>`)}
    </svg>
    ${curves.length < 2 || chart.legend === false ? null : html`<div class="legend">${curves.map(({ name, tone }) => html`<span class="${tone}">${name}</span>`)}</div>`}
  </figure>`;
}

/** Vertical lines with labels above that do not cover each other. */
function markedSteps(
  steps: NonNullable<LineChart["steps"]>,
  x: (step: number) => number,
  right: number,
  floor: number,
): Html {
  let next = right;
  const placed = [...steps]
    .sort((a, b) => b.x - a.x)
    .map((mark) => {
      const label = Math.max(Math.min(x(mark.x), next), MARGIN.left);
      next = label - LABEL;
      return { ...mark, label, text: mark.label };
    });
  return html`${placed.map(
    ({ kind, label, text, ...mark }) =>
      html`<line
          class="${kind}"
          x1="${px(x(mark.x))}"
          x2="${px(x(mark.x))}"
          y1="${MARGIN.top - 4}"
          y2="${floor}"
        /><text class="${kind}" x="${px(label)}" y="${MARGIN.top - 9}">${text}</text>`,
  )}`;
}

function limited(scale: Scale, [low, high]: readonly [number, number] = [-Infinity, Infinity]): Scale {
  const ticks = scale.ticks.filter((tick) => tick >= low - 1e-9 && tick <= high + 1e-9);
  return { ...scale, low: Math.max(scale.low, low), high: Math.min(scale.high, high), ticks };
}

/** Round ticks; values that are never negative get no axis below 0. */
function linearScale(low: number, high: number): Scale {
  const scale = niceScale(low, high, 5);
  if (low < 0 || scale.low >= 0) return scale;
  return { ...scale, low: 0, ticks: scale.ticks.filter((tick) => tick >= 0) };
}

function finite(points: readonly CurvePoint[]): CurvePoint[] {
  return points.filter(({ y }) => Number.isFinite(y));
}

/** Every number that must fit on the vertical axis. */
function everyValue({ curves, levels = [] }: Pick<LineChart, "curves" | "levels">): number[] {
  const drawn = curves.flatMap(({ points }) => points.flatMap(({ y, low = y, high = y }) => [y, low, high]));
  return [...drawn, ...levels.map(({ y }) => y)].filter(Number.isFinite);
}

function drawn(
  { tone, points, dots, marker = "circle", bars = false }: Curve,
  x: (step: number) => number,
  y: (value: number) => number,
): Html {
  const at = (point: CurvePoint, value: number): string => `${px(x(point.x))} ${px(y(value))}`;
  const banded = points.filter(({ low, high }) => Number.isFinite(low) && Number.isFinite(high));
  const upper = banded.map((point) => at(point, point.high ?? point.y));
  const lower = banded.map((point) => at(point, point.low ?? point.y)).reverse();
  return html`${bars ? banded.map((point) => html`<path class="line bar ${tone}" d="M${at(point, point.low ?? point.y)}L${at(point, point.high ?? point.y)}" />`) : null}
    ${bars || banded.length < 2 ? null : html`<path class="band ${tone}" d="M${[...upper, ...lower].join("L")}Z" />`}
    <path class="line ${tone}" d="M${points.map((point) => at(point, point.y)).join("L")}" />
    ${dotted(points, dots).map((point) => {
      const title = point.title ?? `step ${point.x}: ${tickLabel(point.y, 4)}`;
      return mark(marker, x(point.x), y(point.y), marker === "circle" ? 3 : 4, tone, title);
    })}`;
}

/** A curve of one point would not be seen without a dot. */
function dotted(points: readonly CurvePoint[], dots: Curve["dots"]): readonly CurvePoint[] {
  if (dots === true || points.length === 1) return points;
  return dots === "last" ? points.slice(-1) : [];
}

function verticalAxis({ low, high, ticks, digits }: Scale, logarithmic: boolean, floor: number): Html {
  const right = WIDTH - MARGIN.right;
  return html`${ticks.map((tick) => {
    const y = floor - ((tick - low) / (high - low)) * (floor - MARGIN.top);
    return html`<line class="axis" x1="${MARGIN.left}" x2="${right}" y1="${px(y)}" y2="${px(y)}" /><text
        class="end"
        x="${MARGIN.left - 7}"
        y="${px(y + 4)}"
        >${logarithmic ? tickLabel(10 ** tick) : tickLabel(tick, significant(tick, digits))}</text
      >`;
  })}`;
}

/** From 0 to the last step, with ticks at whole steps. */
function stepAxis(last: number): HorizontalAxis {
  const high = Math.max(1, last);
  const ticks = niceScale(0, high, 5).ticks.filter((tick) => tick >= 0 && tick <= last && Number.isInteger(tick));
  return { low: 0, high, ticks };
}

function horizontalAxis({ ticks }: HorizontalAxis, x: (step: number) => number, floor: number): Html {
  return html`${ticks.map((tick) => html`<text x="${px(x(tick))}" y="${floor + 19}">${tick}</text>`)}`;
}

/** Decades, and 2 and 5 between them where there are few; in powers of ten. */
function logScale(low: number, high: number): Scale {
  const [first, last] = [Math.floor(low), Math.max(Math.ceil(high), Math.floor(low) + 1)];
  const decades = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  if (last - first > 2) {
    const every = Math.ceil((last - first) / 6);
    return { low: first, high: last, ticks: decades.filter((_, i) => i % every === 0), digits: 0 };
  }
  const fine = decades.flatMap((decade) => [1, 2, 5].map((factor) => decade + Math.log10(factor)));
  const start = Math.max(first, ...fine.filter((tick) => tick <= low));
  const end = Math.min(last, ...fine.filter((tick) => tick >= high && tick > start));
  return { low: start, high: end, ticks: fine.filter((tick) => tick >= start && tick <= end), digits: 0 };
}

/** Digits of a number that has so many after the point. */
function significant(value: number, digits: number): number {
  return Math.max(1, digits + 1 + Math.floor(Math.log10(Math.max(Math.abs(value), 10 ** -digits))));
}

/** A number in few characters: `0.05`, `250`, `1e-5`. */
function tickLabel(value: number, digits = 3): string {
  const rounded = Number(value.toPrecision(digits));
  const size = Math.abs(rounded);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return rounded.toExponential().replace("e+", "e");
  return String(Number(rounded.toFixed(6)));
}

function spoken(curves: readonly Curve[]): string {
  return curves
    .map(
      ({ name, points }) =>
        `${name} from ${tickLabel(points[0]?.y ?? Number.NaN)} to ${tickLabel(points.at(-1)?.y ?? Number.NaN)}`,
    ) // prettier-ignore
    .join(", ");
}
