/** @file Reverse-mode differentiation as a graph-to-graph transform: the engine around the rule table. */

import { InternalError, UsageError } from "../errors.js";
import { add, expand, reduceSum, reshape, scalar, squeeze, withOrigin } from "../graph/builder.js";
import { formatShape, isStatic, shapeEquals } from "../graph/dims.js";
import type { Node, Value } from "../graph/types.js";
import { isFloat } from "../tensor/dtype.js";
import type { GradientRule, RuleTable } from "./rule.js";
import { RULES } from "./rules/index.js";

/** A value and the gradient of the loss with respect to it, of the same shape. */
export interface Seed {
  readonly value: Value;
  readonly upstream: Value;
}

/**
 * The gradients of `output` (one element) or of `sum_i <seed_i.value, seed_i.upstream>` with respect to each target.
 *
 * Targets are any float values the output depends on: inputs, parameters or intermediate values. Only nodes between a target and an output
 * are walked. The result is ordinary graph values of the targets' own shapes and dtypes: they can be differentiated again.
 *
 * @param rules the rule of each op; another table is for tests of the checker.
 * @throws UsageError when an output does not depend on a target, or the way leads through an op without a derivative.
 */
export function gradient(
  output: Value | readonly Seed[],
  targets: readonly Value[],
  rules: RuleTable = RULES,
): Value[] {
  const seeds = isSeeds(output) ? output : [{ value: output, upstream: scalarSeed(output) }];
  return gradientsWhereReached(seeds, targets, rules).map((sum, index) => {
    if (sum !== undefined) return sum;
    const target = describe(targets[index] as Value);
    throw new UsageError(`gradient: expected an output that depends on ${target}, got one that does not`);
  });
}

/** As `gradient`, with undefined for a target that no seed depends on. */
export function gradientsWhereReached(
  seeds: readonly Seed[],
  targets: readonly Value[],
  rules: RuleTable = RULES,
): (Value | undefined)[] {
  for (const target of targets) {
    if (!isFloat(target.dtype)) {
      throw new UsageError(`gradient: expected float targets, got ${describe(target)} of ${target.dtype}`);
    }
  }
  const nodes = topologicalOrder(seeds.map((seed) => seed.value));
  const active = activeValues(nodes, targets);
  const collected = new Map<number, Value[]>();
  for (const { value, upstream } of seeds) {
    requireLike(upstream, value, "gradient: upstream");
    if (active.has(value.id)) contribute(collected, value, upstream);
  }
  const sums = new Map<number, Value>();
  const total = (value: Value): Value | undefined => {
    const known = sums.get(value.id);
    if (known !== undefined) return known;
    const parts = collected.get(value.id);
    if (parts === undefined) return undefined;
    const sum = parts.reduce((left, right) => add(left, right));
    sums.set(value.id, sum);
    return sum;
  };
  for (const node of nodes.toReversed()) {
    if (!node.outputs.some((value) => active.has(value.id))) continue;
    const upstreams = node.outputs.map((value) => (active.has(value.id) ? total(value) : undefined));
    if (upstreams.every((upstream) => upstream === undefined)) continue;
    applyRule(node, upstreams, active, rules, collected);
  }
  return targets.map(total);
}

/** Calls the rule of one node, checks what it returns and hands the parts to the node's inputs. */
function applyRule(
  node: Node,
  upstreams: readonly (Value | undefined)[],
  active: ReadonlySet<number>,
  rules: RuleTable,
  collected: Map<number, Value[]>,
): void {
  const rule = rules[node.op] as GradientRule | "nondifferentiable";
  if (rule === "nondifferentiable") {
    throw new UsageError(
      `gradient: expected differentiable ops between output and target, got ${node.op} (${node.origin})`,
    );
  }
  const wants = node.inputs.map((value) => value !== undefined && active.has(value.id));
  const { inputs, outputs, attributes, origin } = node;
  const parts = withOrigin(origin, () => rule({ node, attributes, inputs, outputs, upstreams, wants }));
  if (parts.length !== node.inputs.length) {
    throw new InternalError(`rule of ${node.op}: expected ${node.inputs.length} gradients, got ${parts.length}`);
  }
  parts.forEach((part, index) => {
    const value = node.inputs[index];
    if (part === undefined || value === undefined || !wants[index]) return;
    const fitted = withOrigin(origin, () => unbroadcast(part, value));
    requireLike(fitted, value, `rule of ${node.op}, input ${index}`);
    contribute(collected, value, fitted);
  });
}

