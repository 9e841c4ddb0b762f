/** @file Rewards by name or path: those of the demo world and published ones have names, others are a file or folder, told by what is in it. */

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { ModelError, UsageError } from "../errors.js";
import { EMBEDDED_MODELS, EMBEDDED_SCORES } from "../pipeline/package-info.js";
import { openAesthetic } from "../rewards/aesthetic.js";
import { openBlipScore } from "../rewards/blip-score.js";
import { openClipScore } from "../rewards/clip-score.js";
import type { DifferentiableReward, Reward, ScoreReference } from "../rewards/contract.js";
import { isDifferentiable } from "../rewards/ensemble.js";
import { openHps } from "../rewards/hps.js";
import { ImageReward, type ImageRewardOptions, openImageReward } from "../rewards/image-reward.js";
import { openPickScore } from "../rewards/pickscore.js";
import type { Device } from "../runtime/device.js";
import { parseJson, readText, readTextIfThere } from "../util/read-file.js";
import { mean } from "../util/statistics.js";
import { type RewardKindName, splitKind } from "../weights/hub/location.js";
import { isOpenClip } from "../weights/layouts/open-clip.js";
import { openWeights } from "../weights/open.js";
import { resolveReward, resolveRewardPath } from "./named-models.js";

/** The rewards that ship inside, by name. */
const EMBEDDED: Readonly<Record<string, string>> = {
  "image-reward": EMBEDDED_MODELS.reward,
  "clip-score": EMBEDDED_MODELS.judge,
};

/** The names of the rewards that ship inside; whatever else names a reward is a published one or a path. */
export const REWARD_NAMES: readonly string[] = Object.keys(EMBEDDED);

/** Short names of published rewards. */
const SHORT: Readonly<Record<string, string>> = {
  aesthetic: "aesthetic-v2",
  "blip-score": "blip-large",
  pickscore: "pickscore-v1",
  hps: "hps-v2.1",
};

/** What test/reference/reference-scores.js writes. */
interface RecordedScores {
  readonly prompts: number;
  readonly images: number;
  readonly rewards: readonly { readonly name: string; readonly percentiles: readonly number[] }[];
}

/** Where the cosines of the CLIP that ships inside lie, from its recorded scores. */
async function judgeReference(): Promise<ScoreReference | undefined> {
  const text = await readText(EMBEDDED_SCORES, { expected: "the scores of the demo rewards" });
  const { rewards, images, prompts } = parseJson(text, EMBEDDED_SCORES) as RecordedScores;
  const { percentiles = [] } = rewards.find(({ name }) => name === "clip-score") ?? {};
  if (percentiles.length === 0) return undefined;
  const rounded = (value: number): number => Math.round(value * 1e4) / 1e4;
  const centre = mean(percentiles);
  const std = Math.sqrt(mean(percentiles.map((value) => (value - centre) ** 2)));
  const source = `measured on ${images} pictures that the demo model draws for ${prompts} held-out prompts`;
  return { mean: rounded(centre), std: rounded(std), source };
}

/** The CLIP that the published aesthetic head stands on, by its name. */
const AESTHETIC_CLIP = "clip-vit-l-14";

/**
 * Opens a reward:
 * - `image-reward` or `clip-score`, which ship inside and judge pictures of the demo world;
 * - `aesthetic`, `blip-score`, `pickscore`, `hps`, or another name of the catalogue (`image-reward-v1.0`), once it has been fetched;
 * - a file or folder, or `org/repo[@revision][:file]` of the hub's cache, which tells what it is by what it holds; `kind:path` says it, as for PickScore
 *   and a plain CLIP, which are alike.
 * @throws ModelError when a part is missing or of another kind
 */
export async function openNamedReward(
  name: string,
  device: Device,
  options: RewardPrecision = {},
): Promise<DifferentiableReward> {
  const reward = await openAny(name, device, options);
  if (options.dtype !== "int8" || reward instanceof ImageReward) return reward;
  await reward.dispose();
  throw new UsageError(`dtype int8: expected an ImageReward, got ${reward.name}, which has only float32`);
}

/** What a reward computes in: int8 is ImageReward's alone. */
export type RewardPrecision = Pick<ImageRewardOptions, "dtype">;

