/** @file Writes a differentiable reward as a folder of plain ONNX: models, weights once, tokenizers, manifest and consumers. All of it, or nothing. */

import { copyFile, mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { InternalError, UsageError } from "../../errors.js";
import type { Graph } from "../../graph/types.js";
import { encodeModel } from "../../onnx/encode.js";
import type { DifferentiableReward } from "../../rewards/contract.js";
import type { Device } from "../../runtime/device.js";
import type { Tensor } from "../../tensor/tensor.js";
import { throwIfAborted } from "../../util/abort.js";
import { sha256File } from "../../util/files.js";
import { openSafetensors, saveSafetensors } from "../../weights/safetensors.js";
import { readEntry } from "../../weights/source.js";
import type { WeightEntry, WeightRef } from "../../weights/types.js";
import { describeBundle, tokenizerFile } from "./describe-bundle.js";
import { type Decoder, type GraphOptions, type Member, rewardGraphs } from "./graphs.js";
import { BUNDLE_FILES, type RewardManifest } from "./manifest.js";
import { modelPorts } from "./ports.js";
import { bundleReadme } from "./readme.js";
import { FIRST_VALUES, inputRecipe, norm, recipeInput } from "./test-vector.js";

/** Files that every bundle gets as they are. */
const CONSUMERS = fileURLToPath(new URL("../../../assets/reward-bundle/", import.meta.url));
/** One ONNX file holds less than 2 GiB. */
const LARGEST_SINGLE_FILE = 2 ** 31 - 2 ** 24;
/** What the known answer is asked about; repeated where a batch has more rows. */
const TEST_PROMPTS = ["a red circle above a blue square", "a small green triangle"];

/** What is being done. */
export type ExportStage = "weights" | "models" | "check" | "files";

/** A bundle to be written. */
export interface BundleOptions extends GraphOptions {
  readonly members: readonly (Member & { readonly reward: DifferentiableReward })[];
  readonly decoder?: (Decoder & { readonly name: string }) | undefined;
  /** Weights inside of each model instead of once beside both. @default false */
  readonly singleFile?: boolean | undefined;
  /** Laurel's version. */
  readonly version: string;
  /** Runs the written models once, for the known answer. */
  readonly device: Device;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((stage: ExportStage) => void) | undefined;
}

/**
 * Writes the bundle into `directory`, an empty folder.
 * @throws UsageError for sizes and rewards that do not fit together, CancelledError, and what the file system throws
 */
export async function writeBundle(directory: string, options: BundleOptions): Promise<RewardManifest> {
  const { signal, onProgress } = options;
  const graphs = rewardGraphs(options.members, options);
  const used = new Map([...graphs.weights].filter(([name]) => graphs.gradient.parameters.has(name)));
  onProgress?.("weights");
  const weights = options.singleFile === true ? await embedded(used) : await shared(directory, used);
  throwIfAborted(signal, "the export");
  onProgress?.("models");
  for (const [file, model] of [
    [BUNDLE_FILES.score, graphs.score],
    [BUNDLE_FILES.gradient, graphs.gradient],
  ] as const) {
    await writeFile(join(directory, file), encodeStandard(model, weights, directory, options.version));
    throwIfAborted(signal, "the export");
  }
  const dtypes = [...new Set([...used.values()].map(({ dtype }) => dtype))].sort();
  const described = await describeBundle(options, graphs, dtypes);
  onProgress?.("check");
  const test = await knownAnswer(directory, options, described);
  onProgress?.("files");
  await writeTexts(directory, options, { ...described, test });
  const manifest = { ...described, test, files: await listFiles(directory) };
  await writeFile(join(directory, BUNDLE_FILES.manifest), `${JSON.stringify(manifest, undefined, 2)}\n`);
  return manifest;
}

function encodeStandard(
  graph: Graph,
  weights: ReadonlyMap<string, WeightRef>,
  folder: string,
  version: string,
): Uint8Array {
  return encodeModel(graph, { weights, folder, standard: true, metadata: { "laurel.version": version } });
}

/** The weights in one file of the bundle, in the dtypes they have. */
async function shared(
  directory: string,
  used: ReadonlyMap<string, WeightEntry>,
): Promise<ReadonlyMap<string, WeightEntry>> {
  const path = join(directory, BUNDLE_FILES.weights);
  const sources = [...used].map(([name, entry]) => {
    const { dtype, shape } = entry;
    return [name, { dtype, shape, read: () => readEntry(entry) }] as const;
  });
  await saveSafetensors(path, new Map(sources), { format: "pt" });
  return (await openSafetensors(path)).entries;
}

async function embedded(used: ReadonlyMap<string, WeightEntry>): Promise<ReadonlyMap<string, Tensor>> {
  const bytes = [...used.values()].reduce((sum, { length }) => sum + length, 0);
  if (bytes > LARGEST_SINGLE_FILE) {
    const size = (bytes / 1e9).toFixed(1);
    throw new UsageError(`single file: expected weights below 2 GB, got ${size} GB; leave them in a file of their own`);
  }
  const tensors = new Map<string, Tensor>();
  for (const [name, entry] of used) tensors.set(name, await readEntry(entry));
  return tensors;
}

/** Runs both models as they were written, on an input made by rule. */
async function knownAnswer(
  directory: string,
  { members, batch, from, device, signal }: BundleOptions,
  { picture, models }: Pick<RewardManifest, "picture" | "models">,
): Promise<RewardManifest["test"]> {
  const rows = typeof batch === "number" ? batch : 1;
  const prompts = Array.from({ length: rows }, (_, i) => TEST_PROMPTS[i % TEST_PROMPTS.length]!);
  const input = from === "image" ? inputRecipe(0, 1) : inputRecipe(-2, 2);
  const shape = [rows, ...(picture.shape.slice(1) as number[])];
  const feeds: Record<string, Tensor> = { [from]: recipeInput(input, shape) };
  const texts: Record<string, Tensor> = Object.assign(
    {},
    ...members.map(({ name, network }) => network.textFeeds(name, prompts).feeds),
  );
  const upstream = Array.from({ length: rows }, (_, i) => 1 + i / 2);
  const run = async (model: RewardManifest["models"]["score"], extra: Record<string, Tensor>) => {
    const program = await device.load(join(directory, model.file), { label: model.file, ...modelPorts(model) });
    try {
      return await program.run({ ...feeds, ...texts, ...extra }, { signal });
    } finally {
      await program.dispose();
    }
  };
  const forward = await run(models.score, {});
  const both = await run(models.gradient, {
    upstream: { dtype: "float32", shape: [rows], data: Float32Array.from(upstream) },
  });
  const scores = Array.from(forward["score"]!.data as Float32Array);
  const again = Array.from(both["score"]!.data as Float32Array);
  const slope = both["gradient"]!.data as Float32Array;
  const tolerance = { score: 1e-3, gradient: 1e-3 };
  if (scores.some((score, i) => !(Math.abs(score - again[i]!) <= tolerance.score))) {
    throw new InternalError(
      `${directory}: expected equal scores of both models, got ${scores.join()} and ${again.join()}`,
    );
  }
  return {
    prompts,
    ids: Object.fromEntries(Object.entries(texts).map(([name, tensor]) => [name, rowsOf(tensor)])),
    input,
    shape,
    upstream,
    scores,
    gradientNorm: norm(slope),
    gradientFirst: Array.from(slope.subarray(0, FIRST_VALUES)),
    tolerance,
  };
}

function rowsOf({ shape, data }: Tensor): number[][] {
  const [rows = 0, length = 0] = shape;
  const numbers = Array.from(data as BigInt64Array, Number);
  return Array.from({ length: rows }, (_, i) => numbers.slice(i * length, (i + 1) * length));
}

async function writeTexts(
  directory: string,
  { members }: BundleOptions,
  manifest: Omit<RewardManifest, "files">,
): Promise<void> {
  for (const { name, network } of members) {
    if (network.tokenizer === undefined) continue;
    const path = join(directory, tokenizerFile(name));
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, `${JSON.stringify(network.tokenizer.description)}\n`);
  }
  for (const name of await readdir(CONSUMERS)) await copyFile(join(CONSUMERS, name), join(directory, name));
  await writeFile(join(directory, "README.md"), bundleReadme(manifest));
}

/** Every file with size and digest, in the order of their names. */
async function listFiles(directory: string): Promise<RewardManifest["files"]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(directory.length + 1)
        .split("\\")
        .join("/"),
    )
    .sort();
  return Promise.all(
    paths.map(async (path) => {
      const file = join(directory, path);
      return { path, bytes: (await stat(file)).size, sha256: await sha256File(file) };
    }),
  );
}
