/** @file Graph -> ONNX ModelProto: opset 21 with ONNX Runtime's contrib ops, weights embedded or left in their files. */

import { parse, relative, sep } from "node:path";
import { InternalError, ModelError } from "../errors.js";
import { formatShape } from "../graph/dims.js";
import { dtypeCode } from "../graph/dtype-codes.js";
import { OP_ATTRIBUTES } from "../graph/op-attributes.js";
import type { AttributeKind } from "../graph/op-attributes.js";
import { attributesOf, OPS } from "../graph/op-table.js";
import type { AttributeValue, Graph, Node, OpType, Value, ValueType } from "../graph/types.js";
import { byteSize } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import { elementCount } from "../tensor/tensor.js";
import type { WeightEntry, WeightRef } from "../weights/types.js";
import { isWeightEntry } from "../weights/types.js";
import { type NodeWriter, type Substitutable, substituteOf } from "./substitutes.js";
import { ATTRIBUTE_TYPE, EXTERNAL, writeModelProto } from "./schema.js";
import type { AttributeProto, EntryProto, NodeProto, TensorProto, ValueInfoProto } from "./schema.js";

/** Versions of what is written. */
export const IR_VERSION = 10;
export const OPSET = 21;
const CONTRIB = "com.microsoft";
/** A ModelProto message must stay below 2 GiB. */
const LARGEST_MODEL = 2 ** 31 - 2 ** 20;

/** What becomes of a graph's parameters. */
export interface EncodeOptions {
  /** Initializers by parameter name: a Tensor is embedded, a WeightEntry stays in its file, relative to the file system's root. */
  readonly weights?: ReadonlyMap<string, WeightRef>;
  /** Parameters that stay graph inputs although they may have a weight. */
  readonly trainable?: ReadonlySet<string>;
  /** Folder that the model lies in, for files below it: weights are then found relative to the model. @default the file system's root */
  readonly folder?: string;
  /** Only operators of ONNX itself, for other runtimes. @throws InternalError for a graph that needs more. @default false */
  readonly standard?: boolean;
  /** Operators of ONNX Runtime to write with others, where an execution provider computes them wrongly. @default none */
  readonly substituted?: ReadonlySet<Substitutable>;
  /** Strings stored with the model. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Values to feed at each run, by name: the graph's inputs, and the parameters that are not initializers. */
export function feedTypes(graph: Graph, options: EncodeOptions = {}): Map<string, ValueType> {
  const { weights, trainable } = options;
  const feeds = new Map<string, ValueType>(graph.inputs);
  for (const [name, value] of graph.parameters) {
    if (trainable?.has(name) || !weights?.has(name)) feeds.set(name, value);
  }
  return feeds;
}

function withoutOnes(shape: readonly (number | string)[]): string {
  return shape.filter((dim) => dim !== 1).join(",");
}

/** Bytes of a host tensor, little-endian, not copied. */
function tensorBytes(tensor: Tensor): Uint8Array {
  return new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
}

function embedded(name: string, tensor: Tensor, shape: readonly number[]): TensorProto {
  return { name, dims: shape, dataType: dtypeCode(tensor.dtype), rawData: tensorBytes(tensor) };
}

function external(name: string, entry: WeightEntry, shape: readonly number[], folder: string | undefined): TensorProto {
  const location = relative(folder ?? parse(entry.file).root, entry.file)
    .split(sep)
    .join("/");
  const place = { location, offset: entry.offset, length: entry.length };
  const externalData = Object.entries(place).map(([key, value]): EntryProto => ({ key, value: String(value) }));
  return { name, dims: shape, dataType: dtypeCode(entry.dtype), externalData, dataLocation: EXTERNAL };
}

function encodeAttribute(name: string, kind: AttributeKind, value: AttributeValue): AttributeProto {
  switch (kind) {
    case "int":
    case "int?":
      return { name, type: ATTRIBUTE_TYPE.INT, i: value as number };
    case "float":
    case "float?":
      return { name, type: ATTRIBUTE_TYPE.FLOAT, f: value as number };
    case "string":
      return { name, type: ATTRIBUTE_TYPE.STRING, s: Buffer.from(value as string) };
    case "ints":
      return { name, type: ATTRIBUTE_TYPE.INTS, ints: value as readonly number[] };
    default:
      return kind satisfies never;
  }
}

function encodeAttributes(op: OpType, attributes: Readonly<Record<string, AttributeValue | undefined>>, where: string) {
  const kinds: Readonly<Record<string, AttributeKind>> = OP_ATTRIBUTES[op];
  return Object.entries(attributes).flatMap(([name, value]) => {
    const kind = kinds[name];
    if (kind === undefined) throw new InternalError(`${op} at ${where}: expected a known attribute, got ${name}`);
    return value === undefined ? [] : [encodeAttribute(name, kind, value)];
  });
}

function valueInfo(name: string, { dtype, shape }: ValueType): ValueInfoProto {
  const dim = shape.map((size) => (typeof size === "number" ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: dtypeCode(dtype), shape: { dim } } } };
}

