/** @file Ways of a search as an inline SVG: lines that begin, part, end early or end in a picture. */

import { type Html, html } from "./html.js";
import { niceScale, px, type Scale } from "./scale.js";

/** What became of a picture, best first. */
export const TONES = ["best", "kept", "other", "dropped"] as const;
/** One of them. */
export type Tone = (typeof TONES)[number];

/** A point on a way. */
export interface WayPoint {
  readonly x: number;
  readonly y: number;
  /** The point it came from, by its place in the list, where it stands before this one; undefined where a way begins. */
  readonly before: number | undefined;
  /** Points of one line are joined; one whose point before is of another line branches off it. */
  readonly line: string;
  /** Where the line ends: a dot, or a cross for `dropped`. */
  readonly end?: Tone | undefined;
  /** Said where the pointer rests on the line; the last point of a line that has one says it. */
  readonly title?: string | undefined;
}

/** What a chart of ways shows. */
export interface WaysChart {
  readonly points: readonly WayPoint[];
  /** The horizontal axis: its ends, its ticks, and what it counts. */
  readonly axis: {
    readonly low: number;
    readonly high: number;
    readonly ticks: readonly { readonly x: number; readonly label: string }[];
    readonly title: string;
  };
  /** Vertical lines with a label above. */
  readonly marks?: readonly { readonly x: number; readonly label: string }[];
  /** What the chart shows, for those who do not see it. */
  readonly spoken: string;
  /** Words for the tones below it; those without are not named. */
  readonly legend: Readonly<Partial<Record<Tone, string>>>;
}

const WIDTH = 760;
const HEIGHT = 330;
const MARGIN = { left: 50, right: 18, top: 12, bottom: 44 };
/** Height that labels of vertical lines take. */
const LABELS = 20;
/** Most lines of pictures that were dropped, and of others, that are drawn. */
const MOST_DROPPED = 150;
const MOST_OTHERS = 1000;
/** More lines than this are drawn fainter. */
const DENSE = 80;

/** CSS of the charts, beside the style of all pages. */
export const WAYS_STYLE = `
.chart.ways { max-height: none; } .ways .axis-title { font-size: 12px; } .ways .guide { stroke: var(--line); stroke-dasharray: 3 4; }
.ways .way { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.ways .way.dropped { stroke: var(--point); stroke-width: 1; opacity: .8; } .ways .way.other { stroke: var(--soft); stroke-width: 1.2; opacity: .75; }
.ways .way.kept { stroke: var(--accent); stroke-width: 1.7; } .ways .way.best { stroke: var(--gold); stroke-width: 2.6; }
.ways circle { stroke: var(--card); stroke-width: 1; } .ways circle.other { fill: var(--soft); }
.ways .cross { fill: none; stroke: var(--soft); stroke-width: 1.1; opacity: .7; }
.ways.dense .way.other { opacity: .35; } .ways.dense .cross { opacity: .4; }
.ways g:hover .way { stroke-width: 3.4; opacity: 1; }
.legend .other::before { background: var(--soft); } .legend .dropped::before { content: "×"; background: none; border-radius: 0; font-size: 16px; line-height: 10px; vertical-align: 1px; }
`;

/** A line as it is drawn: its points by their places in the list. */
interface Line {
  readonly places: readonly number[];
  /** The best that came of any of its points. */
  readonly tone: Tone;
}

/** An SVG of 760 units width with its legend. Where there are very many lines, some of those that were dropped are left out, and the legend says so. */
export function waysChart({ points, axis, marks = [], spoken, legend }: WaysChart): Html {
  const tones = tonesOf(points);
  const lines = linesOf(points, tones);
  const dropped = lines.filter(({ tone }) => tone === "dropped");
  const others = lines.filter(({ tone }) => tone !== "dropped").sort((a, b) => TONES.indexOf(b.tone) - TONES.indexOf(a.tone)); // prettier-ignore
  const shown = [...thinned(dropped, MOST_DROPPED), ...others.slice(-MOST_OTHERS)];
  const hidden = lines.length - shown.length;
  const values = points.map(({ y }) => y);
  const scale = closeScale(values);
  const [right, floor] = [WIDTH - MARGIN.right, HEIGHT - MARGIN.bottom];
  const top = MARGIN.top + (marks.length > 0 ? LABELS : 0);
  const x = (value: number): number =>
    MARGIN.left + ((value - axis.low) / (axis.high - axis.low)) * (right - MARGIN.left);
  const y = (value: number): number => floor - ((value - scale.low) / (scale.high - scale.low)) * (floor - top);
  const named = TONES.filter((tone) => legend[tone] !== undefined && points.some(({ end }) => end === tone));
  return html`<svg
      class="chart ways${shown.length > DENSE ? " dense" : ""}"
      viewBox="0 0 ${WIDTH} ${HEIGHT}"
      role="img"
      aria-label="${spoken}"
    >
      ${verticalAxis(scale, y)}
      ${axis.ticks.map((tick) => html`<text x="${px(x(tick.x))}" y="${floor + 18}">${tick.label}</text>`)}
      <text class="axis-title" x="${px((MARGIN.left + right) / 2)}" y="${floor + 37}">${axis.title}</text>
      ${marks.map(
        (mark) =>
          html`<line class="guide" x1="${px(x(mark.x))}" x2="${px(x(mark.x))}" y1="${top - 6}" y2="${floor}" /><text
              x="${px(x(mark.x))}"
              y="${top - 12}"
              >${mark.label}</text
            >`,
      )}
      ${shown.map((line) => drawnLine(line, points, tones, x, y))}
    </svg>
    <div class="legend">
      ${named.map((tone) => html`<span class="${tone}">${legend[tone]}</span>`)}
      ${hidden > 0 ? html`<em>${hidden} more lines are not drawn</em>` : null}
    </div>`;
}

