/** @file The user's own workflow as a graph with slots: `{{prompt}}` in its inputs, or places named in the configuration. */

import { basename } from "node:path";
import { UsageError } from "../../errors.js";
import { sha256 } from "../../util/files.js";
import { parseJson, readText } from "../../util/read-file.js";
import { BUILTIN_DEFAULTS, SLOTS } from "./graph.js";
import type { Graph, GraphNode, Place, Slot, SlotValues, Template } from "./graph.js";

/** How a workflow is used. */
export interface WorkflowOptions {
  /** Places of slots, as `<node>.<input>`, beside the marks in the file. */
  readonly slots?: { readonly [Name in Slot]?: string | readonly string[] | undefined } | undefined;
  /** The node whose picture is taken. @default the only one that gives pictures */
  readonly output?: string | undefined;
  /** True when pictures without a seed slot are wanted all the same. @default false */
  readonly unseeded?: boolean | undefined;
}

const MARK = /\{\{\s*([A-Za-z_]+)\s*\}\}/g;
const WHOLE_MARK = /^\{\{\s*([A-Za-z_]+)\s*\}\}$/;
/** Names of inputs that usually hold what a slot is for: to say what might be meant. */
const USUAL: Partial<Record<Slot, readonly string[]>> = {
  prompt: ["text", "prompt"],
  seed: ["seed", "noise_seed"],
};

/** Reads a workflow. @throws UsageError when it is none, not in API format, or its slots do not fit */
export async function readWorkflow(path: string, options: WorkflowOptions = {}): Promise<Template> {
  const text = await readText(path, { as: UsageError, expected: "a workflow of ComfyUI" });
  const graph = parseGraph(parseJson(text, path, UsageError), path);
  return templateOf(graph, options, path, `${basename(path)} ${sha256(text).slice(0, 12)}`);
}

/**
 * A graph with its slots found.
 * @param where names the file in messages
 * @param model what it draws with, as records name it
 * @throws UsageError
 */
export function templateOf(graph: Graph, options: WorkflowOptions, where: string, model: string): Template {
  const marked = markedPlaces(graph, where);
  const places = new Map<Slot, readonly Place[]>(marked);
  const own: Partial<Record<Slot, string | number>> = {};
  for (const slot of SLOTS) {
    const named = [options.slots?.[slot] ?? []]
      .flat()
      .map((place) => parsePlace(place, graph, `${where}: slots.${slot}`));
    if (named.length > 0) places.set(slot, [...(marked.get(slot) ?? []), ...named]);
    const value = named[0] === undefined ? undefined : graph[named[0].node]!.inputs[named[0].input];
    if (typeof value === "string" || typeof value === "number") own[slot] = value;
  }
  checkTaken(marked, options.slots ?? {}, where);
  expectSlot("prompt", places, graph, where);
  if (options.unseeded !== true) expectSlot("seed", places, graph, where);
  else if (places.has("seed")) throw new UsageError(`${where}: seeds: expected none only without a slot for the seed`);
  if (places.has("width") !== places.has("height")) {
    throw new UsageError(`${where}: expected slots for width and height, got one of them`);
  }
  checkNumbers(graph, places, where);
  const kept = (slot: Slot): string | number | undefined =>
    own[slot] ?? (marked.has(slot) ? (BUILTIN_DEFAULTS as SlotValues)[slot] : undefined);
  const output = outputOf(graph, options.output, where);
  return {
    model,
    graph,
    places,
    own: Object.fromEntries(SLOTS.map((slot) => [slot, kept(slot)])),
    required: (["model", "image", "mask"] as const).filter((slot) => marked.has(slot)),
    output,
    fill: (values) => fill(graph, options.slots ?? {}, values),
  };
}

