/** @file A head of linear layers without activation between them, as ImageReward and LAION's aesthetic predictor have it. */

import type { Value } from "../graph/types.js";
import { linear } from "../nn/linear.js";
import type { Scope } from "../nn/scope.js";
import type { ShapeReader } from "./blip-config.js";

/** The layers: index below the head's name, and output width. The indices between them are dropouts. */
export type LinearHead = readonly { readonly index: number; readonly width: number }[];

/** The head whose layers lie under `name`. It has to end in one output. */
export function readLinearHead(reader: ShapeReader, name: string): LinearHead {
  const head = [...reader.shapes]
    .flatMap(([key, shape]) => {
      if (!key.startsWith(`${name}.`)) return [];
      const index = /^(\d+)\.weight$/.exec(key.slice(name.length + 1))?.[1];
      return index === undefined ? [] : [{ index: Number(index), width: shape[0] ?? 0 }];
    })
    .sort((a, b) => a.index - b.index);
  if (head.at(-1)?.width !== 1) {
    reader.faults.push(`${name}: expected linear layers ending in one output, got ${head.at(-1)?.width ?? "none"}`);
  }
  return head;
}

/** `[N, width]` to `[N, 1]`. */
export function buildLinearHead(scope: Scope, head: LinearHead, state: Value): Value {
  return head.reduce((value, { index, width }) => linear(scope.at(index), value, width), state);
}
