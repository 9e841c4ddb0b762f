/** @file A differentiable reward, or a weighted sum of several, written as a folder of plain ONNX that other programs use. */

import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { LaurelError, UsageError } from "../errors.js";
import { decoderGraph, readNetworkConfigs } from "../diffusion/networks.js";
import { readModel } from "../diffusion/read-model.js";
import type { PictureKind } from "../export/reward/graphs.js";
import { readRewardManifest, type RewardManifest } from "../export/reward/manifest.js";
import { type BundleOptions, type ExportStage, writeBundle } from "../export/reward/write-bundle.js";
import { AUTOENCODER_IGNORED_KEYS, AUTOENCODER_KEYS_BEYOND_DECODER } from "../models/autoencoder-kl.js";
import { EMBEDDED_MODELS, packageVersion } from "../pipeline/package-info.js";
import type { Reward } from "../rewards/contract.js";
import type { ImageSize } from "../rewards/preprocess-graph.js";
import { type Device, openDevice } from "../runtime/device.js";
import type { DeviceChoice } from "../runtime/execution-providers.js";
import { temporaryName } from "../util/files.js";
import { describeSystemError, isMissing } from "../util/read-file.js";
import { renameDeprecatedAttention } from "../weights/layouts/deprecated-attention.js";
import { resolveWeights } from "../weights/resolve.js";
import { resolveModel } from "./named-models.js";
import { expectDifferentiable, openNamedReward } from "./named-rewards.js";

/** A reward of the sum. */
export interface RewardPart {
  /** `image-reward` or `clip-score` for those that ship inside, a file or folder of either kind, or an open reward. */
  readonly reward: string | Reward;
  /** Its factor in the sum. @default 1 */
  readonly weight?: number | undefined;
}

/** What is exported, and where to. */
export interface ExportRewardOptions {
  /** The folder to write. */
  readonly out: string;
  /** @default ImageReward of the demo world */
  readonly rewards?: readonly RewardPart[] | undefined;
  /**
   * What the models begin with: normalised `pixels` of the reward's own size, an `image` in [0, 1] of `size`, or the `latents` of `model`.
   * @default "image"
   */
  readonly from?: PictureKind | undefined;
  /** Of the picture. @default for an image, the reward's own size; for latents, the size the model was trained at */
  readonly size?: ImageSize | undefined;
  /** Rows of every run. @default each run chooses */
  readonly batch?: number | undefined;
  /** Diffusers folder whose image decoder stands in front of the reward. @default for latents, the demo model */
  readonly model?: string | undefined;
  /** Weights inside of each model instead of once beside both. @default false */
  readonly singleFile?: boolean | undefined;
  /** Replaces an earlier export. @default false */
  readonly force?: boolean | undefined;
  /** Where models are opened and the written ones are tried. @default a device for as long as it takes */
  readonly device?: Device | undefined;
  /** What that device runs on, where none is given. @default "cpu" */
  readonly executionProvider?: DeviceChoice | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called when a stage begins. */
  readonly onProgress?: ((stage: ExportStage) => void) | undefined;
}

/** What was exported. */
export interface ExportedReward {
  /** Absolute. */
  readonly directory: string;
  readonly manifest: RewardManifest;
  /** Of all files but the manifest. */
  readonly bytes: number;
}

/**
 * Exports a reward. The folder appears when it is complete; until then, and after any error, there is what was there before.
 * @throws UsageError for a folder that is taken, a reward without a gradient, or sizes that do not fit; ModelError for files that are not what they
 * should be; CancelledError
 */
export async function exportReward(options: ExportRewardOptions): Promise<ExportedReward> {
  const directory = resolve(options.out);
  await checkPlace(directory, options.force ?? false);
  const device = options.device ?? openDevice({ executionProvider: options.executionProvider });
  const temporary = temporaryName(directory);
  try {
    const bundle = await resolveOptions(options, device);
    await mkdir(temporary, { recursive: true });
    const manifest = await writeBundle(temporary, bundle);
    await replaceFolder(temporary, directory);
    return { directory, manifest, bytes: manifest.files.reduce((sum, { bytes }) => sum + bytes, 0) };
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw explain(directory, error);
  } finally {
    if (options.device === undefined) await device.close();
  }
}

function explain(directory: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof LaurelError || code === undefined) return error;
  const actual = code === "ENOSPC" || code === "EDQUOT" ? "a full disk" : describeSystemError(error);
  return new LaurelError(`${directory}: expected a place to write the reward, got ${actual}; nothing was left there`, {
    cause: error,
  });
}

