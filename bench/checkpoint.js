/** @file A checkpoint of random weights at full size, written as a stream: gigabytes that never enter the heap. */

import { writeFileAtomic } from "../dist/util/files.js";

/** Numbers drawn at a time. */
const BLOCK = 1 << 20;

/**
 * Writes `tensors` (name -> { shape, dtype "float32" by default }) as a safetensors file of random values that keep activations at
 * their scale: matrices have variance 1 / fan-in, embeddings deviation 0.02, scales lie around 1, biases around 0, and int64 is counted.
 * Equal tensors and seeds give equal bytes.
 */
export async function writeRandomCheckpoint(path, tensors, seed) {
  const header = { __metadata__: { seed: String(seed) } };
  let position = 0;
  for (const [name, { shape, dtype = "float32" }] of tensors) {
    const end = position + count(shape) * (dtype === "int64" ? 8 : 4);
    header[name] = { dtype: dtype === "int64" ? "I64" : "F32", shape, data_offsets: [position, end] };
    position = end;
  }
  await writeFileAtomic(path, pieces(header, tensors, seed));
}

const count = (shape) => shape.reduce((product, size) => product * size, 1);

function* pieces(header, tensors, seed) {
  const text = Buffer.from(JSON.stringify(header));
  const start = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, " ");
  start.writeBigUInt64LE(BigInt(start.length - 8), 0);
  text.copy(start, 8);
  yield start;
  const block = new Float32Array(BLOCK);
  const draw = uniform(seed);
  for (const [name, { shape, dtype }] of tensors) {
    const total = count(shape);
    if (dtype === "int64") {
      yield new Uint8Array(BigInt64Array.from({ length: total }, (_, i) => BigInt(i)).buffer);
      continue;
    }
    const { centre, deviation } = distribution(name, shape);
    for (let done = 0; done < total; done += BLOCK) {
      const part = block.subarray(0, Math.min(BLOCK, total - done));
      draw(part, centre, deviation);
      yield new Uint8Array(part.buffer, 0, part.byteLength);
    }
  }
}

function distribution(name, shape) {
  if (/embed(dings?|ding)?\b.*weight$|pos_embed$|cls_token$/.test(name) && shape.length < 4)
    return { centre: 0, deviation: 0.02 };
  if (shape.length >= 2) return { centre: 0, deviation: 1 / Math.sqrt(count(shape.slice(1))) };
  return name.endsWith("weight") ? { centre: 1, deviation: 0.05 } : { centre: 0, deviation: 0.05 };
}

/** Fills an array with uniform numbers of a mean and a standard deviation. Marsaglia's xorshift32, scrambled by a multiplication. */
function uniform(seed) {
  let state = seed | 1;
  return (target, centre, deviation) => {
    const scale = (deviation * Math.sqrt(12)) / 2 ** 32;
    for (let i = 0; i < target.length; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      target[i] = centre + Math.imul(state, 0x9e3779b1) * scale;
    }
  };
}
