/** @file Conversions between float32 and the 16-bit formats, bit-exact as IEEE 754 and PyTorch define them. */

const word = new Float32Array(1);
const wordBits = new Uint32Array(word.buffer);

let float16Table: Uint32Array | undefined;

/** The float32 bit pattern of every float16 bit pattern. */
function float16Bits(): Uint32Array {
  if (float16Table !== undefined) return float16Table;
  const table = new Uint32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = (bits & 0x8000) << 16;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) {
      // Zero and subnormals: fraction * 2^-24 is exact in float32.
      word[0] = fraction * 2 ** -24;
      table[bits] = wordBits[0]! | sign;
    } else if (exponent === 31) {
      table[bits] = sign | 0x7f800000 | (fraction << 13) | (fraction === 0 ? 0 : 0x400000);
    } else {
      table[bits] = sign | ((exponent + 112) << 23) | (fraction << 13);
    }
  }
  float16Table = table;
  return table;
}

/** Widens float16 bit patterns; exact. NaN stays NaN with its sign and payload, made quiet. */
export function float16ToFloat32(bits: Uint16Array): Float32Array {
  const table = float16Bits();
  const result = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) result[i] = table[bits[i]!]!;
  return new Float32Array(result.buffer);
}

/** Rounds to float16 bit patterns: to nearest, ties to even; beyond 65519.996 becomes infinity; subnormals kept. */
export function float32ToFloat16(values: Float32Array): Uint16Array {
  const source = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const result = new Uint16Array(values.length);
  for (let i = 0; i < source.length; i++) {
    const bits = source[i]!;
    const sign = (bits >>> 16) & 0x8000;
    const magnitude = bits & 0x7fffffff;
    if (magnitude >= 0x47800000) {
      // 65536 and more, infinity, NaN
      result[i] = sign | (magnitude > 0x7f800000 ? 0x7e00 | ((magnitude >>> 13) & 0x3ff) : 0x7c00);
    } else if (magnitude >= 0x38800000) {
      // Normal: rebias the exponent and round at bit 13; a carry runs into the exponent, up to infinity, as it should.
      const odd = (magnitude >>> 13) & 1;
      result[i] = sign | ((magnitude - 0x38000000 + 0xfff + odd) >>> 13);
    } else {
      // Subnormal: adding 0.5 leaves round(|x| * 2^24), rounded by the float32 addition itself, in the low bits.
      wordBits[0] = magnitude;
      word[0] = word[0]! + 0.5;
      result[i] = sign | (wordBits[0] - 0x3f000000);
    }
  }
  return result;
}

/** Widens bfloat16 bit patterns; exact, NaN payloads included. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array {
  const result = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) result[i] = bits[i]! << 16;
  return new Float32Array(result.buffer);
}

/** Rounds to bfloat16 bit patterns: to nearest, ties to even; NaN stays NaN, made quiet. */
export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const source = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const result = new Uint16Array(values.length);
  for (let i = 0; i < source.length; i++) {
    const bits = source[i]!;
    if ((bits & 0x7fffffff) > 0x7f800000) result[i] = (bits >>> 16) | 0x40;
    else result[i] = (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  }
  return result;
}
