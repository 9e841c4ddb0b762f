/**
 * @file A gradient in pieces: a loss cut into consecutive segments, each a forward graph and a vector-Jacobian graph that computes its own
 * forward pass again, so that only the values between segments are kept.
 */

import { InternalError, UsageError } from "../errors.js";
import { add, graph, input, withOrigin } from "../graph/builder.js";
import { apply } from "../graph/op-table.js";
import type { Graph, Node, Value } from "../graph/types.js";
import { isFloat } from "../tensor/dtype.js";
import { activeValues, gradientsWhereReached, scalarSeed } from "./gradient.js";
import type { Seed } from "./gradient.js";
import type { Portable } from "./segments-partition.js";
import { partitionAt, portableValues, refinePartition } from "./segments-partition.js";

/** What is to be differentiated, and where it is cut. */
export interface SegmentRequest {
  /** Names the graphs, and stands before the names of the values between them. */
  readonly name: string;
  /** Scalar. */
  readonly loss: Value;
  /** Returned beside the loss. */
  readonly metrics?: Readonly<Record<string, Value>>;
  /** Inputs or parameters to differentiate by, by the name their gradient gets. */
  readonly targets: ReadonlyMap<string, Value>;
  /** Values at which segments end: the outputs of networks. Those the loss does not need are ignored. */
  readonly cuts: readonly Value[];
  /** Cut further, at narrow places, where that promises less memory. @default false */
  readonly refine?: boolean;
}

/** One graph to run. Its inputs beyond those of the request are values that steps before it left. */
export interface SegmentStep {
  readonly graph: Graph;
  /** Outputs for the caller: loss and metrics, in the last segment's step. */
  readonly fetch: readonly string[];
  /** Outputs that stay, and the name they stay under: later steps have inputs of that name. */
  readonly hold: Readonly<Record<string, string>>;
  /** Names of values that no step after this one reads. */
  readonly free: readonly string[];
}

/**
 * The steps that compute loss, metrics and the gradient of each target (held under the target's name in `targets`): the forward graphs of all segments
 * but the last, then the vector-Jacobian graphs from the last segment to the first. A value that several segments read is kept once; gradients
 * with respect to it, or to a target used in several segments, are added from step to step.
 * @throws UsageError when the loss does not depend on a target
 */
export function segmentGradient(request: SegmentRequest): SegmentStep[] {
  const { name, loss, metrics = {}, targets } = request;
  for (const [key, { source }] of targets) {
    if (source.kind === "node") throw new UsageError(`${name}: expected target ${key} to be an input or a parameter`);
  }
  const { nodes } = graph(name, { loss, ...metrics });
  const isPortable = portableValues(nodes);
  const given = partitionAt(nodes, request.cuts);
  const { order, cuts } = request.refine === true ? refinePartition(given, isPortable) : given;
  const borders = [0, ...cuts, order.length];
  const active = activeValues(nodes, [...targets.values()]);
  const plan = new Plan(request, active);
  for (let index = borders.length - 2; index >= 0; index--) {
    const own = order.slice(borders[index], borders[index + 1]);
    plan.prepend(new Segment(`${name}/${index + 1}`, own, isPortable, (value) => plan.nameOf(value)));
  }
  return plan.finish();
}

/** One segment's nodes, written anew over inputs that stand for what earlier segments made. */
class Segment {
  /** Values of earlier segments that stand as inputs here. */
  readonly inputs = new Map<Value, Value>();
  readonly #local = new Map<Value, Value>();
  readonly #own: ReadonlySet<Node>;

  constructor(
    readonly name: string,
    nodes: readonly Node[],
    private readonly isPortable: Portable,
    private readonly nameOf: (value: Value) => string,
  ) {
    this.#own = new Set(nodes);
    for (const node of nodes) if (!node.outputs.every(isPortable)) this.#write(node);
  }

  /** True for a value that this segment makes and others read from it. */
  makes(value: Value): boolean {
    return value.source.kind === "node" && this.#own.has(value.source.node) && !this.isPortable(value);
  }

  /** What stands for a value of the whole graph in this segment. */
  local(value: Value): Value {
    const { source } = value;
    if (source.kind !== "node") return value;
    const known = this.#local.get(value);
    if (known !== undefined) return known;
    if (this.isPortable(value)) {
      this.#write(source.node);
      return this.#local.get(value) as Value;
    }
    if (this.#own.has(source.node))
      throw new InternalError(`${this.name}: ${source.node.op} is read before it is made`);
    const stand = input(this.nameOf(value), value.dtype, value.shape);
    this.inputs.set(value, stand);
    this.#local.set(value, stand);
    return stand;
  }

  #write(node: Node): void {
    const operands = node.inputs.map((operand) => operand && this.local(operand));
    const outputs = withOrigin(node.origin, () => apply(node.op, operands, node.attributes));
    node.outputs.forEach((output, index) => this.#local.set(output, outputs[index] as Value));
  }
}

/** A graph on its way to a step. */
interface Draft {
  readonly graph: Graph;
  readonly fetch: readonly string[];
  readonly hold: Readonly<Record<string, string>>;
}

/** The steps under way, from the last segment to the first. */
class Plan {
  readonly #names = new Map<Value, string>();
  /** Values of segments still to come that the segments so far read. */
  readonly #wanted = new Set<Value>();
  /** Values and targets for which a gradient is held, and its name. */
  readonly #gradients = new Map<Value, string>();
  readonly #targetNames: ReadonlyMap<Value, string>;
  readonly #forward: Draft[] = [];
  readonly #backward: Draft[] = [];

