/** @file Pillow's resize, bit for bit: antialiased bicubic and Lanczos in 22-bit fixed point, and nearest (Pillow 13.0.0, Resample.c and Geometry.c). */

import { InternalError } from "../errors.js";
import { multiply255 } from "./convert.js";
import type { RgbImage, SourceImage } from "./types.js";
import { CHANNELS, checkSize } from "./types.js";

const PRECISION_BITS = 22;

/** A resampling filter: its weight at a distance in source pixels, 0 beyond its support. */
interface Filter {
  readonly support: number;
  readonly weight: (x: number) => number;
}

/** A part of a resized image, in its pixels. */
export interface Window {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/**
 * What `image.resize((width, height), BICUBIC)` gives, or a window of it, which costs no more than its own pixels: colour is
 * weighted by alpha; 1-bit and palette images are resized by nearest neighbour, as Pillow does. 16-bit grey is reduced to 8 bits
 * first (Pillow would keep 16 and clip them later).
 *
 * @throws UsageError when the window is larger than the pixel limit, or a side of the whole is.
 */
export function resizeBicubic(image: RgbImage, width: number, height: number, window?: Window): RgbImage;
export function resizeBicubic(image: SourceImage, width: number, height: number, window?: Window): SourceImage;
export function resizeBicubic(
  image: SourceImage | RgbImage,
  width: number,
  height: number,
  window?: Window,
): SourceImage | RgbImage;
export function resizeBicubic(
  image: SourceImage | RgbImage,
  width: number,
  height: number,
  window: Window = { left: 0, top: 0, width, height },
): SourceImage | RgbImage {
  checkSize("resize", width, 1);
  checkSize("resize", 1, height);
  checkSize("resize", window.width, window.height);
  if (image.width === width && image.height === height && window.width === width && window.height === height) {
    return image;
  }
  const size = { width: window.width, height: window.height };
  const resampled = (bytes: Bytes, channels: number) => resample(bytes, channels, width, height, BICUBIC, window);
  if (!("mode" in image)) return { ...size, data: resampled(image, 3) };
  switch (image.mode) {
    case "1":
    case "P":
      return { ...image, ...size, data: resizeNearest(image, 1, width, height, window) };
    case "L":
    case "RGB":
    case "CMYK":
      return { ...image, ...size, data: resampled(image, CHANNELS[image.mode]) };
    case "LA":
    case "RGBA": {
      const channels = CHANNELS[image.mode];
      // Pillow leaves the colours alone where there is nothing to resize.
      if (image.width === width && image.height === height)
        return { ...image, ...size, data: resampled(image, channels) };
      const premultiplied = { ...image, data: premultiply(image.data, channels) };
      return { ...image, ...size, data: unpremultiply(resampled(premultiplied, channels), channels) };
    }
    case "I;16": {
      const grey = { ...image, mode: "L" as const, data: Uint8Array.from(image.data, (value) => value >> 8) };
      return resizeBicubic(grey, width, height, window);
    }
    default:
      return image satisfies never;
  }
}

/** What `image.resize((width, height), LANCZOS)` gives for an RGB image. */
export function resizeLanczos(image: RgbImage, width: number, height: number): RgbImage {
  checkSize("resize", width, height);
  if (image.width === width && image.height === height) return image;
  return { width, height, data: resample(image, 3, width, height, LANCZOS, { left: 0, top: 0, width, height }) };
}

interface Bytes {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** Nearest neighbour; the source coordinate is accumulated as Pillow does, so ties fall on the same side. */
export function resizeNearest(
  image: Bytes,
  channels: number,
  width: number,
  height: number,
  window: Window = { left: 0, top: 0, width, height },
): Uint8Array {
  const columns = nearestIndices(image.width, width, window.left, window.width);
  const rows = nearestIndices(image.height, height, window.top, window.height);
  const out = new Uint8Array(rows.length * columns.length * channels);
  let to = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * image.width + column) * channels;
      for (let c = 0; c < channels; c++) out[to++] = image.data[from + c] as number;
    }
  }
  return out;
}

function nearestIndices(size: number, outSize: number, first: number, count: number): Uint32Array {
  const scale = size / outSize;
  const indices = new Uint32Array(count);
  let position = scale * 0.5;
  for (let i = 0; i < first + count; i++) {
    if (i >= first) indices[i - first] = Math.min(size - 1, Math.trunc(position));
    position += scale;
  }
  return indices;
}

