/** @file Mode conversions with Pillow's integer arithmetic (Pillow 13.0.0, src/libImaging/Convert.c). */

import type { RgbImage, SourceImage } from "./types.js";

/** A product of two values scaled by 255, rounded: Pillow's MULDIV255. */
export function multiply255(a: number, b: number): number {
  const product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

/**
 * What `image.convert("RGB")` gives: alpha is dropped, not blended; a palette is looked up; CMYK is taken without a colour profile.
 * 16-bit grey deviates: its high byte is kept, where Pillow clips everything above 255 to white.
 */
export function toRgb(image: SourceImage | RgbImage): RgbImage {
  if (!("mode" in image)) return image;
  const { width, height } = image;
  if (image.mode === "RGB") return { width, height, data: image.data };
  return { width, height, data: rgbBytes(image, width * height) };
}

/** True when an alpha channel leaves some pixel not fully opaque. */
export function isTransparent({ mode, data }: SourceImage): boolean {
  if (mode !== "LA" && mode !== "RGBA") return false;
  const channels = mode === "LA" ? 2 : 4;
  for (let i = channels - 1; i < data.length; i += channels) if (data[i] !== 255) return true;
  return false;
}

/** What `image.convert("L")` gives for an RGB image: the luma of ITU-R 601-2 in 16-bit fixed point, one byte a pixel. */
export function luminance({ data, width, height }: RgbImage): Uint8Array {
  const out = new Uint8Array(width * height);
  for (let i = 0; i < out.length; i++) {
    out[i] = (data[3 * i]! * 19595 + data[3 * i + 1]! * 38470 + data[3 * i + 2]! * 7471 + 0x8000) >> 16;
  }
  return out;
}

function rgbBytes(image: SourceImage, pixels: number): Uint8Array {
  const out = new Uint8Array(pixels * 3);
  const { mode, data } = image;
  switch (mode) {
    case "1":
    case "L":
      for (let i = 0; i < pixels; i++) out.fill(data[i] as number, i * 3, i * 3 + 3);
      return out;
    case "I;16":
      for (let i = 0; i < pixels; i++) out.fill((data[i] as number) >> 8, i * 3, i * 3 + 3);
      return out;
    case "LA":
      for (let i = 0; i < pixels; i++) out.fill(data[i * 2] as number, i * 3, i * 3 + 3);
      return out;
    case "P":
      for (let i = 0; i < pixels; i++) {
        const entry = (data[i] as number) * 3;
        for (let c = 0; c < 3; c++) out[i * 3 + c] = image.palette[entry + c] ?? 0;
      }
      return out;
    case "RGB":
      out.set(data);
      return out;
    case "RGBA":
      for (let i = 0; i < pixels; i++) for (let c = 0; c < 3; c++) out[i * 3 + c] = data[i * 4 + c] as number;
      return out;
    case "CMYK":
      for (let i = 0; i < pixels; i++) {
        const light = 255 - (data[i * 4 + 3] as number);
        for (let c = 0; c < 3; c++) out[i * 3 + c] = Math.max(0, light - multiply255(data[i * 4 + c] as number, light));
      }
      return out;
    default:
      return mode satisfies never;
  }
}
