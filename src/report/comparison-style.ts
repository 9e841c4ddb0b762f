/** @file What the page of a comparison adds to the style sheet: colours that readers with any colour vision can tell apart (after Okabe and Ito), in light and dark. */

import { SERIES_COLOURS } from "./comparison-series.js";

/** Dashes of the lines of strategies, by colour; the baseline's is solid. */
const DASHES = ["none", "7 3", "2 3", "9 3 2 3", "5 2", "12 4", "3 2 1 2"];

const series = Array.from({ length: SERIES_COLOURS + 1 }, (_, i) => {
  const colour = i === 0 ? "var(--ink)" : `var(--s${i})`;
  return `.series-${i} { fill: ${colour}; } .chart .line.series-${i} { stroke: ${colour}; fill: none; } .chart .line.series-${i}:not(.bar) { stroke-dasharray: ${DASHES[i]}; }`;
}).join("\n");

const work = Array.from({ length: 6 }, (_, i) => `.work-${i} { fill: var(--w${i}); }`).join(" ");

/** CSS of the page, after the style of all pages. */
export const COMPARISON_STYLE = `
:root { --s1: #0072b2; --s2: #c24a00; --s3: #00845f; --s4: #a8478a; --s5: #a87400; --s6: #3a93c9; --w0: #5b7f95; --w1: #d39a2d; --w2: #8a5a83; --w3: #3f7d3a; --w4: #b4482f; --w5: #7d7d3a; }
@media (prefers-color-scheme: dark) { :root { --s1: #63aef0; --s2: #ff8f57; --s3: #43cf9f; --s4: #eb9dcb; --s5: #edbb45; --s6: #a5dcff; --w0: #86aec6; --w1: #e5b84a; --w2: #c595bd; --w3: #7fbf74; --w4: #f0907c; --w5: #b9b96a; } }
${series}
${work}
.chart .line.bar { stroke-width: 1.4; opacity: .55; }
.lead { color: var(--soft); margin: -6px 0 14px; max-width: 78ch; }
.key { width: 14px; height: 14px; flex: none; margin-right: 6px; vertical-align: -2px; }
.strategy { overflow-wrap: anywhere; display: inline-block; padding-left: 20px; text-indent: -20px; } .warnings { margin-top: 0; } .strategies { display: flex; flex-wrap: wrap; gap: 6px 22px; margin: 0 0 14px; font-size: 13.5px; }
.verdict li { margin-top: 8px; max-width: 94ch; } .verdict li b { font-weight: 650; } .verdict .note { margin: 2px 0 0; max-width: 100ch; font-size: 13.5px; }
.forests { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 16px; align-items: start; }
.forest h3, .metric h3 { font-size: 14px; font-weight: 650; margin: 0 0 2px; } .kind { font-weight: 400; color: var(--soft); font-size: 12.5px; }
.forest .row > :last-child { white-space: nowrap; } .forest .strategy { display: block; font-size: 13.5px; margin-top: 12px; }
.forest .row { display: grid; grid-template-columns: 2.6em minmax(0, 1fr) 10.6em; gap: 10px; align-items: center; font-size: 13px; font-variant-numeric: tabular-nums; }
.forest .row > :first-child { color: var(--soft); text-align: right; } .forest .row svg { display: block; width: 100%; height: 22px; overflow: visible; }
.forest line { stroke-width: 2; } .forest .zero { stroke: var(--soft); stroke-width: 1; } .forest .grid-line { stroke: var(--line); stroke-width: 1; }
.forest .axis-text { fill: var(--soft); font-size: 11.5px; text-anchor: middle; }
.better { color: var(--accent); stroke: var(--accent); fill: var(--accent); } .worse { color: var(--alert); stroke: var(--alert); fill: var(--alert); }
.undecided { color: var(--soft); stroke: var(--soft); fill: var(--card); } .row b { font-weight: 650; color: var(--ink); display: inline-block; min-width: 4.4em; text-align: right; margin-right: 6px; }
span.better, span.worse { font-weight: 650; }
.metric { margin-bottom: 16px; } .figures { font-size: 13.5px; } .figures th, .figures td { padding: 4px 16px 4px 0; }
.figures thead th { vertical-align: bottom; white-space: normal; font-size: 12.5px; line-height: 1.3; border-top: 0; } .figures tbody th { white-space: normal; min-width: 150px; max-width: 300px; color: var(--ink); }
.figures td { white-space: nowrap; } .figures td.number, .figures th.number { text-align: right; } .figures tbody + tbody tr:first-child > * { border-top-color: var(--soft); } .figures tbody tr + tr > * { border-top: 0; } .figures small { color: var(--soft); font-size: 12px; }
.figures svg.work { display: block; width: 130px; height: 14px; margin-top: 3px; overflow: visible; } .work .limit { stroke: var(--ink); stroke-width: 1; } .swatch { width: 10px; height: 10px; margin-right: 4px; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(148px, 1fr)); gap: 12px; align-items: start; } .examples figcaption { display: block; font-size: 12.5px; } .examples figcaption > .strategy, .examples figcaption b { display: block; color: var(--ink); white-space: normal; }
.examples figcaption > span { display: block; color: var(--soft); } .examples figcaption > .missed { color: var(--alert); } .examples figcaption > .holds { color: var(--accent); }
.method { margin: 0; padding-left: 20px; max-width: 90ch; } .method li { margin-top: 6px; }
@media (max-width: 640px) { .forest .row { grid-template-columns: 2em minmax(0, 1fr) 9.8em; gap: 6px; font-size: 12.5px; } .examples { grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)); } }
@media print { main { padding: 0; } .metric { padding: 10px; } .scroll { overflow: visible; } .figures, .figures thead th, .figures small { font-size: 9.5px; } .figures th, .figures td { padding: 2px 7px 2px 0; } .figures td small { display: none; } .figures td:last-child small { display: inline; } .figures tbody th { min-width: 90px; } .figures svg.work { width: 80px; height: 10px; margin-top: 1px; } svg { print-color-adjust: exact; } }
`;