async function openAny(name: string, device: Device, options: RewardPrecision): Promise<DifferentiableReward> {
  const embedded = EMBEDDED[name] ?? Object.values(EMBEDDED).find((path) => path === name);
  if (embedded !== undefined) {
    return embedded === EMBEDDED_MODELS.judge
      ? openClipScore(embedded, device, { reference: await judgeReference() })
      : openImageReward(embedded, device, options);
  }
  const { kind, rest } = splitKind(SHORT[name] ?? name);
  const named = await resolveReward(rest);
  if (named !== undefined && (kind === undefined || kind === named.kind))
    return openParts(named.kind, named.parts, device, options);
  const path = await resolveRewardPath(rest);
  return openPath(kind ?? (await recognise(path)), path, device, options);
}

/** Opens a reward of the catalogue. */
async function openParts(
  kind: RewardKindName,
  { weights = "", config, tokenizer, clip = "" }: Readonly<Record<string, string>>,
  device: Device,
  options: RewardPrecision,
): Promise<DifferentiableReward> {
  switch (kind) {
    case "image-reward":
      return openImageReward(weights, device, { med: config, tokenizer, ...options });
    case "clip-score":
      return openClipScore(clip, device);
    case "aesthetic":
      return openAesthetic(weights, device, { clip });
    case "blip-score":
      return openBlipScore(weights, device, { config, tokenizer });
    case "pickscore":
      return openPickScore(weights, device, { config, tokenizer });
    case "hps":
      return openHps(weights, device, { config, tokenizer });
    default:
      return kind satisfies never;
  }
}

/** Opens a file or folder, with all that belongs to it beside it. */
async function openPath(
  kind: RewardKindName,
  path: string,
  device: Device,
  options: RewardPrecision,
): Promise<DifferentiableReward> {
  switch (kind) {
    case "image-reward":
      return openImageReward(path, device, options);
    case "clip-score":
      return openClipScore(path, device);
    case "aesthetic":
      return openAesthetic(path, device, { clip: await clipOfAesthetic(path) });
    case "blip-score":
      return openBlipScore(path, device);
    case "pickscore":
      return openPickScore(path, device);
    case "hps":
      return openHps(path, device);
    default:
      return kind satisfies never;
  }
}

/** The CLIP under a head that is given as a file: the folder `clip` beside it, or the published one. */
async function clipOfAesthetic(path: string): Promise<string> {
  const beside = join(path, "..", "clip");
  if ((await stat(beside).catch(() => undefined))?.isDirectory() === true) return beside;
  const named = await resolveReward(AESTHETIC_CLIP).catch((cause: unknown) => {
    throw new ModelError(
      `${path}: expected the CLIP model that the head stands on in ${beside}, or ${AESTHETIC_CLIP} from the hub, got neither; run laurel models pull ${AESTHETIC_CLIP}`,
      { cause },
    );
  });
  return named?.parts["clip"] ?? beside;
}

/** What a file or folder is. What is not recognised is opened as an ImageReward, which says what is missing. */
async function recognise(path: string): Promise<RewardKindName> {
  const described = await modelType(path);
  if (described === "clip") return "clip-score";
  if (described === "blip") return "blip-score";
  if (!/\.(pt|pth|bin|ckpt|safetensors)$/.test(path)) return "image-reward";
  const { entries } = await openWeights(path);
  const has = (pattern: RegExp): boolean => [...entries.keys()].some((key) => pattern.test(key));
  if (isOpenClip(entries)) return "hps";
  if (has(/^mlp\.layers\.0\.weight$/)) return "image-reward";
  if (has(/^layers\.0\.weight$/)) return "aesthetic";
  return has(/^(blip\.)?vision_proj\.weight$/) ? "blip-score" : "image-reward";
}

/** `model_type` of a folder's config.json. */
async function modelType(path: string): Promise<unknown> {
  const file = join(path, "config.json");
  const text = await readTextIfThere(file, { expected: "a model's configuration" });
  const json = text === undefined ? undefined : (parseJson(text, file) as { model_type?: unknown } | null);
  return json?.model_type;
}

/** The reward, as one with a gradient. @throws UsageError when it has no gradient */
export function expectDifferentiable(reward: Reward, where: string): DifferentiableReward {
  if (isDifferentiable(reward)) return reward;
  throw new UsageError(
    `${where}: expected a differentiable reward, with a network that graphs can contain, got ${reward.name}; it may be held out`,
  );
}
