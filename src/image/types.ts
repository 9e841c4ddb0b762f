/** @file Decoded images: plain RGB, and images as their file stores them (the modes that Pillow's `Image.open` gives). */

import { UsageError } from "../errors.js";

/** An 8-bit RGB image. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3] */
  readonly data: Uint8Array;
}

interface SourceFacts {
  readonly width: number;
  readonly height: number;
  /** The file format, lower case: `png`, `jpeg`, `webp`, ... */
  readonly format: string;
  /** What could not be taken from the file as it is meant. */
  readonly warnings: readonly string[];
}

/** Bytes per pixel of the modes that hold a whole number of 8-bit channels. */
export const CHANNELS = { "1": 1, L: 1, LA: 2, RGB: 3, RGBA: 4, CMYK: 4 } as const;

/** One byte a channel, [height, width, channels]; mode "1" holds 0 or 255, CMYK counts ink (0 is none). */
export interface ChannelImage extends SourceFacts {
  readonly mode: keyof typeof CHANNELS;
  readonly data: Uint8Array;
}

/** Palette indices, [height, width]; `palette` holds R, G, B for each index, absent ones are black. */
export interface PaletteImage extends SourceFacts {
  readonly mode: "P";
  readonly data: Uint8Array;
  readonly palette: Uint8Array;
}

/** 16-bit grey, [height, width]. */
export interface Grey16Image extends SourceFacts {
  readonly mode: "I;16";
  readonly data: Uint16Array;
}

/** An image in the mode its file stores. What a resize or a conversion to RGB gives depends on the mode. */
export type SourceImage = ChannelImage | PaletteImage | Grey16Image;

/** More pixels than this are refused before anything of their size is allocated. */
export const MAX_PIXELS = 100_000_000;

/** @throws UsageError when an image of this size is empty or has more than `most` pixels. */
export function checkSize(where: string, width: number, height: number, most: number = MAX_PIXELS): void {
  const whole = Number.isSafeInteger(width) && Number.isSafeInteger(height) && width > 0 && height > 0;
  if (whole && width * height <= most) return;
  throw new UsageError(`${where}: expected 1 to ${most / 1e6} million pixels, got ${width} x ${height}`);
}
