/** @file How much memory there is, and how much a program needs. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseDim } from "../graph/dims.js";
import type { Graph, Value } from "../graph/types.js";
import { byteSize } from "../tensor/dtype.js";

/** What a program needs, in bytes; estimates. */
export interface MemoryNeed {
  /** Its weights, as they are computed with: float32. */
  readonly weights: number;
  /** The most that inner tensors take at once. */
  readonly activations: number;
}

/** Bytes of an element of a parameter: half precision is computed as float32 on the cpu. */
const FLOAT = 4;

/**
 * What a graph needs. Inner tensors are counted from the node that makes them to the last one that reads them, which is somewhat more than ONNX
 * Runtime takes, who writes some in place; what kernels use inside is not counted.
 * @param batch the value of every symbol
 */
export function memoryNeed(graph: Graph, batch = 1): MemoryNeed {
  const weights = [...graph.parameters.values()].reduce((sum, value) => sum + count(value, batch) * FLOAT, 0);
  const lastUse = new Map<Value, number>();
  graph.nodes.forEach((node, i) => node.inputs.forEach((value) => value && lastUse.set(value, i)));
  const ends = new Map<number, number>();
  let [held, most] = [0, 0];
  graph.nodes.forEach((node, i) => {
    // these give a view of what they read
    const made = node.op === "Reshape" ? [] : node.outputs;
    for (const value of made) {
      const bytes = count(value, batch) * byteSize(value.dtype);
      const end = lastUse.get(value) ?? i;
      held += bytes;
      ends.set(end, (ends.get(end) ?? 0) + bytes);
    }
    most = Math.max(most, held);
    held -= ends.get(i) ?? 0;
  });
  return { weights, activations: most };
}

function count({ shape }: Value, batch: number): number {
  return shape.reduce<number>((product, dim) => {
    const { factor, symbol } = parseDim(dim);
    return product * factor * (symbol === undefined ? 1 : batch);
  }, 1);
}

/**
 * Bytes that programs may still take: what the system has free or could free, and no more than the process's control groups leave. Pages of files,
 * which are given back when they are needed, count as free.
 */
export function availableMemory(root = "/"): number {
  const groups = groupPaths(root).map((path) => groupMemory(path));
  const meminfo = /^MemAvailable:\s+(\d+) kB/m.exec(read(join(root, "proc/meminfo")) ?? "")?.[1];
  const system = meminfo === undefined ? process.availableMemory() : Number(meminfo) * 1024;
  return Math.max(0, Math.min(system, ...groups));
}

/** Folders of the control groups (version 2) the process is in, from its own to the root's. */
function groupPaths(root: string): string[] {
  const mount = join(root, "sys/fs/cgroup");
  const own = /^0::(\/.*)$/m.exec(read(join(root, "proc/self/cgroup")) ?? "")?.[1] ?? "/";
  const names = own.split("/").filter((name) => name !== "" && name !== "..");
  return Array.from({ length: names.length + 1 }, (_, i) => join(mount, ...names.slice(0, names.length - i)));
}

/** What a group leaves; infinite where it has no limit. */
function groupMemory(folder: string): number {
  const limit = Number(read(join(folder, "memory.max")) ?? Number.NaN);
  const used = Number(read(join(folder, "memory.current")) ?? Number.NaN);
  if (!Number.isFinite(limit) || !Number.isFinite(used)) return Number.POSITIVE_INFINITY;
  const files = [...(read(join(folder, "memory.stat")) ?? "").matchAll(/^(?:in)?active_file (\d+)$/gm)];
  return limit - used + files.reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** A size for people: `3.4 GB`, `5.2 MB`. */
export function gigabytes(bytes: number): string {
  return bytes < 1e8 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** What to do where memory is short. */
export function memoryAdvice(lowMemory: boolean): string {
  return lowMemory ? "end other programs, or take a smaller model" : "end other programs, or give --low-memory";
}
