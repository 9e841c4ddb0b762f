/** @file The ops Laurel builds with: one total table, keyed by ONNX op type. */

import type { Attributes, AttributesOf, OpType, Value } from "./types.js";
import type { OpSpec } from "./types.js";
import { emitter } from "./emit.js";
import { attentionOps } from "./ops/attention.js";
import { convOps } from "./ops/conv.js";
import { elementwiseOps } from "./ops/elementwise.js";
import { indexingOps } from "./ops/indexing.js";
import { matrixOps } from "./ops/matrix.js";
import { normalisationOps } from "./ops/normalisation.js";
import { reductionOps } from "./ops/reduction.js";
import { shapeOps } from "./ops/shape.js";

/** Every op's spec; an op of `OP_ATTRIBUTES` without an entry does not compile. */
export const OPS: { readonly [K in OpType]: OpSpec<K> } = {
  ...elementwiseOps,
  ...matrixOps,
  ...convOps,
  ...reductionOps,
  ...normalisationOps,
  ...shapeOps,
  ...indexingOps,
  ...attentionOps,
};

const emit = emitter(OPS);

/** Applies any op, checked as its builder function checks it. */
export function apply<K extends OpType>(
  op: K,
  inputs: readonly (Value | undefined)[],
  attributes: AttributesOf<K>,
): readonly Value[] {
  return emit(op, inputs, attributes);
}

/** A node's attributes as a plain record. */
export function attributesOf(node: { readonly attributes: object }): Attributes {
  return node.attributes as Attributes;
}