  constructor(
    private readonly request: SegmentRequest,
    private readonly active: ReadonlySet<number>,
  ) {
    this.#targetNames = new Map([...request.targets].map(([name, value]) => [value, name]));
  }

  /** The name under which a value is kept between segments. */
  nameOf(value: Value): string {
    let name = this.#names.get(value);
    if (name === undefined) this.#names.set(value, (name = `${this.request.name}/value-${this.#names.size}`));
    return name;
  }

  /** Takes the segment before those taken so far. */
  prepend(segment: Segment): void {
    const last = this.#backward.length === 0;
    const results = last ? this.#results(segment) : {};
    const made = [...this.#wanted].filter((value) => segment.makes(value));
    const backward = this.#differentiate(segment, last, results);
    for (const value of made) this.#wanted.delete(value);
    const read = new Set<string>();
    if (backward !== undefined) {
      this.#backward.push(backward);
      for (const name of backward.graph.inputs.keys()) read.add(name);
    }
    if (made.length > 0) {
      const outputs = Object.fromEntries(made.map((value) => [this.nameOf(value), segment.local(value)]));
      const forward = graph(`${segment.name} forward`, outputs);
      this.#forward.unshift({ graph: forward, fetch: [], hold: keepAll(outputs) });
      for (const name of forward.inputs.keys()) read.add(name);
    }
    for (const [value, { source }] of segment.inputs) {
      if (source.kind === "input" && read.has(source.name)) this.#wanted.add(value);
    }
  }

  /** The steps in their order. */
  finish(): SegmentStep[] {
    const { name, targets } = this.request;
    const without = [...targets].filter(([, value]) => !this.#gradients.has(value)).map(([key]) => key);
    if (without.length > 0) {
      throw new UsageError(`${name}: expected a loss that depends on ${without.join(", ")}, got one that does not`);
    }
    const drafts = [...this.#forward, ...this.#backward];
    const results = new Set(targets.keys());
    const seen = new Set<string>();
    const steps: SegmentStep[] = [];
    for (const draft of drafts.toReversed()) {
      const read = [...draft.graph.inputs.keys()].filter((key) => !seen.has(key));
      for (const key of read) seen.add(key);
      const kept = new Set(Object.values(draft.hold));
      const free = read.filter((key) => this.#isOwn(key) && !results.has(key) && !kept.has(key));
      steps.unshift({ ...draft, free });
    }
    return steps;
  }

  #isOwn(name: string): boolean {
    return name.startsWith(`${this.request.name}/`);
  }

  #results(segment: Segment): Record<string, Value> {
    const { loss, metrics = {} } = this.request;
    return Object.fromEntries(
      Object.entries({ loss, ...metrics }).map(([key, value]) => [key, segment.local(value)] as const),
    );
  }

  /** The segment's vector-Jacobian product: from the gradients of what it makes to those of what it reads. */
  #differentiate(segment: Segment, last: boolean, results: Readonly<Record<string, Value>>): Draft | undefined {
    const seeds = [...this.#gradients].flatMap(([value, name]): Seed[] =>
      segment.makes(value) ? [{ value: segment.local(value), upstream: input(name, value.dtype, value.shape) }] : [],
    );
    if (last) {
      const value = segment.local(this.request.loss);
      seeds.push({ value, upstream: scalarSeed(value) });
    }
    const wanted = [...segment.inputs.keys()].filter((value) => this.active.has(value.id) && isFloat(value.dtype));
    const all = [...wanted, ...this.#targetNames.keys()];
    const parts = gradientsWhereReached(
      seeds,
      all.map((value) => segment.local(value)),
    );
    const outputs: Record<string, Value> = {};
    const hold: Record<string, string> = {};
    all.forEach((value, index) => {
      const part = parts[index];
      if (part === undefined) return;
      const name = this.#targetNames.get(value) ?? `${this.nameOf(value)}/gradient`;
      const partial = this.#gradients.has(value) ? input(name, part.dtype, part.shape) : undefined;
      const output = partial === undefined ? name : `${name}/sum`;
      outputs[output] = partial === undefined ? part : add(partial, part);
      hold[output] = name;
      this.#gradients.set(value, name);
    });
    const fetch = Object.keys(results);
    if (fetch.length + Object.keys(hold).length === 0) return undefined;
    const suffix = last ? "" : " backward";
    return { graph: graph(`${segment.name}${suffix}`, { ...results, ...outputs }), fetch, hold };
  }
}

function keepAll(outputs: Readonly<Record<string, Value>>): Record<string, string> {
  return Object.fromEntries(Object.keys(outputs).map((name) => [name, name]));
}
