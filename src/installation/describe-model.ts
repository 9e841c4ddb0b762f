/** @file What a model is, by its own account: kind, architecture, size, and what is wrong with it. No weight is loaded. */

import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { isTurbo, isXl, PIPELINES } from "../diffusion/model-folder.js";
import { openModelParts } from "../diffusion/open-model.js";
import { digestModel } from "../pipeline/digest.js";
import { openClipScore } from "../rewards/clip-score.js";
import { openImageReward } from "../rewards/image-reward.js";
import type { Device } from "../runtime/device.js";
import { openDevice } from "../runtime/device.js";
import { elementCount } from "../tensor/tensor.js";
import { openWeights } from "../weights/open.js";
import type { WeightSource } from "../weights/types.js";
import { type FoundModel, isImageRewardFile, WEIGHT_FILE } from "./find-models.js";
import { familyOfTensors } from "./tensor-families.js";

/** What Laurel can use a model for; `other` is what it recognises at most. */
export type ModelKind = "text-to-image" | "inpainting" | "image-reward" | "clip" | "other";

/** A fact about an architecture, for people and programs: `{ "latent channels": 4 }`. */
export type ArchitectureFacts = Readonly<Record<string, string | number>>;

/** An installed model. */
export interface InstalledModel extends FoundModel {
  readonly kind: ModelKind;
  /** `Stable Diffusion 1.x`, `ImageReward`, or for another kind what its files call themselves. */
  readonly family: string;
  /** Laurel opens it. */
  readonly usable: boolean;
  readonly architecture: ArchitectureFacts;
  /** Numbers in its weights; null when they cannot be counted. */
  readonly parameters: number | null;
  /** Of its weights: `float16`. */
  readonly dtypes: readonly string[];
  /** On the disk, a file that is linked twice counted once. */
  readonly bytes: number;
  /** As in a run's manifest; null when it was not computed. */
  readonly digest: string | null;
}

/** What one kind of model says of itself. */
interface Account {
  readonly kind: ModelKind;
  readonly family: string;
  readonly architecture?: ArchitectureFacts;
  /** Files or folders of weights. */
  readonly weights: readonly string[];
  /** Why Laurel cannot open it. */
  readonly problem?: string | undefined;
}

/**
 * Opens a model's configurations and the tables of contents of its weights, as using it would, and says what was found; what is broken becomes
 * a problem of it.
 */
export async function describeModel(found: FoundModel): Promise<InstalledModel> {
  // Its process is never started: opening compiles nothing.
  const device = openDevice();
  const account = await accountOf(found, device);
  const counted = await countWeights(account.weights);
  const bytes = await sizeOnDisk(found.path).catch(() => 0);
  const short = (message: string): string => message.replaceAll(`${found.path}/`, "").replaceAll(`${found.path}: `, "");
  const problems = [
    ...new Set([...found.problems, ...(account.problem === undefined ? [] : [short(account.problem)])]),
  ];
  return {
    ...found,
    problems,
    kind: account.kind,
    family: account.family,
    usable: account.kind !== "other" && problems.length === 0,
    architecture: account.architecture ?? {},
    ...counted,
    bytes,
    digest: null,
  };
}

/** The digest of a run's manifest for a model of a kind Laurel uses; null for others and for what cannot be read. */
export async function modelDigest({ kind, path }: InstalledModel): Promise<string | null> {
  return kind === "other" ? null : digestModel(path).catch(() => null);
}

async function accountOf(found: FoundModel, device: Device): Promise<Account> {
  const { path } = found;
  let names: string[] | undefined;
  try {
    names = (await stat(path)).isDirectory() ? await readdir(path) : undefined;
  } catch (error) {
    return { kind: "other", family: "unreadable", weights: [], problem: messageOf(error) };
  }
  if (names === undefined) return fileAccount(path, device);
  if (names.includes("model_index.json") || (names.includes("unet") && names.includes("vae"))) {
    return pipelineAccount(path, device);
  }
  if (names.some(isImageRewardFile)) return imageRewardAccount(path, device);
  if (names.includes("config.json")) return transformerAccount(path, device);
  const files = names.filter((name) => WEIGHT_FILE.test(name));
  if (files.length === 0) return { kind: "other", family: "no weights", weights: [] };
  return fileAccount(join(path, files[0]!), device);
}

