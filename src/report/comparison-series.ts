/** @file Strategies on the page of a comparison: colour, mark and name of each, and numbers as the page shows them. */

import type { StrategyComparison } from "../evaluation/strategy-comparison.js";
import { escapeHtml, Html, html } from "./html.js";
import type { Curve } from "./line-chart.js";
import { inlineMark, type Marker, MARKERS } from "./markers.js";

/** How a strategy looks in every chart and table. */
export interface StrategySeries {
  readonly strategy: string;
  readonly tone: Curve["tone"];
  readonly marker: Marker;
}

/** Colours beside the baseline's. */
export const SERIES_COLOURS = 6;

/** The baseline is drawn in ink with circles, the others in colours with marks of other shapes, in their order; 36 pairs differ. */
export function strategySeries({ strategies, baseline }: StrategyComparison): StrategySeries[] {
  let next = 0;
  return strategies.map((strategy) => {
    if (strategy === baseline) return { strategy, tone: "series-0", marker: "circle" };
    const place = next++;
    const round = Math.floor(place / SERIES_COLOURS);
    return {
      strategy,
      tone: `series-${1 + (place % SERIES_COLOURS)}`,
      marker: MARKERS[1 + ((place + round) % (MARKERS.length - 1))]!,
    };
  });
}

/** The mark and the name, which may be broken after its colons. */
export function seriesName({ strategy, tone, marker }: StrategySeries): Html {
  return html`<span class="strategy">${inlineMark(marker, tone)}${breakable(strategy)}</span>`;
}

/** A name that may be broken after colons and commas. */
export function breakable(name: string): Html {
  return new Html(escapeHtml(name).replace(/[:,]/g, "$&<wbr>"));
}

/** So many digits after the point; `-` for what is no number, which JSON holds as null. */
export function figure(value: number | null, digits = 3): string {
  return value === null || !Number.isFinite(value) ? "-" : value.toFixed(digits).replace("-", "−");
}

/** `42 %`; `-` for what is no number. */
export function percent(share: number | null): string {
  if (share === null || !Number.isFinite(share)) return "-";
  const shown = 100 * share;
  return `${shown !== 0 && Math.abs(shown) < 9.95 ? shown.toFixed(1) : shown.toFixed(0)} %`;
}
