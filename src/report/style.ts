/** @file The report's style sheet: system fonts, light and dark after the reader's setting, readable on paper. */

/** CSS of the page. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f5f1; --card: #ffffff; --ink: #1d211c; --soft: #626a5f; --line: #dedcd3; --accent: #3f7d3a; --accent-ink: #ffffff;
  --point: #b9bdb3; --gold: #c8921a; --gold-ink: #ffffff; --warn: #fff4d6; --warn-ink: #6b4a00; --well: #ecebe4;
  --held: #2f6fa8; --alert: #b23a26;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #141713; --card: #1d211c; --ink: #e9ebe4; --soft: #9aa394; --line: #30362e; --accent: #7fbf74; --accent-ink: #10140f;
    --point: #525a4e; --gold: #e5b84a; --gold-ink: #1d1500; --warn: #3a2f12; --warn-ink: #f3dda2; --well: #262b24;
    --held: #7db4e3; --alert: #f0907c;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 24px 56px; }
.brand { display: flex; align-items: center; gap: 8px; color: var(--soft); font-size: 13px; letter-spacing: .02em; margin-bottom: 20px; }
.brand svg { width: 26px; height: 26px; color: var(--accent); }
.brand strong { color: var(--ink); font-weight: 650; }
.status { margin-left: auto; padding: 1px 10px; border: 1px solid var(--line); border-radius: 999px; }
.hero { display: grid; grid-template-columns: minmax(200px, 320px) 1fr; gap: 32px; align-items: center; }
.hero img { width: 100%; border-radius: 14px; display: block; box-shadow: 0 1px 2px rgb(0 0 0 / .12), 0 8px 28px rgb(0 0 0 / .12); }
h1 { font-size: clamp(22px, 3.4vw, 34px); line-height: 1.2; font-weight: 650; margin: 0 0 8px; letter-spacing: -.01em; overflow-wrap: anywhere; white-space: pre-wrap; text-wrap: balance; }
h1.long { font-size: 18px; font-weight: 600; text-wrap: initial; }
h2 { font-size: 17px; font-weight: 650; margin: 44px 0 14px; }
.negative { color: var(--soft); margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.facts { display: flex; flex-wrap: wrap; gap: 10px 32px; margin: 22px 0 0; padding: 0; }
.facts div { min-width: 84px; }
.facts dt { color: var(--soft); font-size: 12.5px; }
.facts dd { margin: 0; font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums; letter-spacing: -.01em; }
.facts .first dd { color: var(--accent); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; }
.warnings { margin-top: 28px; background: var(--warn); color: var(--warn-ink); border: 0; }
.warnings ul { margin: 6px 0 0; padding-left: 20px; } .warnings li { overflow-wrap: anywhere; }
.chart { display: block; width: 100%; height: auto; max-height: 260px; }
.chart text { fill: var(--soft); font-size: 12px; text-anchor: middle; font-variant-numeric: tabular-nums; }
.chart .axis { stroke: var(--line); } .chart .mean { stroke: var(--soft); stroke-dasharray: 3 4; }
.chart .point { fill: var(--point); } .chart .kept { fill: var(--accent); } .chart .best { fill: var(--gold); }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 16px; }
.curve { padding: 14px 18px 12px; } .curve h3 { font-size: 14px; font-weight: 650; margin: 0; } .curve .note { margin: 0 0 8px; font-size: 12.5px; }
.chart .end { text-anchor: end; } .chart .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .chart .band { stroke: none; opacity: .16; }
.chart .line.plain { stroke: var(--ink); } .chart .band.plain, .chart circle.plain { fill: var(--ink); }
.chart .line.guide { stroke: var(--accent); } .chart .band.guide, .chart circle.guide { fill: var(--accent); }
.chart .line.held { stroke: var(--held); } .chart .band.held, .chart circle.held { fill: var(--held); }
.chart line.level { stroke: var(--soft); stroke-dasharray: 3 4; } .chart text.level { paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
.chart line.kept { stroke: var(--gold); stroke-width: 1.5; } .chart line.alarm { stroke: var(--alert); stroke-width: 1.5; }
.chart text.kept { fill: var(--gold); font-weight: 650; } .chart text.alarm { fill: var(--alert); font-weight: 650; }
.legend .guide::before { background: var(--accent); } .legend .held::before { background: var(--held); } .legend .plain::before { background: var(--ink); }
.verdict { margin-top: 28px; border-left: 4px solid var(--accent); } .verdict.alarmed { border-left-color: var(--alert); }
.verdict strong { font-size: 16px; } .verdict p { margin: 4px 0 0; } .verdict ul { margin: 8px 0 0; padding-left: 20px; } .verdict li { overflow-wrap: anywhere; } .verdict .alarm { color: var(--alert); }
.pairs { display: grid; gap: 10px; min-width: 560px; align-items: center; } .pairs > b { font-size: 13px; text-align: center; } .pairs > b.kept { color: var(--gold); }
.pairs p { margin: 0; font-size: 13.5px; overflow-wrap: anywhere; } .pairs p span { display: block; color: var(--soft); font-size: 12px; }
.pairs figure { border-radius: 8px; } .pairs figcaption { padding: 3px 8px 4px; font-size: 12px; justify-content: center; } .pairs .none { color: var(--soft); text-align: center; }
.tables.paths { grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); } .paths th { white-space: normal; overflow-wrap: break-word; }
.commands { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 12.5px/1.8 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; color: var(--soft); font-size: 13px; margin-top: 8px; }
.legend span::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 6px; background: var(--point); }
.legend .kept::before { background: var(--accent); } .legend .best::before { background: var(--gold); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; position: relative; }
figure img { display: block; width: 100%; background: var(--well); }
.small { image-rendering: pixelated; }
figcaption { display: flex; justify-content: space-between; align-items: baseline; gap: 8px; padding: 7px 10px 8px; font-variant-numeric: tabular-nums; }
figcaption b { font-weight: 650; } figcaption span { color: var(--soft); font-size: 12px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.rank { position: absolute; top: 8px; left: 8px; min-width: 24px; padding: 1px 7px; border-radius: 999px; text-align: center; font-size: 12px; font-weight: 650; background: rgb(20 23 19 / .62); color: #fff; }
figure.kept { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); } figure.kept .rank { background: var(--accent); color: var(--accent-ink); }
figure.best { border-color: var(--gold); box-shadow: 0 0 0 1px var(--gold); } figure.best .rank { background: var(--gold); color: var(--gold-ink); }
.item { margin-top: 26px; } .item h3 { font-size: 15px; font-weight: 600; margin: 0; overflow-wrap: anywhere; } .item .note { margin: 2px 0 10px; font-size: 13px; overflow-wrap: anywhere; }
.id { display: inline-block; padding: 0 8px; margin-right: 4px; border: 1px solid var(--line); border-radius: 999px; color: var(--soft); font-size: 12.5px; font-weight: 400; }
.scroll { overflow-x: auto; } .sweep th, .sweep td { padding-right: 20px; border-top: 1px solid var(--line); } .sweep tr:first-child th { border: 0; } .sweep .first td { font-weight: 650; color: var(--accent); }
.note { color: var(--soft); margin: 12px 0 0; }
.tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 16px; align-items: start; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; font-weight: 650; padding-bottom: 6px; }
th, td { text-align: left; vertical-align: top; padding: 5px 0; border-top: 1px solid var(--line); font-weight: 400; }
th { color: var(--soft); padding-right: 16px; white-space: nowrap; } td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
code { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 40px; color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
@media (max-width: 640px) { .hero { grid-template-columns: 1fr; gap: 20px; } main { padding: 20px 16px 40px; } .chart text { font-size: 19px; } .curve .chart text { font-size: 14px; } .grid { grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)); gap: 10px; } }
@media print { body { background: #fff; } figure, .card { break-inside: avoid; } }
`;
