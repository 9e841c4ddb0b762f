/** @file Half-precision conversions against PyTorch: every 16-bit pattern, and all rounding cases of float32. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from "#laurel/tensor/half";
import { describe, expect, it } from "vitest";

interface Halves {
  float16ToFloat32: string;
  bfloat16ToFloat32: string;
  values: string;
  float32ToFloat16: string;
  float32ToBfloat16: string;
}

const golden = JSON.parse(readFileSync(new URL("../fixtures/weights/halves.json", import.meta.url), "utf8")) as Halves;
const everyPattern = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
const values = new Float32Array(Uint8Array.from(Buffer.from(golden.values, "base64")).buffer);

/** Bits with every NaN written as 0x7fc00000, as the script that made the golden values does. */
function canonicalHash(floats: Float32Array): string {
  const bits = new Uint32Array(floats.buffer.slice(0));
  floats.forEach((value, i) => {
    if (Number.isNaN(value)) bits[i] = 0x7fc00000;
  });
  return createHash("sha256").update(bits).digest("hex");
}

function halves(base64: string): Uint16Array {
  return new Uint16Array(Uint8Array.from(Buffer.from(base64, "base64")).buffer);
}

describe("half precision", () => {
  it("widens all 65536 float16 patterns as PyTorch does", () => {
    expect(canonicalHash(float16ToFloat32(everyPattern))).toBe(golden.float16ToFloat32);
  });

  it("widens all 65536 bfloat16 patterns as PyTorch does", () => {
    expect(canonicalHash(bfloat16ToFloat32(everyPattern))).toBe(golden.bfloat16ToFloat32);
  });

  it("rounds to float16 as PyTorch does: random values, every kind of tie, subnormals, the edges of the range", () => {
    expect(values.length).toBeGreaterThan(4000);
    expect(
      Buffer.from(float32ToFloat16(values).buffer).equals(Buffer.from(halves(golden.float32ToFloat16).buffer)),
    ).toBe(true);
  });

  it("rounds to bfloat16 as PyTorch does", () => {
    expect(
      Buffer.from(float32ToBfloat16(values).buffer).equals(Buffer.from(halves(golden.float32ToBfloat16).buffer)),
    ).toBe(true);
  });

  it("gives every float16 pattern back after widening, NaN made quiet", () => {
    const isNaNPattern = (bits: number): boolean => (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;
    const expected = everyPattern.map((bits) => (isNaNPattern(bits) ? bits | 0x200 : bits));
    const back = float32ToFloat16(float16ToFloat32(everyPattern));
    expect(everyPattern.findIndex((_, i) => back[i] !== expected[i])).toBe(-1);
  });

  it("keeps NaN a NaN, with its sign, also when the payload lies in the bits cut off", () => {
    const nans = new Float32Array(Uint32Array.of(0x7f800001, 0xff800001, 0x7fffffff).buffer);
    expect([...float32ToFloat16(nans)]).toEqual([0x7e00, 0xfe00, 0x7fff]);
    expect([...float32ToBfloat16(nans)]).toEqual([0x7fc0, 0xffc0, 0x7fff]);
  });

  it("reads a view into a larger buffer", () => {
    const buffer = new Float32Array([9, 1, 2]).subarray(1);
    expect([...float32ToFloat16(buffer)]).toEqual([0x3c00, 0x4000]);
  });
});