/**
 * Sums `gradient` over the axes along which `value` was broadcast to give it.
 *
 *     y = broadcast(x)   =>   dx = sum of dy over the axes that x lacks or where x has size 1
 */
export function unbroadcast(gradient: Value, value: Value): Value {
  const extra = gradient.shape.length - value.shape.length;
  if (extra < 0) return gradient;
  const leading = gradient.shape.slice(0, extra).map((_, axis) => axis);
  const stretched = value.shape.flatMap((dim, axis) =>
    dim === 1 && gradient.shape[extra + axis] !== 1 ? [extra + axis] : [],
  );
  if (leading.length + stretched.length === 0) return gradient;
  const sum = reduceSum(gradient, [...leading, ...stretched], { keepDims: true });
  if (leading.length === 0) return sum;
  return isStatic(value.shape) ? reshape(sum, value.shape) : squeeze(sum, leading);
}

/** The nodes that the values depend on, each after the nodes it reads. */
function topologicalOrder(values: readonly Value[]): Node[] {
  const order: Node[] = [];
  const state = new Map<number, "open" | "done">();
  const stack = values.flatMap((value) => (value.source.kind === "node" ? [value.source.node] : []));
  for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
    const seen = state.get(node.id);
    if (seen !== undefined) {
      stack.pop();
      if (seen === "open") {
        state.set(node.id, "done");
        order.push(node);
      }
      continue;
    }
    state.set(node.id, "open");
    for (const input of node.inputs) {
      if (input?.source.kind === "node" && !state.has(input.source.node.id)) stack.push(input.source.node);
    }
  }
  return order;
}

/** Ids of the float values through which a gradient can reach a target: the targets and all that is computed from them. */
export function activeValues(nodes: readonly Node[], targets: readonly Value[]): Set<number> {
  const active = new Set(targets.map((target) => target.id));
  for (const node of nodes) {
    if (!node.inputs.some((value) => value !== undefined && active.has(value.id))) continue;
    for (const value of node.outputs) if (isFloat(value.dtype)) active.add(value.id);
  }
  return active;
}

function contribute(collected: Map<number, Value[]>, value: Value, part: Value): void {
  const parts = collected.get(value.id);
  if (parts === undefined) collected.set(value.id, [part]);
  else parts.push(part);
}

function requireLike(part: Value, value: Value, where: string): void {
  if (part.dtype !== value.dtype || !shapeEquals(part.shape, value.shape)) {
    throw new InternalError(
      `${where}: expected ${value.dtype}${formatShape(value.shape)}, got ${part.dtype}${formatShape(part.shape)}`,
    );
  }
}

/** The upstream gradient of a loss: one. @throws UsageError when it is not a float of one element */
export function scalarSeed(output: Value): Value {
  if (!isFloat(output.dtype) || output.shape.some((dim) => dim !== 1)) {
    throw new UsageError(
      `gradient: expected a float output of one element or seeds, got ${output.dtype}${formatShape(output.shape)}`,
    );
  }
  const one = scalar(1, output.dtype);
  return output.shape.length === 0 ? one : expand(one, output.shape);
}

function isSeeds(output: Value | readonly Seed[]): output is readonly Seed[] {
  return Array.isArray(output);
}

function describe(value: Value): string {
  const { source } = value;
  if (source.kind === "node") return `${source.node.op} (${source.node.origin})`;
  return source.kind === "constant" ? "a constant" : `${source.kind} ${source.name}`;
}
