/** @file The scales of charts: round ticks, and coordinates as SVG takes them. */

/** An axis: its ends, its ticks in order, and the digits after the point that they need. */
export interface Scale {
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
  readonly digits: number;
}

/** About `intervals` round ticks (1, 2 or 5 times a power of ten) around [low, high]; equal values get a scale one unit wide. */
export function niceScale(low: number, high: number, intervals = 7): Scale {
  const span = high > low ? high - low : 1;
  const centre = (low + high) / 2;
  const rough = span / intervals;
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power;
  const first = Math.floor((centre - span / 2 - span * 0.02) / unit);
  const last = Math.ceil((centre + span / 2 + span * 0.02) / unit);
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * unit);
  return { low: first * unit, high: last * unit, ticks, digits: Math.max(0, -Math.floor(Math.log10(unit) + 1e-9)) };
}

/** A coordinate to a tenth of a unit. */
export function px(value: number): string {
  return String(Math.round(value * 10) / 10);
}
