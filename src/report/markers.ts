/** @file Marks of different shape, so that what is told apart by colour is told apart without it. */

import { type Html, html } from "./html.js";
import { px } from "./scale.js";

/** Shapes of marks, in the order in which series take them. */
export const MARKERS = ["circle", "square", "triangle", "diamond", "wedge", "plus", "hexagon"] as const;

/** The shape of a mark. */
export type Marker = (typeof MARKERS)[number];

/** Corners around (0, 0) at about the size of a circle of radius 1. */
const CORNERS: Readonly<Record<Exclude<Marker, "circle">, readonly (readonly [number, number])[]>> = {
  square: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]], // prettier-ignore
  triangle: [[0, -1.2], [1.15, 0.85], [-1.15, 0.85]], // prettier-ignore
  diamond: [[0, -1.3], [1.15, 0], [0, 1.3], [-1.15, 0]], // prettier-ignore
  wedge: [[0, 1.2], [1.15, -0.85], [-1.15, -0.85]], // prettier-ignore
  plus: [[-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4], [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4], [-1.2, -0.4], [-0.4, -0.4]], // prettier-ignore
  hexagon: [[-0.55, -1], [0.55, -1], [1.1, 0], [0.55, 1], [-0.55, 1], [-1.1, 0]], // prettier-ignore
};

/** A mark in an SVG at (x, y) with the radius of a circle of its size. `title` is shown where the pointer rests. */
export function mark(shape: Marker, x: number, y: number, radius: number, tone: string, title?: string): Html {
  const told = title === undefined ? null : html`<title>${title}</title>`;
  if (shape === "circle")
    return html`<circle class="${tone}" cx="${px(x)}" cy="${px(y)}" r="${radius}">${told}</circle>`;
  const corners = CORNERS[shape].map(([dx, dy]) => `${px(x + radius * dx)} ${px(y + radius * dy)}`);
  return html`<path class="mark ${tone}" d="M${corners.join("L")}Z">${told}</path>`;
}

/** A mark on its own, as high as the text it stands in. */
export function inlineMark(shape: Marker, tone: string): Html {
  return html`<svg class="key" viewBox="-7 -7 14 14" aria-hidden="true">${mark(shape, 0, 0, 5, tone)}</svg>`;
}
