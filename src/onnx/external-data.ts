/** @file ONNX models whose weights lie in other files, given as bytes that name those files wherever they lie. */

import { stat } from "node:fs/promises";
import { dirname, join, parse, relative } from "node:path";
import { ModelError } from "../errors.js";
import { isMissing, readBytes } from "../util/read-file.js";
import { locationOf, type OnnxFile } from "./read-ports.js";
import { fieldsOf, writeField } from "./wire.js";

/** A model without its weights; those of the largest published ones take some ten megabytes. */
const MAX_BYTES = 256 << 20;

/** Field numbers from the model to an entry of a tensor's external data: graph, initializer, external_data. */
const PATH = [7, 5, 13];

/**
 * What to give ONNX Runtime for an ONNX file: its path; where weights lie in files beside it the model as bytes, in which those are named from the
 * root of the file system on. By its path such a model is refused as soon as it lies behind a symbolic link, as all of the Hugging Face cache does.
 * @throws ModelError for weights that lie elsewhere than beside the file, or are not there
 */
export async function modelWithExternalData(path: string, { external }: OnnxFile): Promise<string | Uint8Array> {
  if (external.length === 0) return path;
  for (const location of external) {
    const file = join(dirname(path), location);
    if (relative(dirname(path), file).startsWith("..") || parse(location).root !== "") {
      throw new ModelError(`${path}: expected weights in files beside it, got ${location}`);
    }
    await stat(file).catch((cause: unknown) => {
      if (isMissing(cause)) throw new ModelError(`${file}: expected the weights of ${path}, got no file`, { cause });
      throw cause;
    });
  }
  const bytes = await readBytes(path, { expected: "an ONNX model without its weights", limit: MAX_BYTES });
  return Buffer.concat(relocated(bytes, PATH, dirname(path)));
}

/** The message with the locations at the end of `numbers` replaced. */
function relocated(bytes: Uint8Array, [number, ...deeper]: readonly number[], directory: string): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (const field of fieldsOf(bytes)) {
    const content = bytes.subarray(field.start, field.end);
    if (field.number !== number) parts.push(bytes.subarray(field.key, field.end));
    else if (deeper.length > 0) parts.push(...writeField(number, relocated(content, deeper, directory)));
    else parts.push(...writeField(number, [relocatedEntry(content, directory)]));
  }
  return parts;
}

function relocatedEntry(entry: Uint8Array, directory: string): Uint8Array {
  const location = locationOf(entry);
  if (location === undefined) return entry;
  const from = relative(parse(directory).root, join(directory, location));
  const text = new TextEncoder().encode(from.replaceAll("\\", "/"));
  const parts = [...fieldsOf(entry)].flatMap((field) =>
    field.number === 2 ? writeField(2, [text]) : [entry.subarray(field.key, field.end)],
  );
  return Buffer.concat(parts);
}
