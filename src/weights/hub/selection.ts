/** @file Which files of a repository are fetched: those that were asked for, or those that Laurel would read. */

import { ModelError } from "../../errors.js";
import { closest } from "../../util/closest.js";
import { isLiteral, matchesAny } from "./globs.js";

/** What is fetched, and what was asked for and is not there. */
export interface Selection {
  readonly files: readonly string[];
  /** Names without a wildcard that the repository does not have. */
  readonly absent: readonly string[];
}

/** Of other frameworks, exports, previews, and what a training leaves behind. */
const NEVER =
  /(^|\/)(\.git|flax_|tf_|rust_|openvino|coreml|optimizer|scheduler\.pt|training_args|events\.out)|\.(onnx(_data)?|pb|msgpack|h5|ot|tflite|mlmodel|gguf|zip|tar|gz|png|jpe?g|gif|webp|mp4|parquet|arrow|csv)$/i;
const WEIGHTS = /\.(safetensors|bin|pt|pth|ckpt)$/i;
/** `model.fp16.safetensors`, `model.fp16-00001-of-00002.safetensors`, `model.safetensors.index.fp16.json`. */
const VARIANT = /\.(fp16|bf16|fp32|non_ema|ema_only|fp8|int8)(?=[.-])/i;

/** The files that `patterns` name. @throws ModelError when a pattern with wildcards matches nothing */
export function selectFiles(what: string, files: readonly string[], patterns: readonly string[]): Selection {
  const chosen = files.filter((path) => matchesAny(path, patterns));
  const absent = patterns.filter((pattern) => isLiteral(pattern) && !files.includes(pattern));
  const idle = patterns.filter((pattern) => !isLiteral(pattern) && !files.some((path) => matchesAny(path, [pattern])));
  if (idle.length === 0) return { files: chosen, absent };
  throw new ModelError(
    `${what}: expected files that match ${[...absent, ...idle].join(", ")}, got ${hint(files, absent)}`,
  );
}

/** The error of files that a repository does not have. */
export function absentFiles(what: string, files: readonly string[], absent: readonly string[]): ModelError {
  return new ModelError(`${what}: expected ${absent.join(", ")}, got ${hint(files, absent)}`);
}

/**
 * What Laurel reads of a repository: of a diffusers folder its components, else all of it; weights once, as safetensors where there are any and
 * without a variant.
 */
export function usualFiles(files: readonly string[]): string[] {
  const pipeline = files.includes("model_index.json");
  const readable = files.filter((path) => !NEVER.test(path) && (!pipeline || isOfPipeline(path)));
  const onnx = files.filter((path) => /\.onnx(_data)?$/i.test(path));
  const weights = readable.filter((path) => WEIGHTS.test(path));
  // an export for ONNX Runtime has nothing else
  if (weights.length === 0 && onnx.length > 0) return [...readable, ...onnx].sort();
  const folderOf = (path: string): string => path.slice(0, path.lastIndexOf("/") + 1);
  const plain = new Set(weights.filter((path) => !VARIANT.test(path)).map(folderOf));
  const safe = new Set(weights.filter((path) => path.endsWith(".safetensors")).map(folderOf));
  return readable.filter((path) => {
    const folder = folderOf(path);
    if (VARIANT.test(path) && plain.has(folder)) return false;
    const unsafe = /\.(bin|pt|pth|ckpt)(\.index\.json)?$/i.test(path);
    return !unsafe || !safe.has(folder);
  });
}

/** The safety checker is not read; checkpoints beside the components are the same weights again. */
function isOfPipeline(path: string): boolean {
  if (path.startsWith("safety_checker/")) return false;
  return path.includes("/") || !WEIGHTS.test(path);
}

function hint(files: readonly string[], absent: readonly string[]): string {
  const near = absent.map((name) => closest(name, files)).filter((name) => name !== undefined);
  if (near.length > 0) return `none; the closest are ${[...new Set(near)].join(", ")}`;
  const shown = files.slice(0, 8).join(", ");
  return files.length === 0 ? "an empty repository" : `none; it has ${shown}${files.length > 8 ? ", ..." : ""}`;
}
