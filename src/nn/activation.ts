/** @file Activation functions under the names configuration files use. */

import { gelu, mul, relu, sigmoid, silu } from "../graph/builder.js";
import type { Value } from "../graph/types.js";

const ACTIVATIONS = {
  silu,
  swish: silu,
  relu,
  gelu: (x: Value) => gelu(x),
  gelu_new: (x: Value) => gelu(x, "tanh"),
  gelu_pytorch_tanh: (x: Value) => gelu(x, "tanh"),
  // x * sigmoid(1.702 x), OpenAI CLIP's approximation of gelu
  quick_gelu: (x: Value) => mul(x, sigmoid(mul(x, 1.702))),
} as const satisfies Record<string, (x: Value) => Value>;

/** An activation's name in transformers and diffusers. */
export type ActivationName = keyof typeof ACTIVATIONS;

/** All supported names. */
export const ACTIVATION_NAMES = Object.keys(ACTIVATIONS) as ActivationName[];

/** Applies the activation `name` elementwise. */
export function activate(name: ActivationName, x: Value): Value {
  return ACTIVATIONS[name](x);
}