/** @throws UsageError unless nothing is there, an empty folder, or with `force` an earlier export */
async function checkPlace(directory: string, force: boolean): Promise<void> {
  const status = await stat(directory).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw explain(directory, error);
  });
  if (status === undefined) return;
  if (!status.isDirectory()) throw new UsageError(`${directory}: expected a folder or nothing, got a file`);
  const entries = await readdir(directory);
  if (entries.length === 0) return;
  if (!force) {
    throw new UsageError(`${directory}: expected an empty folder, or force to replace an earlier export, got ${entries.length} entries`); // prettier-ignore
  }
  await readRewardManifest(directory).catch((cause: unknown) => {
    throw new UsageError(`${directory}: expected an earlier export to replace, got another folder`, { cause });
  });
}

/** Puts a finished folder where another, or none, is. */
async function replaceFolder(from: string, to: string): Promise<void> {
  const old = temporaryName(to);
  const moved = await rename(to, old).then(
    () => true,
    (error: unknown) => {
      if (isMissing(error)) return false;
      throw error;
    },
  );
  try {
    await rename(from, to);
  } catch (error) {
    if (moved) await rename(old, to);
    throw error;
  }
  if (moved) await rm(old, { recursive: true });
}

async function resolveOptions(options: ExportRewardOptions, device: Device): Promise<BundleOptions> {
  const { from = "image", batch, model, singleFile, signal, onProgress } = options;
  if (batch !== undefined && (!Number.isInteger(batch) || batch < 1)) {
    throw new UsageError(`batch: expected a whole number from 1, got ${batch}`);
  }
  if (from === "pixels" && options.size !== undefined) {
    throw new UsageError("size: expected none for pixels, which have the reward's own, got one");
  }
  if (from !== "latents" && model !== undefined) {
    throw new UsageError(`model: expected one only for latents, got ${model} for ${from}`);
  }
  const members = await openMembers(options.rewards ?? [{ reward: "image-reward" }], device);
  const decoder =
    from === "latents" ? await openDecoder(await resolveModel(model ?? EMBEDDED_MODELS.generator)) : undefined;
  const side = Math.max(...members.map(({ network }) => network.imageSize));
  const size = options.size ?? decoder?.size ?? { width: side, height: side };
  checkSide("width", size.width);
  checkSide("height", size.height);
  return { members, decoder, from, size, batch: batch ?? "N", singleFile, version: packageVersion(), device, signal, onProgress }; // prettier-ignore
}

function checkSide(name: string, value: number): void {
  if (!Number.isInteger(value) || value < 8 || value > 8192) {
    throw new UsageError(`size: expected a ${name} of 8 to 8192 pixels, got ${value}`);
  }
}

async function openMembers(parts: readonly RewardPart[], device: Device): Promise<BundleOptions["members"]> {
  if (parts.length === 0) throw new UsageError("rewards: expected at least one, got none");
  const taken = new Map<string, number>();
  const members: BundleOptions["members"][number][] = [];
  for (const { reward: given, weight = 1 } of parts) {
    if (!Number.isFinite(weight) || weight === 0) {
      throw new UsageError(`weight: expected a number other than 0, got ${weight}`);
    }
    const opened = typeof given === "string" ? await openNamedReward(given, device) : given;
    const reward = expectDifferentiable(opened, "rewards");
    const repeated = (taken.get(reward.name) ?? 0) + 1;
    taken.set(reward.name, repeated);
    const name = repeated === 1 ? reward.name : `${reward.name}-${repeated}`;
    members.push({ name, weight, network: reward.network, reward });
  }
  return members;
}

type NamedDecoder = NonNullable<BundleOptions["decoder"]> & { readonly size: ImageSize };

async function openDecoder(directory: string): Promise<NamedDecoder> {
  const folder = await readModel(directory);
  const { autoencoder, factor, native } = readNetworkConfigs(folder);
  const { parameters } = decoderGraph(autoencoder, native);
  const weights = resolveWeights(parameters, await folder.openWeights("vae"), {
    where: "AutoencoderKL",
    rename: renameDeprecatedAttention,
    ignore: [...AUTOENCODER_IGNORED_KEYS, ...AUTOENCODER_KEYS_BEYOND_DECODER],
  });
  const size = { width: native.width * factor, height: native.height * factor };
  return { name: folder.name, config: autoencoder, weights, size };
}