/** @throws UsageError for anything but nodes with classes and inputs */
function parseGraph(json: unknown, where: string): Graph {
  const object = isObject(json) ? json : {};
  if (Array.isArray(object["nodes"]) && ("links" in object || "last_node_id" in object)) {
    throw new UsageError(
      `${where}: expected a workflow in API format, got one as the editor saves it; in ComfyUI choose Workflow > Export (API), or in older versions enable the dev mode options and choose Save (API Format)`,
    );
  }
  // what /history and pictures keep may be wrapped
  const nodes = isObject(object["prompt"]) && !("class_type" in object["prompt"]) ? object["prompt"] : object;
  const entries = Object.entries(nodes);
  if (entries.length === 0) {
    throw new UsageError(`${where}: expected a workflow in API format: nodes with class_type and inputs, got none`);
  }
  for (const [id, node] of entries) {
    if (!isObject(node) || typeof node["class_type"] !== "string" || !isObject(node["inputs"])) {
      throw new UsageError(`${where}: node ${id}: expected class_type and inputs, got ${describe(node)}`);
    }
    for (const [input, value] of Object.entries(node["inputs"]))
      checkLink(value, nodes, `${where}: node ${id}: ${input}`);
  }
  return nodes as Record<string, GraphNode>;
}

/** @throws UsageError for a link that leads nowhere */
function checkLink(value: unknown, nodes: Readonly<Record<string, unknown>>, where: string): void {
  if (!isLink(value) || Object.hasOwn(nodes, value[0])) return;
  throw new UsageError(`${where}: expected a link to a node of the workflow, got one to ${value[0]}`);
}

/** @throws UsageError for a place that is named and has a mark, or is named twice: one would overwrite the other */
function checkTaken(
  marked: ReadonlyMap<Slot, readonly Place[]>,
  named: NonNullable<WorkflowOptions["slots"]>,
  where: string,
): void {
  const taken = new Map<string, string>(
    [...marked].flatMap(([slot, places]) =>
      places.map(({ node, input }) => [`${node}.${input}`, `{{${slot}}}`] as const),
    ),
  );
  for (const slot of SLOTS) {
    for (const place of [named[slot] ?? []].flat()) {
      const other = taken.get(place);
      if (other !== undefined) {
        throw new UsageError(
          `${where}: slots.${slot}: expected a place that nothing else goes to, got ${place}, which is for ${other}`,
        );
      }
      taken.set(place, `slots.${slot}`);
    }
  }
}

/** @throws UsageError for a number that would be sent as another one: JSON holds whole numbers up to 2^53 here */
function checkNumbers(graph: Graph, places: ReadonlyMap<Slot, readonly Place[]>, where: string): void {
  const replaced = new Set([...places.values()].flat().map(({ node, input }) => `${node}.${input}`));
  for (const [node, { inputs }] of Object.entries(graph)) {
    for (const [input, value] of Object.entries(inputs)) {
      if (typeof value !== "number" || Math.abs(value) <= Number.MAX_SAFE_INTEGER || replaced.has(`${node}.${input}`))
        continue;
      throw new UsageError(
        `${where}: node ${node}: ${input}: expected a slot or a number up to ${Number.MAX_SAFE_INTEGER}, got a larger one, which JavaScript cannot pass on exactly`,
      );
    }
  }
}

function isLink(value: unknown): value is readonly [string, number] {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && typeof value[1] === "number";
}

/** Where `{{slot}}` stands. @throws UsageError for a name that is no slot's */
function markedPlaces(graph: Graph, where: string): Map<Slot, Place[]> {
  const places = new Map<Slot, Place[]>();
  for (const [node, { inputs }] of Object.entries(graph)) {
    for (const [input, value] of Object.entries(inputs)) {
      if (typeof value !== "string") continue;
      for (const [, name = ""] of value.matchAll(MARK)) {
        const slot = SLOTS.find((one) => one === name);
        if (slot === undefined) {
          throw new UsageError(
            `${where}: node ${node}: ${input}: expected {{${SLOTS.join("}}, {{")}}}, got {{${name}}}`,
          );
        }
        places.set(slot, [...(places.get(slot) ?? []), { node, input }]);
      }
    }
  }
  return places;
}

