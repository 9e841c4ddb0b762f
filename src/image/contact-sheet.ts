/** @file Contact sheets: many pictures on one, in a grid with labels, the chosen ones outlined. */

import { UsageError } from "../errors.js";
import type { Colour } from "./canvas.js";
import { blank, drawImage, drawText, fillRectangle, textWidth } from "./canvas.js";
import { encodePng } from "./png.js";
import { resizeBicubic, resizeNearest } from "./resize.js";
import type { RgbImage } from "./types.js";

const BACKGROUND: Colour = [26, 28, 27];
const FRAME: Colour = [48, 51, 49];
const INK: Colour = [214, 217, 211];
const SOFT_INK: Colour = [139, 145, 137];
const ACCENT: Colour = [127, 191, 116];

/** Small pictures are enlarged by a whole factor to at least this width, large ones reduced to at most the other. */
const READABLE_WIDTH = 160;
const LARGEST_WIDTH = 320;
const MARGIN = 20;
const GAP = 16;
const CAPTION = 28;
const TEXT_SIZE = 10;
const OUTLINE = 3;

/** How a contact sheet is laid out. */
export interface ContactSheetOptions {
  /** Pictures a row. */
  readonly columns: number;
  /** A line under each picture; of a text with two or more spaces in a row, what follows them is set to the right. */
  readonly labels?: readonly string[];
  /** Indices of the pictures to outline. */
  readonly highlighted?: ReadonlySet<number>;
  /** Pixels a picture pixel. @default the whole number that makes pictures 160 pixels wide or more; over 320 they are reduced */
  readonly scale?: number;
}

/**
 * Draws pictures in rows, in their order, on a dark ground, and encodes the sheet as PNG.
 *
 * @throws UsageError without pictures, without columns, or when the sheet would exceed the pixel limit.
 */
export async function contactSheet(images: readonly RgbImage[], options: ContactSheetOptions): Promise<Uint8Array> {
  return encodePng(drawContactSheet(images, options));
}

/** As {@link contactSheet}, not encoded. */
export function drawContactSheet(images: readonly RgbImage[], options: ContactSheetOptions): RgbImage {
  const { labels, highlighted } = options;
  if (images.length === 0) throw new UsageError("contact sheet: expected at least one image, got none");
  if (!Number.isSafeInteger(options.columns) || options.columns < 1) {
    throw new UsageError(`contact sheet: expected 1 column or more, got ${options.columns}`);
  }
  const columns = Math.min(options.columns, images.length);
  const rows = Math.ceil(images.length / columns);
  const pictures = images.map((image) => scaled(image, options.scale ?? readableScale(image.width)));
  const cellWidth = Math.max(...pictures.map((picture) => picture.width));
  const pictureHeight = Math.max(...pictures.map((picture) => picture.height));
  const cellHeight = pictureHeight + (labels === undefined ? 0 : CAPTION);
  const span = (cell: number, count: number) => 2 * MARGIN + count * cell + (count - 1) * GAP;
  const bottom = labels === undefined ? 0 : MARGIN - GAP;
  const sheet = blank(span(cellWidth, columns), span(cellHeight, rows) - bottom, BACKGROUND);

  for (const [i, picture] of pictures.entries()) {
    const cellLeft = MARGIN + (i % columns) * (cellWidth + GAP);
    const top = MARGIN + Math.floor(i / columns) * (cellHeight + GAP);
    const left = cellLeft + ((cellWidth - picture.width) >> 1);
    const isHighlighted = highlighted?.has(i) === true;
    drawFrame(sheet, picture, left, top, isHighlighted);
    const label = labels?.[i];
    if (label !== undefined) {
      drawLabel(sheet, label, { left: cellLeft, width: cellWidth, baseline: top + pictureHeight + 21 }, isHighlighted);
    }
  }
  return sheet;
}

function readableScale(width: number): number {
  if (width > LARGEST_WIDTH) return LARGEST_WIDTH / width;
  return Math.ceil(READABLE_WIDTH / width);
}

/** Enlarged by nearest neighbour, so that pixels stay what they are; reduced by bicubic. */
function scaled(image: RgbImage, scale: number): RgbImage {
  const width = Math.max(1, Math.round(image.width * scale));
  const height = Math.max(1, Math.round(image.height * scale));
  if (scale < 1) return resizeBicubic(image, width, height);
  return { width, height, data: resizeNearest(image, 3, width, height) };
}

/** A thin frame keeps pictures on dark grounds apart from the sheet; the outline of a highlighted one leaves a gap of a pixel. */
function drawFrame(sheet: RgbImage, picture: RgbImage, left: number, top: number, isHighlighted: boolean): void {
  const ring = (distance: number, colour: Colour) => {
    const [width, height] = [picture.width + 2 * distance, picture.height + 2 * distance];
    fillRectangle(sheet, left - distance, top - distance, width, height, colour);
  };
  if (isHighlighted) {
    ring(OUTLINE + 1, ACCENT);
    ring(1, BACKGROUND);
  } else ring(1, FRAME);
  drawImage(sheet, picture, left, top);
}

interface Line {
  readonly left: number;
  readonly width: number;
  readonly baseline: number;
}

function drawLabel(sheet: RgbImage, label: string, line: Line, isHighlighted: boolean): void {
  const [first = "", ...rest] = label.trim().split(/ {2,}|\t/);
  const last = rest.join(" ");
  const lastText = fitted(last, line.width);
  const lastWidth = last === "" ? 0 : textWidth(lastText, TEXT_SIZE);
  const colour = isHighlighted ? ACCENT : last === "" ? INK : SOFT_INK;
  const room = line.width - (last === "" ? 0 : lastWidth + GAP);
  drawText(sheet, fitted(first, room), line.left, line.baseline, { size: TEXT_SIZE, colour });
  const right = line.left + line.width - lastWidth;
  drawText(sheet, lastText, right, line.baseline, { size: TEXT_SIZE, colour: isHighlighted ? ACCENT : INK });
}

/** The text, shortened with an ellipsis where it is wider than `width` pixels. */
function fitted(text: string, width: number): string {
  if (textWidth(text, TEXT_SIZE) <= width) return text;
  const characters = Array.from(text);
  while (characters.length > 0 && textWidth(`${characters.join("")}…`, TEXT_SIZE) > width) characters.pop();
  return characters.length === 0 ? "" : `${characters.join("").trimEnd()}…`;
}
