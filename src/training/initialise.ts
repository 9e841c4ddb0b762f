/** @file Fresh parameters, drawn as PyTorch's modules draw them, chosen by a parameter's name and shape. */

import type { TorchGenerator } from "../tensor/random.js";
import { elementCount, float32, type Tensor } from "../tensor/tensor.js";

/** A parameter to be drawn. */
export interface ParameterShape {
  readonly name: string;
  readonly shape: readonly number[];
}

const EMBEDDING = /(embedding|embeddings|embed|cls_token|position|class_embedding)(\.weight)?$/;
const NORM = /(^|[._])(norm|ln|layer_norm|layernorm|group_norm)\w*\.(weight|bias)$/i;

/**
 * Draws every parameter, in the order given.
 *
 *     linear, convolution      U(-1/sqrt(fan_in), 1/sqrt(fan_in)), weight and bias (torch.nn.Linear, Conv2d)
 *     normalisation            weight 1, bias 0
 *     embeddings, positions    N(0, 0.02^2)
 *     logit_scale              ln(1 / 0.07)
 */
export function initialise(parameters: readonly ParameterShape[], generator: TorchGenerator): Map<string, Tensor> {
  const shapes = new Map(parameters.map(({ name, shape }) => [name, shape]));
  const drawn = new Map<string, Tensor>();
  for (const { name, shape } of parameters) drawn.set(name, draw(name, shape, shapes, generator));
  return drawn;
}

function draw(
  name: string,
  shape: readonly number[],
  shapes: ReadonlyMap<string, readonly number[]>,
  generator: TorchGenerator,
): Tensor {
  const count = elementCount(shape);
  if (name.endsWith("logit_scale")) return filled(shape, Math.log(1 / 0.07));
  if (NORM.test(name) || (shape.length === 1 && name.endsWith(".weight")))
    return filled(shape, name.endsWith("weight") ? 1 : 0);
  if (EMBEDDING.test(name))
    return float32(
      shape,
      generator.randn(count).map((x) => 0.02 * x),
    );
  const weight = name.endsWith(".bias") ? shapes.get(`${name.slice(0, -".bias".length)}.weight`) : shape;
  if (weight === undefined || weight.length < 2) return filled(shape, 0);
  const bound = 1 / Math.sqrt(elementCount(weight.slice(1)));
  return float32(
    shape,
    generator.uniform(count).map((x) => bound * (2 * x - 1)),
  );
}

function filled(shape: readonly number[], value: number): Tensor {
  return float32(shape, new Float32Array(elementCount(shape)).fill(value));
}
