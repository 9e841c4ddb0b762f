/** @file Two-dimensional convolutions and nearest resizing, in NCHW. */

import { constant, emitter } from "../emit.js";
import { float32 } from "../../tensor/tensor.js";
import { dimDivide, dimEquals, dimMultiply, dimWindow } from "../dims.js";
import { dimAt, operand, OperandError, require, requireFloat, requireRank, requireSameDType } from "../infer.js";
import type { Dim, OpFamily, Value } from "../types.js";

/** Along height and along width. */
export type Pair = readonly [number, number];
/** Top, left, bottom, right. */
export type Pads = readonly [number, number, number, number];

function spatial(out: Dim | undefined, x: Value, axis: number): Dim {
  if (out === undefined)
    throw new OperandError("a size that the window covers in whole steps", `${x.shape[axis]} on axis ${axis}`);
  return out;
}

function checkBias(bias: Value | undefined, x: Value, channels: Dim): void {
  if (bias === undefined) return;
  requireSameDType(x, bias);
  require(bias.shape.length === 1 && dimEquals(dimAt(bias.shape, 0), channels), `a bias [${channels}]`, bias);
}

function checkOperands(x: Value, w: Value, kernel: readonly number[]): void {
  requireFloat(x);
  requireSameDType(x, w);
  requireRank(x, 4);
  requireRank(w, 4);
  require(kernel.length === 2 &&
    kernel[0] === w.shape[2] &&
    kernel[1] === w.shape[3], `a kernel [${kernel.join(",")}]`, w);
}

/** Specs of the convolution ops. @internal */
export const convOps: OpFamily<"Conv" | "ConvTranspose" | "Resize"> = {
  Conv: {
    arity: [2, 3],
    infer(inputs, { strides, pads, dilations, group, kernel_shape: kernel }) {
      const [x, w] = [operand(inputs, 0), operand(inputs, 1)];
      checkOperands(x, w, kernel);
      const channels = dimAt(w.shape, 0);
      const perGroup = dimMultiply(dimAt(w.shape, 1), group);
      require(perGroup !== undefined &&
        dimEquals(perGroup, dimAt(x.shape, 1)), `${x.shape[1]} channels in ${group} group(s)`, w);
      require(dimDivide(channels, group) !== undefined, `output channels that divide by ${group}`, w);
      checkBias(inputs[2], x, channels);
      const size = [0, 1].map((i) => {
        const extent = ((kernel[i] as number) - 1) * (dilations[i] as number) + 1;
        const padding = (pads[i] as number) + (pads[i + 2] as number);
        return spatial(dimWindow(dimAt(x.shape, i + 2), padding, extent, strides[i] as number), x, i + 2);
      });
      return [{ dtype: x.dtype, shape: [dimAt(x.shape, 0), channels, ...size] }];
    },
  },
  ConvTranspose: {
    arity: [2, 3],
    infer(inputs, { strides, pads, output_padding: outputPadding, group, kernel_shape: kernel }) {
      const [x, w] = [operand(inputs, 0), operand(inputs, 1)];
      checkOperands(x, w, kernel);
      require(dimEquals(dimAt(w.shape, 0), dimAt(x.shape, 1)), `a weight for ${x.shape[1]} channels`, w);
      const channels = dimMultiply(dimAt(w.shape, 1), group) as Dim;
      checkBias(inputs[2], x, channels);
      const size = [0, 1].map((i) => {
        const stride = strides[i] as number;
        // (size - 1) * stride + kernel - padding + outputPadding = size * stride + rest
        const rest =
          (kernel[i] as number) - stride - (pads[i] as number) - (pads[i + 2] as number) + (outputPadding[i] as number);
        const dim = dimAt(x.shape, i + 2);
        if (typeof dim === "number") return dim * stride + rest;
        return spatial(rest === 0 ? dimMultiply(dim, stride) : undefined, x, i + 2);
      });
      return [{ dtype: x.dtype, shape: [dimAt(x.shape, 0), channels, ...size] }];
    },
  },
  Resize: {
    arity: [3, 3],
    infer(inputs) {
      const [x, scales] = [operand(inputs, 0), operand(inputs, 2)];
      require(scales.source.kind === "constant" && scales.dtype === "float32", "constant float32 scales", scales);
      const factors = scales.source.kind === "constant" ? Array.from(scales.source.tensor.data, Number) : [];
      require(factors.length === x.shape.length, `${x.shape.length} scales`, scales);
      require(factors.every((factor) => Number.isInteger(factor) && factor > 0), "whole scales", factors.join(","));
      return [{ dtype: x.dtype, shape: x.shape.map((dim, axis) => dimMultiply(dim, factors[axis] as number) as Dim) }];
    },
  },
};

const emit = emitter(convOps);

/** Options of `conv`; pads are [top, left, bottom, right]. */
export interface ConvOptions {
  readonly strides?: Pair;
  readonly pads?: Pads;
  readonly dilations?: Pair;
  readonly group?: number;
}

function kernelOf(w: Value): number[] {
  return w.shape.slice(2).map(Number);
}

/** x [N, C, H, W] with w [O, C/group, kH, kW] and b [O] -> [N, O, H', W']. */
export function conv(x: Value, w: Value, b?: Value, options: ConvOptions = {}): Value {
  const { strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], group = 1 } = options;
  const inputs = b === undefined ? [x, w] : [x, w, b];
  return emit("Conv", inputs, { strides, pads, dilations, group, kernel_shape: kernelOf(w) })[0] as Value;
}

/** Options of `convTranspose`; pads are [top, left, bottom, right], outputPadding [bottom, right]. */
export interface ConvTransposeOptions {
  readonly strides?: Pair;
  readonly pads?: Pads;
  readonly outputPadding?: Pair;
  readonly group?: number;
}

/** x [N, C, H, W] with w [C, O/group, kH, kW] and b [O] -> [N, O, H', W']: the adjoint of `conv`. */
export function convTranspose(x: Value, w: Value, b?: Value, options: ConvTransposeOptions = {}): Value {
  const { strides = [1, 1], pads = [0, 0, 0, 0], outputPadding = [0, 0], group = 1 } = options;
  const inputs = b === undefined ? [x, w] : [x, w, b];
  const attributes = { strides, pads, output_padding: outputPadding, group, kernel_shape: kernelOf(w) };
  return emit("ConvTranspose", inputs, attributes)[0] as Value;
}

/** x [N, C, H, W] -> [N, C, factor*H, factor*W]: every pixel repeated. */
export function resizeNearest(x: Value, factor: number): Value {
  const scales = constant(float32([4], [1, 1, factor, factor]));
  const attributes = { mode: "nearest", coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" };
  return emit("Resize", [x, undefined, scales], attributes)[0] as Value;
}
