/** @file ONNX bytes -> the message, for tests and inspection. */

import { ModelError } from "../errors.js";
import type { ModelProto } from "./schema.js";
import { readModelProto } from "./schema.js";

export type { AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto } from "./schema.js";

/** Reads a ModelProto. @throws ModelError when the bytes are not one. */
export function decodeModel(bytes: Uint8Array): ModelProto {
  try {
    return readModelProto(bytes);
  } catch (error) {
    throw new ModelError(`ONNX model: expected a ModelProto, got ${bytes.length} bytes that are not one`, {
      cause: error,
    });
  }
}