/** Which source pixels make each output pixel, and with which fixed-point weights. */
interface Kernel {
  /** Weights per output pixel, padded to this many. */
  readonly taps: number;
  readonly starts: Int32Array;
  readonly counts: Int32Array;
  readonly weights: Int32Array;
}

// w(x) = (a + 2)|x|^3 - (a + 3)|x|^2 + 1 for |x| < 1;  a|x|^3 - 5a|x|^2 + 8a|x| - 4a for |x| < 2;  a = -0.5
function bicubic(x: number): number {
  const a = -0.5;
  const distance = Math.abs(x);
  if (distance < 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
  if (distance < 2) return (((distance - 5) * distance + 8) * distance - 4) * a;
  return 0;
}

const BICUBIC: Filter = { support: 2, weight: bicubic };

// w(x) = sinc(x) sinc(x / 3) for -3 <= x < 3
function lanczos(x: number): number {
  const sinc = (t: number): number => (t === 0 ? 1 : Math.sin(t * Math.PI) / (t * Math.PI));
  return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

const LANCZOS: Filter = { support: 3, weight: lanczos };

/** Which source pixels make each output pixel, and with which weights; they sum to 1. */
export interface ResampleWeights {
  /** Weights per output pixel, padded to this many. */
  readonly taps: number;
  readonly starts: Int32Array;
  readonly counts: Int32Array;
  readonly weights: Float64Array;
}

/** Pillow's antialiased bicubic along one axis: the weights of `count` output pixels from `first` on, of the `outSize` that `size` become. */
export function bicubicWeights(size: number, outSize: number, first: number, count: number): ResampleWeights {
  return filterWeights(BICUBIC, size, outSize, first, count);
}

function filterWeights(filter: Filter, size: number, outSize: number, first: number, count: number): ResampleWeights {
  const scale = size / outSize;
  const filterScale = Math.max(1, scale);
  const support = filter.support * filterScale;
  const taps = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(count);
  const counts = new Int32Array(count);
  const weights = new Float64Array(count * taps);
  for (let i = 0; i < count; i++) {
    const center = (first + i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const length = Math.min(size, Math.trunc(center + support + 0.5)) - start;
    let total = 0;
    for (let t = 0; t < length; t++) {
      const weight = filter.weight((t + start - center + 0.5) * (1 / filterScale));
      weights[i * taps + t] = weight;
      total += weight;
    }
    for (let t = 0; t < length && total !== 0; t++) weights[i * taps + t]! /= total;
    starts[i] = start;
    counts[i] = length;
  }
  return { taps, starts, counts, weights };
}

/** {@link filterWeights} in fixed point. */
function filterKernel(filter: Filter, size: number, outSize: number, first: number, count: number): Kernel {
  const exact = filterWeights(filter, size, outSize, first, count);
  const rounded = (weight: number): number => Math.trunc((weight < 0 ? -0.5 : 0.5) + weight * 2 ** PRECISION_BITS);
  return { ...exact, weights: Int32Array.from(exact.weights, rounded) };
}

/** One axis of a resize: the source pixels that its window needs, and how they make it; no kernel where the size is kept. */
interface Axis {
  readonly first: number;
  readonly count: number;
  /** Its starts count from `first`. */
  readonly kernel?: Kernel;
}

function resizedAxis(filter: Filter, size: number, outSize: number, first: number, count: number): Axis {
  if (size === outSize) return { first, count };
  const kernel = filterKernel(filter, size, outSize, first, count);
  const source = kernel.starts[0] as number;
  const last = count - 1;
  const end = (kernel.starts[last] as number) + (kernel.counts[last] as number);
  return {
    first: source,
    count: end - source,
    kernel: { ...kernel, starts: kernel.starts.map((start) => start - source) },
  };
}

/**
 * Whether the rows of an image are made before its columns: if the height shrinks by more than twice the pixels that the width does. So since
 * Pillow 13.0; earlier versions never begin with the rows.
 */
export function rowsFirst(from: { width: number; height: number }, to: { width: number; height: number }): boolean {
  const rowsLost = from.height - to.height;
  return rowsLost > 0 && rowsLost > (from.width - to.width) * 2;
}

/** Both passes, each rounded to 8 bits; a pass that keeps the size is left out. */
function resample(
  image: Bytes,
  channels: number,
  width: number,
  height: number,
  filter: Filter,
  window: Window,
): Uint8Array {
  if (image.data.length !== image.width * image.height * channels) {
    throw new InternalError(
      `resize: expected ${image.width * image.height * channels} bytes, got ${image.data.length}`,
    );
  }
  const columns = resizedAxis(filter, image.width, width, window.left, window.width);
  const rows = resizedAxis(filter, image.height, height, window.top, window.height);
  let data = crop(image, channels, columns, rows);
  const verticalFirst = rowsFirst(image, { width, height });
  // Vertically a pixel's neighbour is a whole row away: one line of `height` positions with columns * channels channels.
  const vertical = (across: number) => {
    if (rows.kernel !== undefined) data = resampleLines(data, 1, rows.count, across * channels, rows.kernel);
  };
  if (verticalFirst) vertical(columns.count);
  if (columns.kernel !== undefined) {
    const lines = verticalFirst ? window.height : rows.count;
    const along = channels === 3 ? resampleRgbLines : resampleLines;
    data = along(data, lines, columns.count, channels, columns.kernel);
  }
  if (!verticalFirst) vertical(window.width);
  return data;
}

function crop(image: Bytes, channels: number, columns: Axis, rows: Axis): Uint8Array {
  if (columns.count === image.width && rows.count === image.height) return image.data;
  const length = columns.count * channels;
  const out = new Uint8Array(rows.count * length);
  for (let y = 0; y < rows.count; y++) {
    const start = ((rows.first + y) * image.width + columns.first) * channels;
    out.set(image.data.subarray(start, start + length), y * length);
  }
  return out;
}

/** Resamples the middle axis of [lines, size, channels] by a kernel; walks memory in order, all channels of a tap together. */
function resampleLines(
  data: Uint8Array,
  lines: number,
  size: number,
  channels: number,
  { taps, starts, counts, weights }: Kernel,
): Uint8Array {
  const outSize = starts.length;
  const out = new Uint8Array(lines * outSize * channels);
  const sums = new Int32Array(channels);
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < outSize; i++) {
      const count = counts[i] as number;
      let from = (line * size + (starts[i] as number)) * channels;
      sums.fill(1 << (PRECISION_BITS - 1));
      for (let t = 0; t < count; t++, from += channels) {
        const weight = weights[i * taps + t] as number;
        for (let c = 0; c < channels; c++) sums[c] = (sums[c] as number) + (data[from + c] as number) * weight;
      }
      const to = (line * outSize + i) * channels;
      for (let c = 0; c < channels; c++) {
        const value = (sums[c] as number) >> PRECISION_BITS;
        out[to + c] = value < 0 ? 0 : value > 255 ? 255 : value;
      }
    }
  }
  return out;
}

/** {@link resampleLines} for three channels, two to three times as fast: the sums stay in registers. */
function resampleRgbLines(data: Uint8Array, lines: number, size: number, _: number, kernel: Kernel): Uint8Array {
  const { taps, starts, counts, weights } = kernel;
  const out = new Uint8ClampedArray(lines * starts.length * 3);
  let to = 0;
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < starts.length; i++) {
      let from = (line * size + (starts[i] as number)) * 3;
      let red = 1 << (PRECISION_BITS - 1);
      let green = red;
      let blue = red;
      const end = i * taps + (counts[i] as number);
      for (let tap = i * taps; tap < end; tap++, from += 3) {
        const weight = weights[tap] as number;
        red = (red + (data[from] as number) * weight) | 0;
        green = (green + (data[from + 1] as number) * weight) | 0;
        blue = (blue + (data[from + 2] as number) * weight) | 0;
      }
      out[to++] = red >> PRECISION_BITS;
      out[to++] = green >> PRECISION_BITS;
      out[to++] = blue >> PRECISION_BITS;
    }
  }
  return new Uint8Array(out.buffer);
}

/** Multiplies all channels but the last by the last. */
function premultiply(data: Uint8Array, channels: number): Uint8Array {
  const out = data.slice();
  for (let i = 0; i < data.length; i += channels) {
    const alpha = data[i + channels - 1] as number;
    for (let c = 0; c < channels - 1; c++) out[i + c] = multiply255(data[i + c] as number, alpha);
  }
  return out;
}

/** The reverse of {@link premultiply}, in place; fully opaque and fully transparent pixels stay as they are. */
function unpremultiply(data: Uint8Array, channels: number): Uint8Array {
  for (let i = 0; i < data.length; i += channels) {
    const alpha = data[i + channels - 1] as number;
    if (alpha === 0 || alpha === 255) continue;
    for (let c = 0; c < channels - 1; c++) {
      data[i + c] = Math.min(255, Math.trunc((255 * (data[i + c] as number)) / alpha));
    }
  }
  return data;
}
