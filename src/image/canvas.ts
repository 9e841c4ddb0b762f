/** @file The little drawing that contact sheets need: rectangles, pictures and antialiased labels on an RGB image. */

import type { Polyline } from "./stroke-font.js";
import { CAP_HEIGHT, glyph } from "./stroke-font.js";
import type { RgbImage } from "./types.js";
import { checkSize } from "./types.js";

/** Red, green and blue from 0 to 255. */
export type Colour = readonly [number, number, number];

/** Gaps between glyphs and half a stroke's width, in units of the font. */
const SPACING = 1.8;
const HALF_STROKE = 0.52;

/** A label's size: `size` is the height of a capital in pixels. */
export interface TextStyle {
  readonly size: number;
  readonly colour: Colour;
}

/** An image of one colour. @throws UsageError when it would exceed the pixel limit. */
export function blank(width: number, height: number, colour: Colour): RgbImage {
  checkSize("contact sheet", width, height);
  const image = { width, height, data: new Uint8Array(width * height * 3) };
  fillRectangle(image, 0, 0, width, height, colour);
  return image;
}

/** Fills a rectangle of whole pixels that lies inside the image. */
export function fillRectangle(
  image: RgbImage,
  left: number,
  top: number,
  width: number,
  height: number,
  colour: Colour,
): void {
  const line = new Uint8Array(width * 3);
  for (let i = 0; i < line.length; i++) line[i] = colour[(i % 3) as 0 | 1 | 2];
  for (let y = top; y < top + height; y++) image.data.set(line, (y * image.width + left) * 3);
}

/** Copies a picture into the image, where it must fit. */
export function drawImage(image: RgbImage, picture: RgbImage, left: number, top: number): void {
  const length = picture.width * 3;
  for (let y = 0; y < picture.height; y++) {
    image.data.set(picture.data.subarray(y * length, (y + 1) * length), ((top + y) * image.width + left) * 3);
  }
}

/** How many pixels wide a text is. */
export function textWidth(text: string, size: number): number {
  const glyphs = Array.from(text, glyph);
  const units = glyphs.reduce((sum, { width }) => sum + width + SPACING, 0) - SPACING;
  return (Math.max(0, units) * size) / CAP_HEIGHT;
}

/** Draws one line of text with its first glyph's left edge at `left` and its baseline at `baseline`. */
export function drawText(image: RgbImage, text: string, left: number, baseline: number, style: TextStyle): void {
  const scale = style.size / CAP_HEIGHT;
  const strokes: Polyline[] = [];
  let x = left;
  for (const { width, strokes: own } of Array.from(text, glyph)) {
    for (const stroke of own) {
      strokes.push(stroke.map((value, i) => (i % 2 === 0 ? x : baseline - style.size) + value * scale));
    }
    x += (width + SPACING) * scale;
  }
  drawStrokes(image, strokes, Math.max(0.6, HALF_STROKE * scale), style.colour);
}

/** Strokes with round ends, antialiased by each pixel's distance to them; overlapping strokes cover a pixel once. */
function drawStrokes(image: RgbImage, strokes: readonly Polyline[], half: number, colour: Colour): void {
  const coverage = new Map<number, number>();
  for (const points of strokes) {
    for (let i = 0; i < Math.max(2, points.length - 2); i += 2) {
      const [x0, y0] = [points[i] as number, points[i + 1] as number];
      const [x1, y1] = [points[i + 2] ?? x0, points[i + 3] ?? y0];
      coverSegment(image, coverage, [x0, y0, x1, y1], half);
    }
  }
  for (const [pixel, share] of coverage) {
    for (let c = 0; c < 3; c++) {
      const below = image.data[pixel * 3 + c] as number;
      image.data[pixel * 3 + c] = Math.round(below + (colour[c as 0 | 1 | 2] - below) * share);
    }
  }
}

function coverSegment(
  image: RgbImage,
  coverage: Map<number, number>,
  [x0, y0, x1, y1]: readonly [number, number, number, number],
  half: number,
): void {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const squared = dx * dx + dy * dy;
  const reach = half + 1;
  const right = Math.min(image.width - 1, Math.ceil(Math.max(x0, x1) + reach));
  const bottom = Math.min(image.height - 1, Math.ceil(Math.max(y0, y1) + reach));
  for (let y = Math.max(0, Math.floor(Math.min(y0, y1) - reach)); y <= bottom; y++) {
    for (let x = Math.max(0, Math.floor(Math.min(x0, x1) - reach)); x <= right; x++) {
      const [px, py] = [x + 0.5 - x0, y + 0.5 - y0];
      const along = squared === 0 ? 0 : Math.min(1, Math.max(0, (px * dx + py * dy) / squared));
      const distance = Math.hypot(px - along * dx, py - along * dy);
      const share = Math.min(1, Math.max(0, half + 0.5 - distance));
      const pixel = y * image.width + x;
      if (share > (coverage.get(pixel) ?? 0)) coverage.set(pixel, share);
    }
  }
}
