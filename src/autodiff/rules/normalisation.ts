/** @file Gradient rule of layer normalisation (group normalisation is built from it). */

import { add, constant, div, layerNormalization, mul, reduceMean, reduceSum, sqrt, sub } from "../../graph/builder.js";
import { isStatic } from "../../graph/dims.js";
import type { Shape, Value } from "../../graph/types.js";
import { elementCount, float32 } from "../../tensor/tensor.js";
import type { RuleFamily } from "../rule.js";
import { given, upstream } from "../rule.js";

/** True for a constant of ones, written out or expanded from one. */
function isConstantOne({ source }: Value): boolean {
  if (source.kind === "constant") return source.tensor.dtype === "float32" && source.tensor.data.every((x) => x === 1);
  if (source.kind !== "node" || source.node.op !== "Expand") return false;
  const [expanded] = source.node.inputs;
  return expanded !== undefined && isConstantOne(expanded);
}

/** 1 / sqrt(variance + epsilon), from the centred values: exact also where the mean is large against the deviation. */
function inverseDeviation(x: Value, axes: readonly number[], epsilon: number): Value {
  const centred = sub(x, reduceMean(x, axes));
  return div(1, sqrt(add(reduceMean(mul(centred, centred), axes), epsilon)));
}
/** Ones of the normalised shape where it is known (the kernel's fast case), of shape [1] otherwise. */
function unitScale(shape: Shape): Value {
  const full = isStatic(shape) ? shape : [1];
  return constant(float32(full, new Float32Array(elementCount(full)).fill(1)));
}

/** Rules of the normalisations. */
export const normalisationRules: RuleFamily<"LayerNormalization"> = {
  // xhat = (x - mean) r, r = 1 / sqrt(var + eps), y = xhat scale + bias, g = dy scale, means over the normalised axes:
  //     dx = r (g - mean(g) - xhat mean(g xhat)),  dscale = sum(dy xhat),  dbias = sum(dy)
  LayerNormalization: (context) => {
    const [x, scale, bias, y, dy] = [
      given(context, 0),
      given(context, 1),
      context.inputs[2],
      context.outputs[0] as Value,
      upstream(context),
    ];
    const { axis, epsilon } = context.attributes;
    const first = axis < 0 ? axis + x.shape.length : axis;
    const axes = x.shape.flatMap((_, index) => (index >= first ? [index] : []));
    const plain = isConstantOne(scale);
    const ones = plain ? scale : unitScale(x.shape.slice(first));
    const xhat = plain && bias === undefined ? y : layerNormalization(x, ones, undefined, { axis, epsilon });
    const product = mul(dy, xhat);
    const g = plain ? dy : mul(dy, scale);
    const projection = reduceMean(plain ? product : mul(product, scale), axes);
    const centred = sub(sub(g, mul(xhat, projection)), reduceMean(g, axes));
    const dx = mul(centred, inverseDeviation(x, axes, epsilon));
    const rows = x.shape.flatMap((_, index) => (index < first ? [index] : []));
    const gradients: (Value | undefined)[] = [dx, reduceSum(product, rows, { keepDims: false })];
    if (context.inputs.length > 2) gradients.push(reduceSum(dy, rows, { keepDims: false }));
    return gradients;
  },
};