/** A folder of diffusers. */
async function pipelineAccount(path: string, device: Device): Promise<Account> {
  const index = await readObject(join(path, "model_index.json"));
  const components = await weightFolders(path);
  const className = typeof index?.["_class_name"] === "string" ? index["_class_name"] : undefined;
  if (className !== undefined && !PIPELINES.includes(className)) {
    return { kind: "other", family: className, weights: components };
  }
  try {
    const { folder, configs, defaults } = await openModelParts(path, device);
    const { text, unet, autoencoder, factor } = configs;
    const version = { 768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x" }[text.width] ?? "Stable Diffusion";
    const named = isXl(folder) ? "Stable Diffusion XL" : version;
    const family = `${named}${isTurbo(folder) ? " (turbo)" : ""}${folder.isOnnx === true ? ", as ONNX" : ""}`;
    const architecture = {
      image: `${defaults.width}x${defaults.height}`,
      latents: `${autoencoder.latentChannels}x${defaults.height / factor}x${defaults.width / factor}`,
      "text width": unet.crossAttentionWidth,
      channels: unet.levels.map((level) => level.channels).join("-"),
      prediction: folder.scheduler.prediction_type,
      sampler: defaults.sampler,
      steps: defaults.steps,
    };
    const kind = configs.inpainting ? "inpainting" : "text-to-image";
    return { kind, family, architecture, weights: components };
  } catch (error) {
    const kind = className?.includes("Inpaint") === true ? "inpainting" : "text-to-image";
    return { kind, family: "Stable Diffusion", weights: components, problem: messageOf(error) };
  }
}

async function imageRewardAccount(path: string, device: Device): Promise<Account> {
  const account = { kind: "image-reward", family: "ImageReward", weights: [await imageRewardFile(path)] } as const;
  try {
    const { config } = await openImageReward(path, device);
    const { vision, text } = config;
    const architecture = {
      image: `${vision.imageSize}x${vision.imageSize}`,
      patch: vision.patchSize,
      "vision width": vision.width,
      "vision layers": vision.layers,
      "text width": text.width,
      "text layers": text.layers,
    };
    return { ...account, architecture };
  } catch (error) {
    return { ...account, problem: messageOf(error) };
  }
}

/** A folder with a config.json: CLIP, or something else of transformers or diffusers. */
async function transformerAccount(path: string, device: Device): Promise<Account> {
  const json = await readObject(join(path, "config.json"));
  if (json === undefined) {
    return { kind: "other", family: "unknown", weights: [path], problem: "config.json: expected a JSON object" };
  }
  if (json["model_type"] !== "clip") {
    const family = [json["_class_name"], (json["architectures"] as unknown[] | undefined)?.[0], json["model_type"]];
    const name = family.find((one): one is string => typeof one === "string");
    return { kind: "other", family: name ?? "unknown", weights: [path] };
  }
  try {
    const { text, vision, projection } = (await openClipScore(path, device)).config;
    const architecture = {
      image: `${vision.imageSize}x${vision.imageSize}`,
      patch: vision.patchSize,
      "vision width": vision.width,
      "vision layers": vision.layers,
      "text width": text.width,
      "text layers": text.layers,
      projection,
    };
    return { kind: "clip", family: "CLIP", architecture, weights: [path] };
  } catch (error) {
    return { kind: "clip", family: "CLIP", weights: [path], problem: messageOf(error) };
  }
}

/** A file of weights on its own. */
async function fileAccount(path: string, device: Device): Promise<Account> {
  if (isImageRewardFile(basename(path))) return imageRewardAccount(path, device);
  try {
    const family = familyOfTensors((await openWeights(path)).entries.keys());
    return { kind: "other", family, weights: [path] };
  } catch (error) {
    return { kind: "other", family: "unreadable", weights: [], problem: messageOf(error) };
  }
}

async function imageRewardFile(path: string): Promise<string> {
  const names = await readdir(path).catch(() => []);
  const name = names.filter(isImageRewardFile).sort().at(-1);
  return name === undefined ? path : join(path, name);
}

/** Folders of a pipeline that hold weights. */
async function weightFolders(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map((entry) => join(path, entry.name));
  const holds = await Promise.all(
    folders.map(async (folder) => (await readdir(folder).catch(() => [])).some((name) => WEIGHT_FILE.test(name))),
  );
  return folders.filter((_, i) => holds[i]);
}

async function countWeights(paths: readonly string[]): Promise<Pick<InstalledModel, "parameters" | "dtypes">> {
  let parameters: number | null = 0;
  const dtypes = new Set<string>();
  for (const path of paths) {
    const source: WeightSource | undefined = await openWeights(path).catch(() => undefined);
    if (source === undefined || parameters === null) parameters = null;
    else for (const entry of source.entries.values()) parameters += elementCount(entry.shape);
    for (const { dtype } of source?.entries.values() ?? []) if (dtype !== "int64") dtypes.add(dtype);
  }
  return { parameters: paths.length === 0 ? null : parameters, dtypes: [...dtypes].sort() };
}

/** Bytes of all files below `path`. @throws the system's error */
export async function sizeOnDisk(path: string): Promise<number> {
  const root = await stat(path);
  if (!root.isDirectory()) return root.size;
  const counted = new Set<string>();
  let bytes = 0;
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    const file = await stat(join(entry.parentPath, entry.name)).catch(() => undefined);
    if (file?.isFile() !== true || counted.has(`${file.dev} ${file.ino}`)) continue;
    counted.add(`${file.dev} ${file.ino}`);
    bytes += file.size;
  }
  return bytes;
}

async function readObject(path: string): Promise<Record<string, unknown> | undefined> {
  try {
    const json: unknown = JSON.parse(await readFile(path, "utf8"));
    return typeof json === "object" && json !== null && !Array.isArray(json) ? { ...json } : undefined;
  } catch {
    return undefined;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
