/** @file Closing a graph: everything its outputs need, found by walking back from them. */

import { UsageError } from "../errors.js";
import { describe } from "./infer.js";
import type { Graph, Node, Value } from "./types.js";

function claim(graphName: string, names: Map<string, Value>, name: string, value: Value): void {
  const other = names.get(name);
  if (other !== undefined && other !== value) {
    throw new UsageError(
      `graph ${graphName}: expected one value named "${name}", got ${describe(other)} and ${describe(value)}`,
    );
  }
  names.set(name, value);
}

/**
 * The graph that computes `outputs`, and nothing else. Nodes come in the order of making, which is topological.
 * @throws UsageError when two different inputs or parameters share a name, or an output takes an input's name.
 */
export function graph(name: string, outputs: Readonly<Record<string, Value>>): Graph {
  const seen = new Set<Value>();
  const nodes = new Set<Node>();
  const inputs = new Map<string, Value>();
  const parameters = new Map<string, Value>();
  const named = new Map<string, Value>();
  const open: Value[] = Object.values(outputs).reverse();
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (seen.has(value)) continue;
    seen.add(value);
    const { source } = value;
    if (source.kind === "input" || source.kind === "parameter") {
      claim(name, named, source.name, value);
      (source.kind === "input" ? inputs : parameters).set(source.name, value);
    } else if (source.kind === "node" && !nodes.has(source.node)) {
      nodes.add(source.node);
      for (const input of source.node.inputs) if (input !== undefined) open.push(input);
    }
  }
  for (const [output, value] of Object.entries(outputs)) claim(name, named, output, value);
  if (Object.keys(outputs).length === 0) throw new UsageError(`graph ${name}: expected at least one output, got none`);
  const byId = <T extends { id: number }>(a: T, b: T) => a.id - b.id;
  const ordered = (map: Map<string, Value>) => new Map([...map].sort(([, a], [, b]) => byId(a, b)));
  return {
    name,
    inputs: ordered(inputs),
    parameters: ordered(parameters),
    outputs: new Map(Object.entries(outputs)),
    nodes: [...nodes].sort(byId),
  };
}
