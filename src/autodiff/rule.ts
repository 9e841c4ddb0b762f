/** @file What a gradient rule is given and what it returns. */

import type { AttributesOf, Node, OpType, Value } from "../graph/types.js";

/** One node on the way back, seen by its rule. */
export interface RuleContext<K extends OpType = OpType> {
  readonly node: Node<K>;
  readonly attributes: AttributesOf<K>;
  readonly inputs: readonly (Value | undefined)[];
  readonly outputs: readonly Value[];
  /** The gradient of each output; undefined where the loss does not depend on it. At least one is there. */
  readonly upstreams: readonly (Value | undefined)[];
  /** For each input, whether its gradient is needed. */
  readonly wants: readonly boolean[];
}

/**
 * Returns one gradient per input of the node, undefined for none (an index, a zero derivative, an input that is not wanted).
 * A gradient has the input's dtype and its shape, or the shape it was broadcast to: the engine sums over stretched axes.
 * Nodes that nothing uses cost nothing: a rule may build all its gradients.
 */
export type GradientRule<K extends OpType = OpType> = (context: RuleContext<K>) => readonly (Value | undefined)[];

/** A rule, or the statement that there is no derivative. */
export type Rule<K extends OpType> = GradientRule<K> | "nondifferentiable";

/** The rules of some ops. */
export type RuleFamily<K extends OpType> = { readonly [Op in K]: Rule<Op> };

/** One entry for every op. */
export type RuleTable = RuleFamily<OpType>;

/** Input `index`, which the op always has. */
export function given(context: { readonly inputs: readonly (Value | undefined)[] }, index: number): Value {
  return context.inputs[index] as Value;
}

/** The gradient of the only output. */
export function upstream(context: { readonly upstreams: readonly (Value | undefined)[] }): Value {
  return context.upstreams[0] as Value;
}

/** A rule for ops with one differentiable operand, the first. */
export function unary(derivative: (x: Value, y: Value, dy: Value) => Value): GradientRule {
  return (context) => {
    const dx = derivative(given(context, 0), context.outputs[0] as Value, upstream(context));
    return context.inputs.map((_, index) => (index === 0 ? dx : undefined));
  };
}

/** A rule for ops of two operands. */
export function binary(
  derivatives: (a: Value, b: Value, y: Value, dy: Value) => readonly [Value, Value],
): GradientRule {
  return (context) => derivatives(given(context, 0), given(context, 1), context.outputs[0] as Value, upstream(context));
}

/** A rule for piecewise constant functions: the derivative is zero. */
export const zero: GradientRule = (context) => context.inputs.map(() => undefined);
