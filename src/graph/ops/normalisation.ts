/** @file Layer normalisation (group normalisation is built from it, which is the fastest form on CPU). */

import { emitter } from "../emit.js";
import { broadcastShapes, normalizeAxis, operand, require, requireFloat, requireSameDType, sameAs } from "../infer.js";
import { shapeEquals } from "../dims.js";
import type { OpFamily, Value } from "../types.js";

/** Specs of the normalisations. @internal */
export const normalisationOps: OpFamily<"LayerNormalization"> = {
  LayerNormalization: {
    arity: [2, 3],
    infer(inputs, { axis }) {
      const [x, scale, bias] = [operand(inputs, 0), operand(inputs, 1), inputs[2]];
      requireFloat(x);
      const normalized = x.shape.slice(normalizeAxis(axis, x.shape.length));
      for (const operand of [scale, bias]) {
        if (operand === undefined) continue;
        requireSameDType(x, operand);
        const shape = broadcastShapes(normalized, operand.shape);
        require(shape !== undefined &&
          shapeEquals(shape, normalized), `scale and bias [${normalized.join(",")}]`, operand);
      }
      return sameAs(x);
    },
  },
};

const emit = emitter(normalisationOps);

/** Options of `layerNormalization`. */
export interface LayerNormalizationOptions {
  /** First of the axes normalised over. @default -1 */
  readonly axis?: number;
  /** @default 1e-5 */
  readonly epsilon?: number;
}

/** (x - mean) / sqrt(variance + epsilon) * scale + bias over the axes from `axis` on. */
export function layerNormalization(
  x: Value,
  scale: Value,
  bias?: Value,
  options: LayerNormalizationOptions = {},
): Value {
  const { axis = -1, epsilon = 1e-5 } = options;
  const inputs = bias === undefined ? [x, scale] : [x, scale, bias];
  return emit("LayerNormalization", inputs, { axis, epsilon })[0] as Value;
}
