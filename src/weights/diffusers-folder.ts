/** @file Writing a diffusers folder with some of another's weights replaced; everything else is copied. */

import { randomBytes } from "node:crypto";
import { constants, copyFile, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import { ModelError, UsageError } from "../errors.js";
import { isFloat } from "../tensor/dtype.js";
import { realTensor, realValues } from "../tensor/real.js";
import type { Tensor } from "../tensor/tensor.js";
import { describeSystemError } from "../util/read-file.js";
import { openWeights } from "./open.js";
import { saveSafetensors, type TensorSource } from "./safetensors.js";
import type { WeightEntry, WeightSource } from "./types.js";

/** New values by the folder of their component (`unet`), then by their name in its file. They are written in the dtype that the file has for them. */
export type ReplacedWeights = ReadonlyMap<string, ReadonlyMap<string, TensorSource>>;

/** How {@link saveDiffusersFolder} writes. */
export interface SaveFolderOptions {
  /** Syncs the weights to the disk. @default false */
  readonly durable?: boolean | undefined;
}

/** Files with weights. */
const WEIGHTS: readonly string[] = [
  ".safetensors",
  ".bin",
  ".pt",
  ".pth",
  ".ckpt",
  ".msgpack",
  ".h5",
  ".onnx",
  ".onnx_data",
];

/**
 * Writes the folder `to` as `from` with other weights: each changed component gets one safetensors file of all its tensors, one read at a time; its
 * other weight files, which would still hold the old values, and those beside `model_index.json` are left out; all else is copied. The folder appears
 * whole or not at all. A diffusers folder that is there already is replaced.
 * @throws UsageError when `to` is something else, or `from` a single file; ModelError for a name or a shape that the component does not have
 */
export async function saveDiffusersFolder(
  from: string,
  to: string,
  replaced: ReplacedWeights,
  options: SaveFolderOptions = {},
): Promise<void> {
  const [source, target] = [resolve(from), resolve(to)];
  if (source === target) throw new UsageError(`${target}: expected another folder than the one it is made from`);
  if ((await stat(source).catch(() => undefined))?.isFile() === true) throw new UsageError(notAFolder(source));
  const exists = await expectReplaceable(target);
  const suffix = `${process.pid}.${randomBytes(4).toString("hex")}.tmp`;
  const temporary = join(dirname(target), `.${basename(target)}.${suffix}`);
  try {
    await mkdir(temporary, { recursive: true });
    await copyOthers(source, temporary, new Set(replaced.keys()));
    for (const [component, tensors] of replaced) {
      await writeComponent(join(source, component), join(temporary, component), tensors, options);
    }
    const old = `${temporary}.old`;
    if (exists) await rename(target, old);
    await rename(temporary, target);
    if (exists) await rm(old, { recursive: true, force: true });
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  }
}

/** Why weights cannot be written into a model. */
export function notAFolder(path: string): string {
  return `${path}: expected a diffusers folder to write new weights into, got a single file, which has no place for them; a LoRA can be trained and used with it`;
}

/** Whether there is a folder to be replaced. @throws UsageError for one that is no model's */
async function expectReplaceable(target: string): Promise<boolean> {
  const names = await readdir(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new UsageError(`${target}: expected a new folder, got ${describeSystemError(error)}`, { cause: error });
  });
  if (names === undefined) return false;
  if (names.length === 0 || names.includes("model_index.json")) return true;
  throw new UsageError(
    `${target}: expected a new folder, or a diffusers folder to be replaced, got one with ${names[0]}`,
  );
}

/** Copies what links lead to; a hub's cache is made of links. */
async function copyOthers(from: string, to: string, changed: ReadonlySet<string>, inside?: string): Promise<void> {
  for (const name of await readdir(from)) {
    if (name.startsWith(".")) continue;
    const [source, target] = [join(from, name), join(to, name)];
    if ((await stat(source)).isDirectory()) {
      await mkdir(target, { recursive: true });
      await copyOthers(source, target, changed, inside ?? name);
    } else if ((inside !== undefined && !changed.has(inside)) || !isWeights(name)) {
      await copyFile(source, target, constants.COPYFILE_FICLONE);
    }
  }
}

function isWeights(name: string): boolean {
  return WEIGHTS.includes(extname(name)) || /\.index(\.\w+)?\.json$/.test(name);
}

async function writeComponent(
  from: string,
  to: string,
  replaced: ReadonlyMap<string, TensorSource>,
  { durable = false }: SaveFolderOptions,
): Promise<void> {
  const weights = await openWeights(from);
  const tensors = new Map<string, TensorSource>();
  for (const [name, entry] of weights.entries) {
    const value = replaced.get(name);
    tensors.set(name, value === undefined ? unchanged(weights, entry) : inDtypeOf(entry, value));
  }
  const faults = [
    ...[...weights.unusable].map(([name, reason]) => `${name}: ${reason}`),
    ...[...replaced].flatMap(([name, { shape }]) => {
      const entry = weights.entries.get(name);
      if (entry === undefined) return [`${name}: no such tensor`];
      return entry.shape.join() === shape.join()
        ? []
        : [`${name}: [${shape.join(",")}] for [${entry.shape.join(",")}]`];
    }),
  ];
  if (faults.length > 0) {
    const more = faults.length > 6 ? `; and ${faults.length - 6} more` : "";
    throw new ModelError(
      `${weights.description}: expected weights to replace, got ${faults.slice(0, 6).join("; ")}${more}`,
    );
  }
  await saveSafetensors(join(to, `${await stemOf(from)}.safetensors`), tensors, new Map([["format", "pt"]]), {
    durable,
  });
}

/** diffusers and transformers call their files differently. */
async function stemOf(folder: string): Promise<string> {
  const names = await readdir(folder);
  return names.some((name) => name.startsWith("diffusion_pytorch_model.")) ? "diffusion_pytorch_model" : "model";
}

function unchanged(weights: WeightSource, { name, dtype, shape }: WeightEntry): TensorSource {
  return { dtype, shape, read: () => weights.read(name) };
}

/** The value rounded to what the file has. */
function inDtypeOf({ name, file, dtype, shape }: WeightEntry, value: TensorSource): TensorSource {
  if (value.dtype === dtype) return value;
  if (!isFloat(dtype) || !isFloat(value.dtype)) {
    throw new ModelError(`${file}: ${name}: expected ${dtype}, got ${value.dtype}`);
  }
  const read = async (): Promise<Tensor> => ("data" in value ? value : value.read());
  return { dtype, shape, read: async () => realTensor(dtype, shape, realValues(await read())) };
}