/** `6.text`: everything up to the first dot is the node. @throws UsageError when the workflow has no such input */
function parsePlace(text: string, graph: Graph, where: string): Place {
  const dot = text.indexOf(".");
  const [node, input] = [text.slice(0, dot), text.slice(dot + 1)];
  if (dot <= 0 || input === "")
    throw new UsageError(`${where}: expected <node>.<input>, for example 6.text, got ${text}`);
  const found = Object.hasOwn(graph, node) ? graph[node] : undefined;
  if (found === undefined) {
    throw new UsageError(`${where}: expected a node of the workflow (${Object.keys(graph).join(", ")}), got ${node}`);
  }
  if (!Object.hasOwn(found.inputs, input)) {
    const known = Object.keys(found.inputs).join(", ");
    throw new UsageError(`${where}: expected an input of ${found.class_type} ${node} (${known}), got ${input}`);
  }
  return { node, input };
}

function expectSlot(slot: Slot, places: ReadonlyMap<Slot, unknown>, graph: Graph, where: string): void {
  if (places.has(slot)) return;
  const likely = Object.entries(graph).flatMap(([node, { inputs }]) =>
    (USUAL[slot] ?? []).filter((input) => Object.hasOwn(inputs, input)).map((input) => `${node}.${input}`),
  );
  const example = likely[0] ?? (slot === "seed" ? "3.seed" : "6.text");
  const others = likely.length > 1 ? ` (or ${likely.slice(1, 6).join(", ")})` : "";
  const declared = slot === "seed" ? ", or seeds: none" : "";
  throw new UsageError(
    `${where}: expected a slot for the ${slot}: "{{${slot}}}" in an input of the workflow, or slots: { ${slot}: ${example} }${others} beside it${declared}, got none`,
  );
}

/** Classes that give pictures, of those every server has. */
const OUTPUT_CLASSES = ["SaveImage", "PreviewImage"];

/** The node whose picture is taken. @throws UsageError when it is not clear which */
function outputOf(graph: Graph, named: string | undefined, where: string): string {
  if (named !== undefined) {
    if (Object.hasOwn(graph, named)) return named;
    throw new UsageError(
      `${where}: output: expected a node of the workflow (${Object.keys(graph).join(", ")}), got ${named}`,
    );
  }
  const saving = Object.entries(graph).filter(([, { class_type: type }]) => OUTPUT_CLASSES.includes(type));
  const kept = saving.filter(([, { class_type: type }]) => type === "SaveImage");
  const candidates = kept.length === 1 ? kept : saving;
  if (candidates.length === 1) return candidates[0]![0];
  const actual = candidates.length === 0 ? "none" : candidates.map(([id]) => id).join(", ");
  throw new UsageError(
    `${where}: expected one node that saves a picture, or output: naming the one to take, got ${actual}`,
  );
}

/** Puts values in, all at once: what is put in is never read for marks. */
function fill(graph: Graph, named: NonNullable<WorkflowOptions["slots"]>, values: SlotValues): Graph {
  const value = (slot: Slot): string | number => values[slot] ?? (BUILTIN_DEFAULTS as SlotValues)[slot] ?? "";
  const filled = (input: unknown): unknown => {
    if (typeof input !== "string") return input;
    const whole = WHOLE_MARK.exec(input)?.[1];
    if (whole !== undefined) return value(whole as Slot);
    return input.replace(MARK, (_, slot: Slot) => String(value(slot)));
  };
  const nodes = new Map(
    Object.entries(graph).map(([id, node]) => {
      const inputs = Object.fromEntries(Object.entries(node.inputs).map(([name, input]) => [name, filled(input)]));
      return [id, { ...node, inputs }] as const;
    }),
  );
  for (const slot of SLOTS) {
    const given = values[slot];
    if (given === undefined) continue;
    for (const place of [named[slot] ?? []].flat()) {
      const dot = place.indexOf(".");
      nodes.get(place.slice(0, dot))!.inputs[place.slice(dot + 1)] = given;
    }
  }
  return Object.fromEntries(nodes);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function describe(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
