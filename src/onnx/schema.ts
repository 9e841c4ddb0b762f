/** @file The part of ONNX's protobuf schema that Laurel writes and reads (field numbers of onnx.proto, ONNX 1.16 and later). */

import protobuf from "protobufjs/light.js";

/** Numbers of AttributeProto.AttributeType. */
export const ATTRIBUTE_TYPE = { FLOAT: 1, INT: 2, STRING: 3, FLOATS: 6, INTS: 7 } as const;

/** Number of TensorProto.DataLocation.EXTERNAL. */
export const EXTERNAL = 1;

/** onnx.AttributeProto. */
export interface AttributeProto {
  name: string;
  type: number;
  f?: number;
  i?: number;
  s?: Uint8Array;
  floats?: number[];
  ints?: readonly number[];
}

/** onnx.NodeProto. */
export interface NodeProto {
  input: string[];
  output: string[];
  name: string;
  opType: string;
  domain?: string;
  attribute: AttributeProto[];
}

/** onnx.StringStringEntryProto. */
export interface EntryProto {
  key: string;
  value: string;
}

/** onnx.TensorProto: raw little-endian data, or the place of it in a file. */
export interface TensorProto {
  name: string;
  dims: readonly number[];
  dataType: number;
  rawData?: Uint8Array;
  externalData?: EntryProto[];
  dataLocation?: number;
}

/** onnx.ValueInfoProto of a tensor. */
export interface ValueInfoProto {
  name: string;
  type: { tensorType: { elemType: number; shape: { dim: { dimValue?: number; dimParam?: string }[] } } };
}

/** onnx.GraphProto. */
export interface GraphProto {
  name: string;
  node: NodeProto[];
  initializer: TensorProto[];
  input: ValueInfoProto[];
  output: ValueInfoProto[];
}

/** onnx.ModelProto. */
export interface ModelProto {
  irVersion: number;
  producerName: string;
  producerVersion?: string;
  opsetImport: { domain: string; version: number }[];
  graph: GraphProto;
  metadataProps?: EntryProto[];
}

type Fields = Record<string, { id: number; type: string; rule?: "repeated"; options?: { packed: boolean } }>;

const one = (id: number, type: string) => ({ id, type });
const many = (id: number, type: string) => ({ id, type, rule: "repeated" as const });

const MESSAGES: Record<string, Fields> = {
  AttributeProto: {
    name: one(1, "string"),
    f: one(2, "float"),
    i: one(3, "int64"),
    s: one(4, "bytes"),
    floats: many(7, "float"),
    ints: many(8, "int64"),
    type: one(20, "int32"),
  },
  NodeProto: {
    input: many(1, "string"),
    output: many(2, "string"),
    name: one(3, "string"),
    opType: one(4, "string"),
    attribute: many(5, "AttributeProto"),
    domain: one(7, "string"),
  },
  EntryProto: { key: one(1, "string"), value: one(2, "string") },
  TensorProto: {
    dims: many(1, "int64"),
    dataType: one(2, "int32"),
    name: one(8, "string"),
    rawData: one(9, "bytes"),
    externalData: many(13, "EntryProto"),
    dataLocation: one(14, "int32"),
  },
  DimensionProto: { dimValue: one(1, "int64"), dimParam: one(2, "string") },
  TensorShapeProto: { dim: many(1, "DimensionProto") },
  TensorTypeProto: { elemType: one(1, "int32"), shape: one(2, "TensorShapeProto") },
  TypeProto: { tensorType: one(1, "TensorTypeProto") },
  ValueInfoProto: { name: one(1, "string"), type: one(2, "TypeProto") },
  GraphProto: {
    node: many(1, "NodeProto"),
    name: one(2, "string"),
    initializer: many(5, "TensorProto"),
    input: many(11, "ValueInfoProto"),
    output: many(12, "ValueInfoProto"),
  },
  OperatorSetProto: { domain: one(1, "string"), version: one(2, "int64") },
  ModelProto: {
    irVersion: one(1, "int64"),
    producerName: one(2, "string"),
    producerVersion: one(3, "string"),
    graph: one(7, "GraphProto"),
    opsetImport: many(8, "OperatorSetProto"),
    metadataProps: many(14, "EntryProto"),
  },
};

const nested = Object.fromEntries(Object.entries(MESSAGES).map(([name, fields]) => [name, { fields }]));
const Model = protobuf.Root.fromJSON({ nested }).lookupType("ModelProto");

/** ModelProto -> bytes. */
export function writeModelProto(model: ModelProto): Uint8Array {
  return Model.encode(model as unknown as Record<string, unknown>).finish();
}

/** Bytes -> ModelProto; whole numbers as numbers, absent lists as empty ones. */
export function readModelProto(bytes: Uint8Array): ModelProto {
  return Model.toObject(Model.decode(bytes), { longs: Number, arrays: true }) as unknown as ModelProto;
}
