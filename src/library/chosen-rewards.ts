/** @file What chooses and what watches: one reward or several by their weights, and those held out, from names and paths. */

import { UsageError } from "../errors.js";
import type { Reward, ScoreReference } from "../rewards/contract.js";
import { type EnsembleMember, openEnsemble } from "../rewards/ensemble.js";
import { WatchedReward } from "../rewards/held-out.js";
import type { Device } from "../runtime/device.js";
import { rewardLocation } from "../weights/hub/location.js";
import { openNamedReward } from "./named-rewards.js";

/** A reward that chooses. */
export interface ChosenReward {
  /** As {@link openNamedReward} takes it. */
  readonly reward: string;
  /** Its factor in the sum. */
  readonly weight: number;
  /** Where its scores lie. @default what the reward knows of itself */
  readonly mean?: number | undefined;
  readonly std?: number | undefined;
}

/** The rewards of a run. */
export interface RewardChoice {
  /** None is the reward that ships inside. One of weight 1 is taken as it is; several are summed, each brought to the same scale. */
  readonly rewards: readonly ChosenReward[];
  /** Scored and reported, and never used for choosing. */
  readonly heldOut: readonly string[];
}

/** Nothing was chosen: the reward that ships inside. */
export const DEFAULT_CHOICE: RewardChoice = { rewards: [], heldOut: [] };

/**
 * Reads `image-reward=1,aesthetic=0.3`: names or paths, with weights where they are not 1.
 * @param texts each with one or several; paths are made absolute
 * @throws UsageError for a weight that is 0 or no number, or an empty name
 */
export function parseRewards(texts: readonly string[], where = "--reward"): ChosenReward[] {
  return commaSeparated(texts, where).map((text) => {
    const [, name = text, factor] = /^(.+)=([^=/\\]*)$/.exec(text) ?? [];
    const weight = factor === undefined ? 1 : factor.trim() === "" ? Number.NaN : Number(factor);
    if (!Number.isFinite(weight) || weight === 0) {
      throw new UsageError(
        `${where}: expected a number other than 0 as the weight of ${name}, got ${JSON.stringify(factor)}`,
      );
    }
    return { reward: rewardLocation(name), weight };
  });
}

/** Reads `clip-score,aesthetic`. @throws UsageError for an empty name */
export function parseHeldOut(texts: readonly string[], where = "--held-out"): string[] {
  return commaSeparated(texts, where).map((text) => rewardLocation(text));
}

function commaSeparated(texts: readonly string[], where: string): string[] {
  return texts.flatMap((text) =>
    text.split(",").map((part) => {
      if (part.trim() === "")
        throw new UsageError(`${where}: expected rewards between commas, got ${JSON.stringify(text)}`);
      return part.trim();
    }),
  );
}

/**
 * Opens what was chosen, as one reward whose results tell of every member and of what watches.
 * @param open opens one of them; undefined is the one that is taken where none is chosen
 * @param device where an ensemble computes gradients @default nowhere
 * @throws UsageError for a reward that both chooses and is held out, or whose scores cannot be scaled; ModelError as {@link openNamedReward}
 */
export async function openChosenRewards(
  { rewards, heldOut }: RewardChoice,
  open: (name: string | undefined) => Promise<Reward>,
  device?: Device,
): Promise<Reward> {
  const guide = await openGuide(rewards, open, device);
  if (heldOut.length === 0) return guide;
  const watching: Reward[] = [];
  for (const name of heldOut) watching.push(await open(name));
  return new WatchedReward(guide, watching);
}

async function openGuide(
  rewards: readonly ChosenReward[],
  open: (name: string | undefined) => Promise<Reward>,
  device: Device | undefined,
): Promise<Reward> {
  const [first] = rewards;
  if (first === undefined) return open(undefined);
  if (rewards.length === 1 && first.weight === 1) return open(first.reward);
  const members: EnsembleMember[] = [];
  for (const { reward, weight, mean, std } of rewards) {
    const opened = await open(reward);
    members.push({ reward: opened, weight, reference: stated(opened.reference, mean, std) });
  }
  return openEnsemble(members, device);
}

/**
 * Opens one reward or several as one, and those held out beside them, on a device.
 * @throws as {@link openNamedReward}, and UsageError for weights and names that do not go together
 */
export function openRewards(device: Device, choice: RewardChoice): Promise<Reward> {
  return openChosenRewards(choice, (name = "image-reward") => openNamedReward(name, device), device);
}

/** What is said of a reward's scores, before what it knows of itself. */
function stated(
  own: ScoreReference | undefined,
  mean: number | undefined,
  std: number | undefined,
): ScoreReference | undefined {
  if (mean === undefined && std === undefined) return own;
  return { mean: mean ?? own?.mean ?? 0, std: std ?? own?.std ?? 1, source: "as stated" };
}
