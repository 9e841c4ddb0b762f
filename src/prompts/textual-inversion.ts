/**
 * @file Textual inversion embeddings: vectors that stand for a word in a prompt.
 * Formats: AUTOMATIC1111's `.pt` (`string_to_param`) and `.safetensors` (`emb_params`); diffusers' `learned_embeds.bin` and `.safetensors`
 * (`{ token: tensor }`). Source of the technique: Gal et al. 2022, https://arxiv.org/abs/2208.01618
 */

import { basename, extname, resolve } from "node:path";
import { ModelError, UsageError } from "../errors.js";
import type { Tensor } from "../tensor/tensor.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../tensor/half.js";
import { sha256 } from "../util/files.js";
import { openWeights } from "../weights/open.js";
import type { WeightEntry, WeightSource } from "../weights/types.js";

/** An embedding in memory. */
export interface TextualInversion {
  /** Words that stand for it in a prompt: the file's name without ending, and the token a diffusers file names. */
  readonly triggers: readonly string[];
  /** Vectors, one for each place it takes up. */
  readonly count: number;
  /** [count, width], flattened. */
  readonly vectors: Float32Array;
  /** Absolute. */
  readonly path: string;
  /** SHA-256 of the vectors, hex. */
  readonly digest: string;
}

/** Vectors of one embedding; those that are shared have 1 to 75. */
const MAX_VECTORS = 1024;
/** Where the web UI's files keep the vectors: `string_to_param: { "*": tensor }`, whose key is a placeholder, and `emb_params`. */
const WEB_UI = /^(?:string_to_param\.(.*)|emb_params)$/s;

/**
 * Opens an embedding; nothing in the file is run.
 * @param width the text encoder's, which the vectors must have
 * @param key the tensor of that text encoder, in a file for a model with several (`clip_l`, `clip_g`)
 * @throws ModelError when it is no embedding, or one for another text encoder
 */
export async function openTextualInversion(path: string, width: number, key?: string): Promise<TextualInversion> {
  if (typeof path !== "string" || path === "") {
    throw new UsageError(`embedding: expected a file, got ${JSON.stringify(path)}`);
  }
  const file = resolve(path);
  const source = await openWeights(file);
  const { entry, token } = key === undefined ? findVectors(file, source) : findVectorsOf(key, file, source);
  const { name, shape } = entry;
  const [count, actual] = shape.length === 1 ? [1, shape[0]] : shape;
  if (shape.length > 2 || count === undefined || actual === undefined || count < 1 || count > MAX_VECTORS) {
    throw new ModelError(`${file}: ${name}: expected 1 to ${MAX_VECTORS} vectors, got a tensor [${shape.join(", ")}]`);
  }
  if (actual !== width) {
    const version = KNOWN_WIDTHS[actual];
    throw new ModelError(
      `${file}: ${name}: expected vectors of ${width} numbers, the width of this model's text encoder, got ${actual}${version === undefined ? "" : ` (for Stable Diffusion ${version}?)`}`,
    );
  }
  const vectors = toFloat32(file, name, await source.read(name));
  if (!vectors.every(Number.isFinite)) throw new ModelError(`${file}: ${name}: expected finite numbers, got others`);
  const stem = basename(file, extname(file));
  const digest = sha256(new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength));
  return { triggers: [...new Set([stem, token ?? stem])], count, vectors, path: file, digest };
}

/** The one tensor that holds the vectors, and the word that the file names for them. */
function findVectors(file: string, source: WeightSource): { entry: WeightEntry; token: string | undefined } {
  const all = [...source.entries.keys(), ...source.unusable.keys()];
  const fromWebUi = all.filter((key) => WEB_UI.test(key));
  const [key, ...others] = fromWebUi.length > 0 ? fromWebUi : all;
  if (key === undefined || others.length > 0) {
    const shown = all.slice(0, 4).join(", ") + (all.length > 4 ? ", ..." : "");
    const hint = all.includes("clip_g") ? " (for Stable Diffusion XL?)" : "";
    throw new ModelError(
      `${file}: expected a textual inversion embedding of one tensor, got ${all.length} tensors: ${shown}${hint}`,
    );
  }
  const entry = source.entries.get(key);
  if (entry === undefined) {
    throw new ModelError(`${file}: ${key}: expected a tensor to be used in place, got ${source.unusable.get(key)}`);
  }
  const token = fromWebUi.length > 0 ? WEB_UI.exec(key)?.[1] : key;
  return { entry, token: token === "*" || token === "" ? undefined : token };
}

/** The vectors of one of a model's text encoders. */
function findVectorsOf(key: string, file: string, source: WeightSource): { entry: WeightEntry; token: undefined } {
  const entry = source.entries.get(key);
  if (entry !== undefined) return { entry, token: undefined };
  const all = [...source.entries.keys()];
  throw new ModelError(
    `${file}: expected a textual inversion embedding for Stable Diffusion XL, with the tensors clip_l and clip_g, got ${source.unusable.get(key) ?? `no ${key} among ${all.length} tensors: ${all.slice(0, 4).join(", ")}`}`,
  );
}

/** Widths of the text encoders of published models. */
const KNOWN_WIDTHS: Readonly<Record<number, string>> = { 768: "1.x", 1024: "2.x", 1280: "XL" };

function toFloat32(file: string, key: string, { dtype, data }: Tensor): Float32Array {
  switch (dtype) {
    case "float32":
      return data as Float32Array;
    case "float64":
      return Float32Array.from(data as Float64Array);
    case "float16":
      return float16ToFloat32(data as Uint16Array);
    case "bfloat16":
      return bfloat16ToFloat32(data as Uint16Array);
    case "int8":
    case "uint8":
    case "int32":
    case "int64":
    case "bool":
      throw new ModelError(`${file}: ${key}: expected real numbers, got ${dtype}`);
  }
}
