import { describe, expect, it } from "vitest";
import { toRgb } from "#laurel/image/convert";
import { contactSheet, drawContactSheet } from "#laurel/image/contact-sheet";
import { decodePng } from "#laurel/image/png-decode";
import type { RgbImage } from "#laurel/image/types";

function plain(width: number, height: number, value: number): RgbImage {
  return { width, height, data: new Uint8Array(width * height * 3).fill(value) };
}

function pixel(image: RgbImage, x: number, y: number): number[] {
  return Array.from(image.data.subarray((y * image.width + x) * 3, (y * image.width + x) * 3 + 3));
}

/** How many pixels of a strip differ from the sheet's ground. */
function inked(image: RgbImage, left: number, top: number, width: number, height: number): number {
  let count = 0;
  for (let y = top; y < top + height; y++) {
    for (let x = left; x < left + width; x++) if (pixel(image, x, y).join() !== pixel(image, 0, 0).join()) count++;
  }
  return count;
}

describe("contactSheet", () => {
  it("enlarges 64-pixel pictures to 192 and sets them in rows", () => {
    const sheet = drawContactSheet([plain(64, 64, 10), plain(64, 64, 200), plain(64, 64, 90)], { columns: 2 });
    expect([sheet.width, sheet.height]).toEqual([2 * 20 + 2 * 192 + 16, 2 * 20 + 2 * 192 + 16]);
    expect(pixel(sheet, 20, 20)).toEqual([10, 10, 10]);
    expect(pixel(sheet, 20 + 191, 20 + 191)).toEqual([10, 10, 10]);
    expect(pixel(sheet, 20 + 192 + 16, 20)).toEqual([200, 200, 200]);
    expect(pixel(sheet, 20, 20 + 192 + 16)).toEqual([90, 90, 90]);
  });

  it("reduces pictures wider than 320 pixels and keeps their shape", () => {
    const sheet = drawContactSheet([plain(640, 480, 77)], { columns: 4 });
    expect([sheet.width, sheet.height]).toEqual([360, 280]);
    expect(pixel(sheet, 180, 140)).toEqual([77, 77, 77]);
  });

  it("outlines the chosen pictures only", () => {
    const sheet = drawContactSheet([plain(64, 64, 0), plain(64, 64, 0)], { columns: 2, highlighted: new Set([1]) });
    const [, green] = pixel(sheet, 20 + 192 + 16 - 4, 100) as [number, number, number];
    expect(green).toBeGreaterThan(150);
    expect(Math.max(...pixel(sheet, 20 - 4, 100))).toBeLessThan(60);
  });

  it("draws labels inside their cell, the part after two spaces at the right edge", () => {
    const images = [plain(64, 64, 0), plain(64, 64, 0)];
    const sheet = drawContactSheet(images, {
      columns: 2,
      labels: ["12  −0.831", "a label that is much too long for its picture"],
    });
    const strip = 20 + 192 + 6;
    expect(inked(sheet, 20, strip, 40, 22)).toBeGreaterThan(20);
    expect(inked(sheet, 80, strip, 50, 22)).toBe(0);
    expect(inked(sheet, 20 + 150, strip, 42, 22)).toBeGreaterThan(40);
    expect(inked(sheet, 20 + 193, strip, 14, 22)).toBe(0);
    expect(inked(sheet, 20 + 192 + 16 + 193, strip, 19, 22)).toBe(0);
  });

  it("encodes to the same bytes each time, and refuses nonsense", async () => {
    const options = { columns: 3, labels: ["1", "2"], scale: 2 };
    const images = [plain(8, 8, 1), plain(8, 4, 2)];
    const png = await contactSheet(images, options);
    expect(png).toEqual(await contactSheet(images, options));
    expect(toRgb(decodePng(png, "sheet"))).toEqual(drawContactSheet(images, options));
    await expect(contactSheet([], { columns: 1 })).rejects.toThrow(
      "contact sheet: expected at least one image, got none",
    );
    await expect(contactSheet(images, { columns: 0 })).rejects.toThrow("expected 1 column or more, got 0");
  });
});