/** Names and initializers of a graph under way. */
class Encoder {
  readonly nodes: NodeProto[] = [];
  readonly initializers: TensorProto[] = [];
  readonly #names = new Map<Value, string>();
  /** Small constants that are equal share one initializer. */
  readonly #constants = new Map<string, string>();
  readonly #problems: string[] = [];
  #count = 0;

  constructor(
    readonly graph: Graph,
    readonly options: EncodeOptions,
  ) {
    for (const [name, value] of graph.inputs) this.#names.set(value, name);
    const feeds = feedTypes(graph, options);
    for (const [name, value] of graph.parameters) {
      this.#names.set(value, feeds.has(name) ? name : this.#weight(name, value));
    }
    if (this.#problems.length > 0) throw new ModelError(`graph ${graph.name}: ${this.#problems.join("; ")}`);
    // An output is computed under its own name where that is free to choose.
    for (const [name, value] of graph.outputs) {
      if (value.source.kind === "node" && !this.#names.has(value)) this.#names.set(value, name);
    }
    for (const node of graph.nodes) this.#node(node);
    for (const [name, value] of graph.outputs) {
      const own = this.#nameOf(value);
      if (own !== name)
        this.nodes.push({ input: [own], output: [name], name: `Output ${name}`, opType: "Identity", attribute: [] });
    }
  }

  /** The name of an initializer, behind a Transpose and a Cast where the file holds it so. */
  #weight(name: string, value: Value): string {
    const weight = this.options.weights?.get(name) as WeightRef;
    const shape = value.shape as readonly number[];
    if (withoutOnes(weight.shape) !== withoutOnes(shape)) {
      this.#problems.push(`weight ${name}: expected ${formatShape(shape)}, got ${formatShape(weight.shape)}`);
    }
    const bytes = elementCount(weight.shape) * byteSize(weight.dtype);
    const given = isWeightEntry(weight) ? weight.length : weight.data.byteLength;
    if (given !== bytes) this.#problems.push(`weight ${name}: expected ${bytes} bytes, got ${given}`);
    const inOrder = weight.dtype === value.dtype ? name : `${name}%${weight.dtype}`;
    const transposed = isWeightEntry(weight) && weight.transposed === true;
    const stored = transposed ? `${inOrder}%transposed` : inOrder;
    const dims = transposed ? [...shape].reverse() : shape;
    this.initializers.push(
      isWeightEntry(weight) ? external(stored, weight, dims, this.options.folder) : embedded(stored, weight, dims),
    );
    if (transposed) {
      const attribute = [encodeAttribute("perm", "ints", [1, 0])];
      this.nodes.push({ input: [stored], output: [inOrder], name: `Transpose ${name}`, opType: "Transpose", attribute }); // prettier-ignore
    }
    if (inOrder !== name) {
      const attribute = [encodeAttribute("to", "int", dtypeCode(value.dtype))];
      this.nodes.push({ input: [inOrder], output: [name], name: `Cast ${name}`, opType: "Cast", attribute });
    }
    return name;
  }

  #constant(tensor: Tensor): string {
    const bytes = tensorBytes(tensor);
    const key =
      bytes.length <= 64
        ? `${tensor.dtype}${formatShape(tensor.shape)}${Buffer.from(bytes).toString("hex")}`
        : undefined;
    const known = key === undefined ? undefined : this.#constants.get(key);
    if (known !== undefined) return known;
    const name = `%c${this.#count++}`;
    if (key !== undefined) this.#constants.set(key, name);
    this.initializers.push(embedded(name, tensor, tensor.shape));
    return name;
  }

