/** @file Draws a scene: 64x64 RGB with antialiased edges and a little jitter of the colours. */

import type { Background, Colour, Shape } from "./grammar.js";
import type { Random } from "./random.js";
import type { PlacedShape, Scene } from "./scene.js";
import { EXTENT, PICTURE_SIZE } from "./scene.js";

/** Eight-bit RGB pixels, row by row. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** The hue of each colour name in degrees. */
export const HUES: Readonly<Record<Colour, number>> = {
  red: 0, orange: 30, yellow: 55, green: 120, cyan: 180, blue: 230, purple: 275, pink: 325,
}; // prettier-ignore

/** The grey level of each background before jitter. */
export const LEVELS: Readonly<Record<Background, number>> = { white: 250, grey: 128, black: 6 };

/** Hue jitter in degrees, saturation and value ranges, background jitter in levels. */
const JITTER = { hue: 3, saturation: [0.88, 1], value: [0.9, 1], level: 5 } as const;
const SUBSAMPLES = 4;

/** RGB in 0..255 (not rounded) from hue in degrees, saturation and value in 0..1. */
export function hsvToRgb(hue: number, saturation: number, value: number): [number, number, number] {
  const channel = (n: number): number => {
    const k = (n + hue / 60 + 6) % 6;
    return 255 * (value - value * saturation * Math.max(0, Math.min(k, 4 - k, 1)));
  };
  return [channel(5), channel(3), channel(1)];
}

/** Whether the point (u, v) of the unit box, v downwards, lies inside the shape. */
export function inside(shape: Shape, u: number, v: number): boolean {
  if (u < 0 || u > 1 || v < 0 || v > 1) return false;
  switch (shape) {
    case "circle":
      return (u - 0.5) ** 2 + (v - 0.5) ** 2 <= 0.25;
    case "square":
      return true;
    case "triangle":
      return Math.abs(u - 0.5) <= v / 2;
    default:
      throw shape satisfies never;
  }
}

const coverages = new Map<string, Float32Array>();

/** The share of each pixel of an `extent` x `extent` box that the shape covers. */
export function coverage(shape: Shape, extent: number): Float32Array {
  const key = `${shape} ${extent}`;
  const known = coverages.get(key);
  if (known !== undefined) return known;
  const cover = new Float32Array(extent * extent);
  const side = extent * SUBSAMPLES;
  for (let sy = 0; sy < side; sy++) {
    for (let sx = 0; sx < side; sx++) {
      if (!inside(shape, (sx + 0.5) / side, (sy + 0.5) / side)) continue;
      const pixel = Math.floor(sy / SUBSAMPLES) * extent + Math.floor(sx / SUBSAMPLES);
      cover[pixel] = (cover[pixel] ?? 0) + 1 / SUBSAMPLES ** 2;
    }
  }
  coverages.set(key, cover);
  return cover;
}

function drawShape(picture: Picture, placed: PlacedShape, random: Random): void {
  const extent = EXTENT[placed.size];
  const cover = coverage(placed.shape, extent);
  const rgb = hsvToRgb(
    HUES[placed.colour] + random.between(-JITTER.hue, JITTER.hue),
    random.between(...JITTER.saturation),
    random.between(...JITTER.value),
  );
  for (let y = 0; y < extent; y++) {
    for (let x = 0; x < extent; x++) {
      const alpha = cover[y * extent + x] ?? 0;
      const at = 3 * ((placed.y + y) * picture.width + placed.x + x);
      for (let c = 0; c < 3; c++) {
        const below = picture.data[at + c] ?? 0;
        picture.data[at + c] = Math.round(below + alpha * ((rgb[c] ?? 0) - below));
      }
    }
  }
}

/** Draws `scene`; `random` supplies the jitter of the colours. */
export function renderScene(scene: Scene, random: Random): Picture {
  const data = new Uint8Array(PICTURE_SIZE * PICTURE_SIZE * 3);
  data.fill(Math.round(LEVELS[scene.background] + random.between(-JITTER.level, JITTER.level)));
  const picture = { width: PICTURE_SIZE, height: PICTURE_SIZE, data };
  for (const shape of scene.shapes) drawShape(picture, shape, random);
  return picture;
}