/** Of each point, the best that came of it. */
function tonesOf(points: readonly WayPoint[]): readonly Tone[] {
  const tones = points.map(({ end }): Tone => end ?? "dropped");
  for (let place = points.length - 1; place >= 0; place--) {
    const { before } = points[place]!;
    if (before !== undefined && TONES.indexOf(tones[place]!) < TONES.indexOf(tones[before]!))
      tones[before] = tones[place]!;
  }
  return tones;
}

function linesOf(points: readonly WayPoint[], tones: readonly Tone[]): Line[] {
  const lines = new Map<string, number[]>();
  for (const [place, { line }] of points.entries()) {
    const known = lines.get(line);
    if (known === undefined) lines.set(line, [place]);
    else known.push(place);
  }
  return [...lines.values()].map((places) => {
    const best = Math.min(...places.map((place) => TONES.indexOf(tones[place]!)));
    return { places, tone: TONES[best]! };
  });
}

/** Equally spaced ones of a list, at most `most`. */
function thinned<T>(all: readonly T[], most: number): readonly T[] {
  if (all.length <= most) return all;
  return Array.from({ length: most }, (_, i) => all[Math.floor((i * all.length) / most)]!);
}

/** Round ticks, and ends a little beyond the values. */
function closeScale(values: readonly number[]): Scale {
  const [low, high] = values.reduce(
    ([least, most], value) => [Math.min(least, value), Math.max(most, value)] as const,
    [Infinity, -Infinity] as const,
  );
  const scale = niceScale(low, high, 6);
  if (low === high) return scale;
  const ends = { low: low - 0.05 * (high - low), high: high + 0.05 * (high - low) };
  return { ...scale, ...ends, ticks: scale.ticks.filter((tick) => tick >= ends.low && tick <= ends.high) };
}

function verticalAxis({ ticks, digits }: Scale, y: (value: number) => number): Html {
  return html`${ticks.map(
    (tick) =>
      html`<line
          class="axis"
          x1="${MARGIN.left}"
          x2="${WIDTH - MARGIN.right}"
          y1="${px(y(tick))}"
          y2="${px(y(tick))}"
        /><text class="end" x="${MARGIN.left - 8}" y="${px(y(tick) + 4)}">${tick.toFixed(digits)}</text>`,
  )}`;
}

/** The stretches of a line, each in the tone of what came of it, and its end. */
function drawnLine(
  { places }: Line,
  points: readonly WayPoint[],
  tones: readonly Tone[],
  x: (value: number) => number,
  y: (value: number) => number,
): Html {
  const at = (place: number): readonly [number, number] => [x(points[place]!.x), y(points[place]!.y)];
  const stretches: { tone: Tone; path: string; to: number }[] = [];
  for (const place of places) {
    const { before, line } = points[place]!;
    if (before === undefined) continue;
    const [[x0, y0], [x1, y1]] = [at(before), at(place)];
    const branches = points[before]!.line !== line;
    const middle = px((x0 + x1) / 2);
    const to = branches ? `C${middle} ${px(y0)} ${middle} ${px(y1)} ${px(x1)} ${px(y1)}` : `L${px(x1)} ${px(y1)}`;
    const last = stretches.at(-1);
    if (last !== undefined && last.tone === tones[place] && last.to === before) {
      last.path += to;
      last.to = place;
    } else stretches.push({ tone: tones[place]!, path: `M${px(x0)} ${px(y0)}${to}`, to: place });
  }
  const title = places.map((place) => points[place]!.title).findLast((text) => text !== undefined);
  return html`<g
    >${title === undefined ? null : html`<title>${title}</title>`}${stretches.map(({ tone, path }) => html`<path class="way ${tone}" d="${path}" />`)}${places.map((place) => endMark(points[place]!, ...at(place)))}</g
  >`;
}

function endMark({ end }: WayPoint, x: number, y: number): Html | null {
  if (end === undefined) return null;
  if (end !== "dropped")
    return html`<circle class="${end}" cx="${px(x)}" cy="${px(y)}" r="${end === "best" ? 6 : 4}" />`;
  const [left, right, top, foot] = [px(x - 3), px(x + 3), px(y - 3), px(y + 3)];
  return html`<path class="cross" d="M${left} ${top}L${right} ${foot}M${left} ${foot}L${right} ${top}" />`;
}
