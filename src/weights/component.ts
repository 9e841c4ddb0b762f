/** @file Which file of a diffusers or transformers folder holds the weights. */

import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ModelError } from "../errors.js";
import { describeSystemError } from "../util/read-file.js";

/** The weights of a component folder. */
export interface ComponentWeights {
  /** Absolute path of a weight file or of a shard index (`….index.json`). */
  readonly path: string;
  /** The variant in the file's name (`fp16`), if any. */
  readonly variant: string | undefined;
  /** What was asked for and could not be given. */
  readonly warnings: readonly string[];
}

const STEMS = ["diffusion_pytorch_model", "model", "pytorch_model"];
const EXTENSIONS = ["safetensors", "bin"];
/** Tried when a folder holds no plain file and no variant was asked for. */
const FALLBACK_VARIANT = "fp16";

/** File names for one variant, in order of preference; the last two of each group are older spellings of an index. */
function* candidateNames(variant: string | undefined): Generator<string> {
  for (const extension of EXTENSIONS) {
    for (const stem of STEMS) {
      if (variant === undefined) {
        yield `${stem}.${extension}`;
        yield `${stem}.${extension}.index.json`;
      } else {
        yield `${stem}.${variant}.${extension}`;
        yield `${stem}.${extension}.index.${variant}.json`;
        yield `${stem}.${variant}.${extension}.index.json`;
        yield `${stem}.${extension}.${variant}.index.json`;
      }
    }
  }
}

/**
 * Finds the weights of a component folder by the standard names: safetensors before `.bin`, whole files before shards. Without a
 * variant asked for, the plain file, else `fp16`; with one, that, else the plain file with a warning. A folder whose only weight
 * file has another name is accepted.
 * @throws ModelError when there is no such folder or no weights in it.
 */
export async function findComponentWeights(
  directory: string,
  { variant }: { variant?: string | undefined } = {},
): Promise<ComponentWeights> {
  const folder = resolve(directory);
  const names = new Set(await listFolder(folder));
  const order = variant === undefined ? [undefined, FALLBACK_VARIANT] : [variant, undefined];
  for (const tried of order) {
    for (const name of candidateNames(tried)) {
      if (!names.has(name)) continue;
      const warnings =
        variant === undefined || tried === variant
          ? []
          : [`${folder}: no weights of variant ${variant}; ${name} is used`];
      return { path: join(folder, name), variant: tried, warnings };
    }
  }
  const others = [...names].filter((name) => /\.(safetensors|pt|pth|ckpt|bin)$/.test(name) && !name.startsWith("."));
  if (others.length === 1) return { path: join(folder, others[0]!), variant: undefined, warnings: [] };
  const shard = others.find((name) => /-\d{5}-of-\d{5}\./.test(name));
  if (shard !== undefined) {
    throw new ModelError(
      `${folder}: expected the index of the shards (such as ${STEMS[0]}.safetensors.index.json), got ${shard} without one; fetch the index too`,
    );
  }
  const found = others.length === 0 ? listing([...names]) : `several of no standard name: ${others.join(", ")}`;
  throw new ModelError(
    `${folder}: expected a weight file such as ${STEMS[0]}.safetensors or model.safetensors, got ${found}`,
  );
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    throw new ModelError(`${folder}: expected a folder with weights, got ${describeSystemError(error)}`, {
      cause: error,
    });
  }
}

function listing(names: readonly string[]): string {
  if (names.length === 0) return "an empty folder";
  return `${names.slice(0, 8).join(", ")}${names.length > 8 ? " and more" : ""}`;
}
