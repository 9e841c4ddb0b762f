/** @file What the pages of all kinds of runs are put together from. */

import type { EmbeddedImage } from "./embed.js";
import { Html, html } from "./html.js";
import { STYLE } from "./style.js";

/** Two sprigs of laurel. */
const LEAF = new Html(
  `<svg viewBox="0 0 24 24" fill="currentColor" aria-hidden="true">${[0, 1]
    .map(
      (side) =>
        `<g${side === 1 ? ' transform="matrix(-1 0 0 1 24 0)"' : ""}><path d="M11 21.5C5.5 20.5 2.5 16 3.5 9.5" fill="none" stroke="currentColor" stroke-width="1.3" stroke-linecap="round"/>` +
        [
          [3.6, 6, 8],
          [7, 9.6, 52],
          [1.6, 12.6, -38],
          [8, 14.4, 66],
          [3.6, 17.6, -62],
          [10.2, 18, 84],
        ]
          .map(
            ([x = 0, y = 0, turn = 0]) =>
              `<ellipse cx="${x}" cy="${y}" rx="1.35" ry="2.9" transform="rotate(${turn} ${x} ${y})"/>`,
          )
          .join("") +
        "</g>",
    )
    .join("")}</svg>`,
);

/**
 * A whole page. `pictures` is where its pictures may come from: `data:` for a page that holds them. `style` is CSS of its own beside that of all pages.
 * @param footer @default how to make the run's images again
 */
export function documentPage(
  {
    title,
    runId,
    status,
    pictures,
    style = "",
  }: Readonly<Record<"title" | "runId" | "status" | "pictures", string>> & { readonly style?: string },
  content: Html,
  footer: Html = html`Make the same images again: <code>laurel rerun ${runId}/run.json</code>`,
): string {
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta
          http-equiv="Content-Security-Policy"
          content="default-src 'none'; img-src ${new Html(pictures)}; style-src 'unsafe-inline'"
        />
        <title>${shorten(title, 80)} · Laurel</title>
        <style>
          ${new Html(STYLE + style)}
        </style>
      </head>
      <body>
        <main>
          <div class="brand">
            ${LEAF}<span><strong>Laurel</strong> · ${runId}</span><span class="status">${status}</span>
          </div>
          ${content}
          <footer>${footer}</footer>
        </main>
      </body>
    </html> `;
  return `${page.markup.trim()}\n`;
}

/** Figures under a heading; the first stands out. */
export function factList(facts: readonly (readonly [name: string, value: string])[]): Html {
  return html`<dl class="facts">
    ${facts.map(([name, value], i) => html`<div${new Html(i === 0 ? ' class="first"' : "")}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

/** The warnings of a run. */
export function warnings(messages: readonly string[]): Html | null {
  if (messages.length === 0) return null;
  return html`<section class="card warnings">
    <strong>${messages.length === 1 ? "Warning" : `${messages.length} warnings`}</strong>
    <ul>
      ${messages.map((message) => html`<li>${message}</li>`)}
    </ul>
  </section>`;
}

/** A card of names and values; those without a value are left out. */
export function table(caption: string, rows: readonly (readonly [string, string | number | null | undefined])[]): Html {
  return html`<div class="card">
    <table>
      <caption>
        ${caption}
      </caption>
      ${rows.map(([name, value]) =>
        value === null || value === undefined
          ? null
          : html`<tr>
              <th scope="row">${name}</th>
              <td>${value}</td>
            </tr>`,
      )}
    </table>
  </div>`;
}

/** Small pictures are enlarged with hard pixel edges. */
export function crisp({ width }: { readonly width: number }): string {
  return width <= 128 ? "small" : "";
}

/** A picture that keeps its place while the page is still being read. */
export function picture(image: EmbeddedImage, alt: string): Html {
  return html`<img
    src="${image.uri}"
    class="${crisp(image)}"
    width="${image.width}"
    height="${image.height}"
    style="height:auto"
    loading="lazy"
    alt="${alt}"
  />`;
}

/** `12 ms`, `3.4 s`. */
export function seconds(milliseconds: number): string {
  return milliseconds < 100 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** `2026-11-22 18:33 UTC` */
export function shownTime(iso: string): string {
  return iso.replace("T", " ").replace(/:\d+\.\d+Z$/, " UTC");
}

function shorten(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}
