/** @file Decoding in overlapping tiles: less memory, for pictures that differ slightly from those decoded whole. */

import { UsageError } from "../errors.js";
import type { LatentSize } from "./networks.js";

/**
 * The least share of a tile that it has in common with the next, as in diffusers' tiled decode (v0.38.0, autoencoder_kl.py). There tiles begin at
 * equal distances and the last ones are cut; here all have one size, for one program, and are spread evenly, so most overlap more.
 */
const OVERLAP = 0.25;
/** Fewer latent cells have no inner part to take. */
const SMALLEST = 8;

/** How a picture is cut. Positions in latent cells. */
export interface TilePlan {
  /** Of every tile. */
  readonly size: LatentSize;
  /** Where rows and columns of tiles begin, ascending; the first 0, the last flush with the end. */
  readonly tops: readonly number[];
  readonly lefts: readonly number[];
}

/** @param tile side in pixels; undefined cuts nothing @param factor pixels per latent cell @throws UsageError for a side that is too small */
export function planTiles(size: LatentSize, tile: number | undefined, factor: number): TilePlan {
  const cells = tile === undefined ? Number.POSITIVE_INFINITY : Math.floor(tile / factor);
  if (cells < SMALLEST) {
    throw new UsageError(`vae tile: expected at least ${SMALLEST * factor} pixels for this model, got ${tile}`);
  }
  return {
    size: { width: Math.min(cells, size.width), height: Math.min(cells, size.height) },
    tops: starts(size.height, cells),
    lefts: starts(size.width, cells),
  };
}

/** Whether the plan cuts at all. */
export function isCut({ tops, lefts }: TilePlan): boolean {
  return tops.length * lefts.length > 1;
}

function starts(length: number, tile: number): number[] {
  if (length <= tile) return [0];
  const rest = length - tile;
  const steps = Math.ceil(rest / Math.floor(tile * (1 - OVERLAP)));
  return Array.from({ length: steps + 1 }, (_, i) => Math.round((i * rest) / steps));
}

/** Part of one latent [channels, size.height, size.width] for a tile. */
export function cutTile(
  latent: Float32Array,
  size: LatentSize,
  plan: TilePlan,
  top: number,
  left: number,
): Float32Array {
  const { width, height } = plan.size;
  const channels = latent.length / (size.width * size.height);
  const out = new Float32Array(channels * width * height);
  for (let row = 0; row < channels * height; row++) {
    const [channel, y] = [Math.floor(row / height), row % height];
    const from = (channel * size.height + top + y) * size.width + left;
    out.set(latent.subarray(from, from + width), row * width);
  }
  return out;
}

/** Puts decoded tiles together: across an overlap the weight goes from one to the other in a straight line. */
export class TileBlend {
  readonly #plan: TilePlan;
  readonly #factor: number;
  readonly #width: number;
  readonly #height: number;
  readonly #sum: Float32Array;
  readonly #rows: readonly Float32Array[];
  readonly #columns: readonly Float32Array[];

  /** @param size of the whole, in latent cells */
  constructor(plan: TilePlan, size: LatentSize, factor: number) {
    this.#plan = plan;
    this.#factor = factor;
    [this.#width, this.#height] = [size.width * factor, size.height * factor];
    this.#sum = new Float32Array(3 * this.#width * this.#height);
    this.#rows = weights(plan.tops, plan.size.height, factor, this.#height);
    this.#columns = weights(plan.lefts, plan.size.width, factor, this.#width);
  }

  /** @param tile decoded, [3, height, width] @param row of the tile in `tops` @param column in `lefts` */
  add(tile: Float32Array, row: number, column: number): void {
    const { size, tops, lefts } = this.#plan;
    const [width, height] = [size.width * this.#factor, size.height * this.#factor];
    const [top, left] = [tops[row]! * this.#factor, lefts[column]! * this.#factor];
    const [vertical, horizontal] = [this.#rows[row]!, this.#columns[column]!];
    for (let line = 0; line < 3 * height; line++) {
      const [channel, y] = [Math.floor(line / height), line % height];
      const to = (channel * this.#height + top + y) * this.#width + left;
      for (let x = 0; x < width; x++) {
        this.#sum[to + x]! += tile[line * width + x]! * vertical[y]! * horizontal[x]!;
      }
    }
  }

  /** The whole, [3, height, width], once all tiles were added. */
  get result(): Float32Array {
    return this.#sum;
  }
}

/** For each tile along an axis, the weight of each of its pixels; those of one place sum to 1. */
function weights(begins: readonly number[], cells: number, factor: number, length: number): Float32Array[] {
  const side = cells * factor;
  const totals = new Float64Array(length);
  const all = begins.map((begin, i) => {
    const before = i === 0 ? 0 : (begins[i - 1]! + cells - begin) * factor;
    const after = i === begins.length - 1 ? 0 : (begin + cells - begins[i + 1]!) * factor;
    return Float64Array.from({ length: side }, (_, x) => {
      const rise = before === 0 ? 1 : (x + 0.5) / before;
      const fall = after === 0 ? 1 : (side - x - 0.5) / after;
      const weight = Math.min(1, rise, fall);
      totals[begin * factor + x]! += weight;
      return weight;
    });
  });
  return all.map((own, i) => Float32Array.from(own, (weight, x) => weight / totals[begins[i]! * factor + x]!));
}
