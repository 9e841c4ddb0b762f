/** @file The verifier: a graph's invariants, checked from scratch. Run after each transformation and before encoding in tests. */

import { InternalError } from "../errors.js";
import { formatShape, shapeEquals } from "./dims.js";
import { OPS } from "./op-table.js";
import type { Graph, Node, OpSpec, OpType, Value } from "./types.js";

function fail(graph: Graph, message: string): never {
  throw new InternalError(`graph ${graph.name}: ${message}`);
}

function verifyNode(graph: Graph, node: Node, known: ReadonlySet<Node>): void {
  const where = `${node.op} #${node.id} at ${node.origin}`;
  const spec = OPS[node.op] as unknown as OpSpec<OpType>;
  const [fewest, most] = spec.arity;
  if (node.inputs.length < fewest || node.inputs.length > most) {
    fail(graph, `${where}: expected ${fewest} to ${most} operands, got ${node.inputs.length}`);
  }
  for (const operand of node.inputs) verifySource(graph, where, operand, known);
  let types;
  try {
    types = spec.infer(node.inputs, node.attributes as never);
  } catch (error) {
    return fail(graph, `${where}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (types.length !== node.outputs.length)
    fail(graph, `${where}: expected ${types.length} outputs, got ${node.outputs.length}`);
  types.forEach((type, index) => {
    const output = node.outputs[index] as Value;
    const { source } = output;
    if (source.kind !== "node" || source.node !== node || source.index !== index)
      fail(graph, `${where}: output ${index} belongs elsewhere`);
    if (type.dtype !== output.dtype || !shapeEquals(type.shape, output.shape)) {
      const [expected, got] = [type, output].map((item) => `${item.dtype}${formatShape(item.shape)}`);
      fail(graph, `${where}: expected output ${index} to be ${expected}, got ${got}`);
    }
  });
}

function verifySource(graph: Graph, where: string, value: Value | undefined, known: ReadonlySet<Node>): void {
  if (value === undefined) return;
  const { source } = value;
  if (source.kind === "node" && !known.has(source.node)) {
    fail(graph, `${where}: expected operands made before it, got ${source.node.op} #${source.node.id}`);
  }
  if (source.kind === "input" && graph.inputs.get(source.name) !== value)
    fail(graph, `${where}: input "${source.name}" is not the graph's`);
  if (source.kind === "parameter" && graph.parameters.get(source.name) !== value) {
    fail(graph, `${where}: parameter "${source.name}" is not the graph's`);
  }
  if (source.kind === "constant" && !shapeEquals(source.tensor.shape, value.shape))
    fail(graph, `${where}: constant of another shape`);
}

/** Checks order, ownership, names and, by inferring again, every type. Returns the graph. @throws InternalError */
export function verify(graph: Graph): Graph {
  for (const [map, kind] of [
    [graph.inputs, "input"],
    [graph.parameters, "parameter"],
  ] as const) {
    for (const [name, value] of map) {
      if (value.source.kind !== kind || value.source.name !== name)
        fail(graph, `${kind} "${name}" is not what its name says`);
      if (graph.inputs.has(name) && graph.parameters.has(name))
        fail(graph, `"${name}" is both an input and a parameter`);
    }
  }
  const known = new Set<Node>();
  for (const node of graph.nodes) {
    verifyNode(graph, node, known);
    known.add(node);
  }
  for (const [name, value] of graph.outputs) verifySource(graph, `output "${name}"`, value, known);
  return graph;
}
