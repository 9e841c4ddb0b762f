/**
 * @file PyTorch's CPU random stream: the same seed gives the noise that `torch.Generator().manual_seed(seed)` gives.
 *
 * The 32-bit stream is exact. Normal numbers agree to about 2e-6, because torch takes log, sin and cos from float32 vector routines.
 * Source: pytorch v2.13.0, aten/src/ATen/core/MT19937RNGEngine.h, DistributionsHelper.h, native/cpu/DistributionTemplates.h.
 */

import { UsageError } from "../errors.js";

const WORDS = 624;
const SHIFT = 397;
/** Below this size torch draws one by one in double precision; from it on, in float32 blocks of this size. */
const BLOCK = 16;
/** From this range on torch's `randint` spends 64 bits a number. */
const WIDE_RANGE = 2 ** 28;
const TWO_PI_FLOAT = Math.fround(2 * Math.PI);

/** Everything that determines what a generator draws next; plain data, safe to clone and to send between processes. */
export interface GeneratorState {
  /** The Mersenne Twister's 624 words. */
  readonly words: Uint32Array;
  /** How many of the words are used up, 0 to 624. */
  readonly index: number;
  /** The second normal number of the last double-precision pair, if not drawn yet. */
  readonly cachedNormal?: number;
}

/** Seeds stay within [0, MAX_SEED], so that `seed + i` is still an unsigned 32-bit number below 2^32 - 1. */
export const MAX_SEED = 2 ** 32 - 2;

/** A seeded random stream (MT19937), drawing in the order in which torch's CPU generator draws. */
export class TorchGenerator {
  #words = new Uint32Array(WORDS);
  #index = WORDS;
  #cachedNormal: number | undefined;

  /** @param seed A whole number from 0 to 2^53 - 1; as in torch, only its low 32 bits count. @throws UsageError */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new UsageError(`seed: expected a whole number from 0 to 2^53 - 1, got ${seed}`);
    }
    let previous = (seed % 2 ** 32) >>> 0;
    this.#words[0] = previous;
    for (let i = 1; i < WORDS; i++) {
      previous = (Math.imul(1812433253, previous ^ (previous >>> 30)) + i) >>> 0;
      this.#words[i] = previous;
    }
  }

  /** A generator that goes on where `state` was taken. */
  static restore(state: GeneratorState): TorchGenerator {
    if (state.words.length !== WORDS || !(state.index >= 0 && state.index <= WORDS)) {
      throw new UsageError(
        `generator state: expected ${WORDS} words and an index up to ${WORDS}, got ${state.words.length} and ${state.index}`,
      );
    }
    const generator = new TorchGenerator(0);
    generator.#words = state.words.slice();
    generator.#index = state.index;
    generator.#cachedNormal = state.cachedNormal;
    return generator;
  }

  /** A copy of the state, for {@link TorchGenerator.restore}. */
  state(): GeneratorState {
    const state = { words: this.#words.slice(), index: this.#index };
    return this.#cachedNormal === undefined ? state : { ...state, cachedNormal: this.#cachedNormal };
  }

  /** The next 32 bits, as a whole number from 0 to 2^32 - 1. */
  random32(): number {
    if (this.#index === WORDS) this.#twist();
    let y = this.#words[this.#index++] as number;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> 0;
  }

  /** `torch.rand(count)`: float32 numbers in [0, 1) from 24 bits each. */
  uniform(count: number): Float32Array {
    const values = new Float32Array(checkCount("uniform", count));
    for (let i = 0; i < count; i++) values[i] = this.#uniform24();
    return values;
  }

  /** `torch.randn(count)`: standard normal float32 numbers, as one call of torch draws them. */
  randn(count: number): Float32Array {
    const values = new Float32Array(checkCount("randn", count));
    if (count < BLOCK) {
      for (let i = 0; i < count; i++) values[i] = this.#normal();
      return values;
    }
    for (let i = 0; i < count; i++) values[i] = this.#uniform24();
    for (let start = 0; start + BLOCK <= count; start += BLOCK) boxMuller(values, start);
    if (count % BLOCK !== 0) {
      const start = count - BLOCK;
      for (let i = start; i < count; i++) values[i] = this.#uniform24();
      boxMuller(values, start);
    }
    return values;
  }

  /** `torch.randint(low, high, [count])`: whole numbers in [low, high). @throws UsageError when the range is empty. */
  randint(low: number, high: number, count: number): Float64Array {
    const range = high - low;
    if (!Number.isSafeInteger(low) || !Number.isSafeInteger(high) || range <= 0) {
      throw new UsageError(`randint: expected whole numbers low < high, got ${low} and ${high}`);
    }
    const values = new Float64Array(checkCount("randint", count));
    for (let i = 0; i < count; i++) {
      values[i] = low + (range >= WIDE_RANGE ? Number(this.#random64() % BigInt(range)) : this.random32() % range);
    }
    return values;
  }

  /** `torch.randperm(count)`: the numbers 0 to count - 1 in random order. */
  randperm(count: number): Uint32Array {
    const order = Uint32Array.from({ length: checkCount("randperm", count) }, (_, i) => i);
    for (let i = 0; i < count - 1; i++) {
      const j = i + (this.random32() % (count - i));
      const swapped = order[i] as number;
      order[i] = order[j] as number;
      order[j] = swapped;
    }
    return order;
  }

  #random64(): bigint {
    const high = BigInt(this.random32());
    return (high << 32n) | BigInt(this.random32());
  }

  #uniform24(): number {
    return (this.random32() & 0xffffff) / 2 ** 24;
  }

  #uniform53(): number {
    const high = this.random32() & 0x1fffff;
    return (high * 2 ** 32 + this.random32()) / 2 ** 53;
  }

  /** One double-precision Box-Muller number; its twin waits for the next call, across calls of {@link randn}. */
  #normal(): number {
    const cached = this.#cachedNormal;
    if (cached !== undefined) {
      this.#cachedNormal = undefined;
      return cached;
    }
    const u1 = this.#uniform53();
    const u2 = this.#uniform53();
    const radius = Math.sqrt(-2 * Math.log1p(-u2));
    this.#cachedNormal = radius * Math.sin(2 * Math.PI * u1);
    return radius * Math.cos(2 * Math.PI * u1);
  }

  #twist(): void {
    const words = this.#words;
    for (let i = 0; i < WORDS; i++) {
      const mixed = ((words[i] as number) & 0x80000000) | ((words[(i + 1) % WORDS] as number) & 0x7fffffff);
      const odd = mixed & 1 ? 0x9908b0df : 0;
      words[i] = (words[(i + SHIFT) % WORDS] as number) ^ (mixed >>> 1) ^ odd;
    }
    this.#index = 0;
  }
}

/** Turns 16 uniforms into 16 normals in place: value i and value i + 8 are one Box-Muller pair, in float32 steps. */
function boxMuller(values: Float32Array, start: number): void {
  for (let i = start; i < start + BLOCK / 2; i++) {
    const u1 = 1 - (values[i] as number);
    const radius = Math.fround(Math.sqrt(Math.fround(-2 * Math.fround(Math.log(u1)))));
    const theta = Math.fround(TWO_PI_FLOAT * (values[i + BLOCK / 2] as number));
    values[i] = radius * Math.cos(theta);
    values[i + BLOCK / 2] = radius * Math.sin(theta);
  }
}

function checkCount(where: string, count: number): number {
  if (Number.isSafeInteger(count) && count >= 0 && count <= 2 ** 32 - 1) return count;
  throw new UsageError(`${where}: expected a count from 0 to 2^32 - 1, got ${count}`);
}
