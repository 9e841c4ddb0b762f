/** @file Seeing a checkpoint under another layout's names: renamed, cut and transposed entries over the same bytes; nothing is read or written. */

import { weightSource } from "../source.js";
import type { WeightEntry, WeightSource } from "../types.js";

/** Where a stored tensor goes. */
export interface Place {
  /** In the layout that is wanted. */
  readonly name: string;
  /** One of `of` equal parts along the first axis, from 0: a joint projection's query, key or value. */
  readonly part?: { readonly index: number; readonly of: number };
  /** A matrix whose axes are swapped. */
  readonly transposed?: true;
  /** A 1x1 convolution used as a matrix: its last two axes are dropped. */
  readonly matrix?: true;
}

/** The places of a key: none where it is not used, several where it is cut, undefined for a key the layout does not know. */
export type Layout = (key: string) => readonly Place[] | undefined;

/** One line of a key table: keys that match go to the places, whose names may refer to groups of the pattern (`$1`). */
export type LayoutRule = readonly [pattern: RegExp, ...places: readonly (string | Place)[]];

/** The layout of a key table; the first rule that matches holds, and one without places drops its keys. */
export function layoutOf(rules: readonly LayoutRule[]): Layout {
  return (key) => {
    const rule = rules.find(([pattern]) => pattern.test(key));
    if (rule === undefined) return undefined;
    const [pattern, ...places] = rule;
    return places.map((place) => {
      const { name, ...form } = typeof place === "string" ? { name: place } : place;
      return { name: key.replace(pattern, name), ...form };
    });
  };
}

/** How {@link relayout} looks at a source. */
export interface RelayoutOptions {
  /** Said of the result. @default the source's own description */
  readonly description?: string;
  /** Only keys that start with it are seen; it is cut off first. @default "" */
  readonly prefix?: string;
}

/** The tensors of `source` under the names of `layout`. Keys it does not know keep their own, so that a strict match reports them. */
export function relayout(source: WeightSource, layout: Layout, options: RelayoutOptions = {}): WeightSource {
  const { prefix = "", description = source.description } = options;
  const entries = new Map<string, WeightEntry>();
  const unusable = new Map<string, string>();
  const places = (key: string): readonly Place[] => {
    if (!key.startsWith(prefix)) return [];
    const local = key.slice(prefix.length);
    return layout(local) ?? [{ name: local }];
  };
  // two keys for one tensor: neither is chosen in silence
  const put = (name: string, key: string, view: WeightEntry | string): void => {
    if (entries.has(name) || unusable.has(name)) {
      entries.delete(name);
      unusable.set(name, `two of this name, one of them ${key}`);
    } else if (typeof view === "string") unusable.set(name, view);
    else entries.set(name, view);
  };
  for (const [key, entry] of source.entries) {
    for (const place of places(key)) put(place.name, key, viewOf(key, entry, place));
  }
  for (const [key, reason] of source.unusable) for (const { name } of places(key)) put(name, key, `${key}: ${reason}`);
  return weightSource({ description, entries, unusable, metadata: source.metadata });
}

/** The entry as `place` wants it, or why it cannot be had. */
function viewOf(key: string, entry: WeightEntry, { name, part, transposed, matrix }: Place): WeightEntry | string {
  let view: WeightEntry = { ...entry, name };
  if (matrix === true && view.shape.length === 4) {
    if (view.shape[2] !== 1 || view.shape[3] !== 1) return `${key}: [${view.shape.join(",")}], not a 1x1 convolution`;
    view = { ...view, shape: view.shape.slice(0, 2) };
  }
  if (part !== undefined) {
    const rows = view.shape[0] ?? 0;
    if (rows % part.of !== 0) return `${key}: [${view.shape.join(",")}], not ${part.of} equal parts`;
    const length = view.length / part.of;
    const shape = [rows / part.of, ...view.shape.slice(1)];
    view = { ...view, shape, offset: view.offset + part.index * length, length };
  }
  if (transposed === true) {
    if (view.shape.length !== 2) return `${key}: [${view.shape.join(",")}], not a matrix`;
    view = { ...view, shape: [...view.shape].reverse(), transposed };
  }
  return view;
}
