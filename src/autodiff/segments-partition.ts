/** @file Where a graph is cut into consecutive segments: at given values, and at narrow places in between. */

import { isStatic, parseDim } from "../graph/dims.js";
import type { Node, OpType, Value } from "../graph/types.js";
import { byteSize, isFloat } from "../tensor/dtype.js";

/** Ops that cost more than reading and writing their operands: what they compute is kept, never computed again in another segment. */
const HEAVY: ReadonlySet<OpType> = new Set<OpType>([
  "MatMul",
  "Gemm",
  "FusedMatMul",
  "Conv",
  "ConvTranspose",
  "MultiHeadAttention",
]);
/** Ops whose output is their operand's memory. */
const ALIASES: ReadonlySet<OpType> = new Set<OpType>(["Reshape", "Unsqueeze", "Squeeze", "Identity"]);
/** Numbers of pieces that are compared. */
const PIECES = [1, 2, 3, 4, 6, 8, 12, 16, 24];
/** A finer division must promise at least this share less memory. */
const WORTH = 0.95;

/** Nodes in an order in which segments are consecutive, and where each segment but the first begins. */
export interface Partition {
  readonly order: readonly Node[];
  /** Ascending indices into `order`. */
  readonly cuts: readonly number[];
}

/** True for values that any segment computes for itself: cheap ones of inputs, parameters and constants alone, and all that are not float. */
export type Portable = (value: Value) => boolean;

/** Which values of `nodes` (in topological order) are portable. */
export function portableValues(nodes: readonly Node[]): Portable {
  const portable = new Set<Value>();
  const isPortable: Portable = (value) => value.source.kind !== "node" || portable.has(value);
  for (const node of nodes) {
    if (HEAVY.has(node.op)) continue;
    const free = node.inputs.every((operand) => operand === undefined || isPortable(operand));
    for (const output of node.outputs) if (free || !isFloat(output.dtype)) portable.add(output);
  }
  return isPortable;
}

/** Bytes of a value, symbols taken for 1. */
export function bytesOf(value: Value): number {
  const elements = isStatic(value.shape) ? value.shape : value.shape.map((dim) => parseDim(dim).factor);
  return elements.reduce((product, size) => product * size, byteSize(value.dtype));
}

/** Segments that end with the given values: each holds what its value depends on and no segment before it holds. */
export function partitionAt(nodes: readonly Node[], cuts: readonly Value[]): Partition {
  const stage = new Map<Node, number>();
  const ends = cuts.flatMap(({ source }) => (source.kind === "node" ? [source.node] : []));
  const known = new Set(nodes);
  ends
    .filter((node) => known.has(node))
    .sort((a, b) => a.id - b.id)
    .forEach((end, index) => {
      const open = [end];
      for (let node = open.pop(); node !== undefined; node = open.pop()) {
        if (stage.has(node)) continue;
        stage.set(node, index);
        for (const operand of node.inputs) if (operand?.source.kind === "node") open.push(operand.source.node);
      }
    });
  const stageOf = (node: Node): number => stage.get(node) ?? ends.length;
  const order = [...nodes].sort((a, b) => stageOf(a) - stageOf(b) || a.id - b.id);
  const starts = order.flatMap((node, index) => {
    const before = order[index - 1];
    return before !== undefined && stageOf(before) !== stageOf(node) ? [index] : [];
  });
  return { order, cuts: starts };
}

/**
 * Cuts a partition further, at places where few bytes are alive, so that the estimated peak of what is kept between segments and of the
 * largest segment's own values is smallest. The number of pieces is tried out; fewer are preferred.
 */
export function refinePartition({ order, cuts }: Partition, isPortable: Portable): Partition {
  const profile = measure(order, isPortable);
  const total = profile.made.at(-1) as number;
  let best = { cuts: [...cuts], peak: estimatePeak(profile, cuts, order.length) };
  for (const pieces of PIECES) {
    const borders = [0, ...cuts, order.length];
    const refined = borders
      .slice(1)
      .flatMap((end, index) => [
        ...(index === 0 ? [] : [borders[index] as number]),
        ...narrowestCuts(profile, borders[index] as number, end, total / pieces),
      ]);
    const peak = estimatePeak(profile, refined, order.length);
    if (peak < best.peak * WORTH) best = { cuts: refined, peak };
  }
  return { order, cuts: best.cuts };
}

/** What is known about the places between nodes: place `p` lies before node `p`. */
interface Profile {
  /** Bytes of the values made before the place, and of the parameters read. */
  readonly made: readonly number[];
  /** Bytes of the values that are made before the place and read after it. */
  readonly alive: readonly number[];
  /** Where each value that may cross is made and last read, with its bytes. */
  readonly spans: readonly { readonly from: number; readonly to: number; readonly bytes: number }[];
}

function measure(order: readonly Node[], isPortable: Portable): Profile {
  const from = new Map<Value, number>();
  const to = new Map<Value, number>();
  const made = [0];
  const parameters = new Set<Value>();
  order.forEach((node, index) => {
    let bytes = 0;
    for (const operand of node.inputs) {
      if (operand?.source.kind !== "parameter" || parameters.has(operand)) continue;
      parameters.add(operand);
      bytes += bytesOf(operand);
    }
    for (const output of node.outputs) {
      if (isPortable(output)) continue;
      from.set(output, index + 1);
      if (!ALIASES.has(node.op)) bytes += bytesOf(output);
    }
    made.push((made[index] as number) + bytes);
    for (const operand of node.inputs) if (operand !== undefined && from.has(operand)) to.set(operand, index);
  });
  const spans = [...to].map(([value, last]) => ({ from: from.get(value) as number, to: last, bytes: bytesOf(value) }));
  const change = new Array<number>(order.length + 2).fill(0);
  for (const span of spans) {
    change[span.from] = (change[span.from] as number) + span.bytes;
    change[span.to + 1] = (change[span.to + 1] as number) - span.bytes;
  }
  let sum = 0;
  return { made, alive: change.map((bytes) => (sum += bytes)), spans };
}

/** Bytes kept between segments, and twice (forward and backward) those of the largest segment. */
function estimatePeak({ made, spans }: Profile, cuts: readonly number[], end: number): number {
  const kept = spans.filter(({ from, to }) => cuts.some((cut) => from <= cut && cut <= to));
  const borders = [0, ...cuts, end];
  const sizes = borders.slice(1).map((border, i) => (made[border] as number) - (made[borders[i] as number] as number));
  return kept.reduce((sum, { bytes }) => sum + bytes, 0) + 2 * Math.max(...sizes);
}

/** Cuts strictly between `start` and `end`: no piece makes more than `limit` bytes (or has one node), and fewest bytes are alive at them all. */
function narrowestCuts({ made, alive }: Profile, start: number, end: number, limit: number): number[] {
  const cost = [0];
  const previous = [start];
  for (let place = start + 1; place <= end; place++) {
    let [least, from] = [Infinity, place - 1];
    for (let begin = place - 1; begin >= start; begin--) {
      if ((made[place] as number) - (made[begin] as number) > limit && begin < place - 1) break;
      const here = (cost[begin - start] as number) + (begin > start ? (alive[begin] as number) : 0);
      // of equal ones the longest: fewer pieces
      if (here <= least) [least, from] = [here, begin];
    }
    cost.push(least);
    previous.push(from);
  }
  const cuts: number[] = [];
  for (let place = previous.at(-1) as number; place > start; place = previous[place - start] as number)
    cuts.push(place);
  return cuts.reverse();
}