  #nameOf(value: Value): string {
    let name = this.#names.get(value);
    if (name === undefined) {
      name = value.source.kind === "constant" ? this.#constant(value.source.tensor) : `%${this.#count++}`;
      this.#names.set(value, name);
    }
    return name;
  }

  #node(node: Node): void {
    const { standard = false, substituted } = this.options;
    const domain = OPS[node.op].domain;
    const plain = standard ? domain !== undefined : substituted?.has(node.op as Substitutable) === true;
    const substitute = plain ? substituteOf(node.op) : undefined;
    if (substitute !== undefined) return substitute(this.#writer(node), node);
    if (plain) {
      throw new InternalError(
        `graph ${this.graph.name}: expected operators of ONNX alone, got ${node.op} (${node.origin})`,
      );
    }
    const input = node.inputs.map((value) => (value === undefined ? "" : this.#nameOf(value)));
    while (input.at(-1) === "") input.pop();
    const output = node.outputs.map((value) => this.#nameOf(value));
    this.#push(node.op, node, input, output, attributesOf(node));
  }

  /** Writes nodes in the place of one. */
  #writer(node: Node): NodeWriter {
    return {
      nameOf: (value) => this.#nameOf(value),
      constant: (tensor) => this.#constant(tensor),
      push: (op, inputs, attributes = {}, output = `%${this.#count++}`) => {
        this.#push(op, node, [...inputs], [output], attributes);
        return output;
      },
    };
  }

  #push(
    op: OpType,
    { origin }: Node,
    input: string[],
    output: string[],
    attributes: Readonly<Record<string, AttributeValue | undefined>>,
  ): void {
    const { domain } = OPS[op];
    this.nodes.push({
      input,
      output,
      // ONNX Runtime's messages quote the name: it says where the model code built the node.
      name: `${op}#${this.nodes.length} (${origin})`,
      opType: op,
      ...(domain === undefined ? {} : { domain }),
      attribute: encodeAttributes(op, attributes, origin),
    });
  }
}

/**
 * The graph as an ONNX model. Parameters in `weights` become initializers, of the parameter's dtype by a Cast where needed;
 * those in `trainable`, and any without weight, become inputs named by the parameter. Equal graphs give equal bytes.
 * @throws ModelError naming every weight whose shape differs by more than unit dimensions, or when embedded tensors exceed 2 GB.
 */
export function encodeModel(graph: Graph, options: EncodeOptions = {}): Uint8Array {
  const { nodes, initializers } = new Encoder(graph, options);
  const size = initializers.reduce((sum, { rawData }) => sum + (rawData?.length ?? 0), 0);
  if (size > LARGEST_MODEL) {
    throw new ModelError(
      `graph ${graph.name}: expected less than 2 GB of embedded tensors, got ${(size / 1e9).toFixed(1)} GB; give weights as file entries`,
    );
  }
  const info = (values: ReadonlyMap<string, ValueType>) => [...values].map(([name, type]) => valueInfo(name, type));
  const metadata = Object.entries(options.metadata ?? {});
  return writeModelProto({
    irVersion: IR_VERSION,
    producerName: "laurel",
    opsetImport: [
      { domain: "", version: OPSET },
      ...(options.standard === true ? [] : [{ domain: CONTRIB, version: 1 }]),
    ],
    graph: {
      name: graph.name,
      node: nodes,
      initializer: initializers,
      input: info(feedTypes(graph, options)),
      output: info(graph.outputs),
    },
    ...(metadata.length === 0 ? {} : { metadataProps: metadata.map(([key, value]) => ({ key, value })) }),
  });
}
