/** @file A reward that chooses, and others that only watch: a gain that they do not see is a gain in fooling the first. */

import { UsageError } from "../errors.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import type { ModelIdentity } from "../weights/identity.js";
import type { Reward, RewardNetwork, RewardOptions, RewardResult, ScoreReference } from "./contract.js";
import { Ensemble, uniqueNames } from "./ensemble.js";
import { networkOf } from "./network-of.js";

/** A reward's scores, with those of held-out rewards told beside them. */
export class WatchedReward implements Reward {
  readonly name: string;
  readonly range: readonly [number, number];
  readonly reference: ScoreReference | undefined;
  readonly model: ModelIdentity;
  /** The rewards that choose nothing, by unique names. */
  readonly heldOut: ReadonlyMap<string, Reward>;

  /** @throws UsageError for a held-out reward that also chooses */
  constructor(
    /** The reward that chooses. */
    readonly guide: Reward,
    heldOut: readonly Reward[],
  ) {
    const guides = guide instanceof Ensemble ? guide.members.map(({ reward }) => reward) : [guide];
    const both = heldOut.find((one) => guides.some((other) => isSame(one, other)));
    if (both !== undefined) {
      throw new UsageError(
        `held out: expected rewards that choose nothing, got ${both.name} (${both.model.name}), which chooses`,
      );
    }
    this.name = guide.name;
    this.range = guide.range;
    this.reference = guide.reference;
    this.model = guide.model;
    const names = uniqueNames(heldOut.map(({ name }) => name));
    this.heldOut = new Map(heldOut.map((reward, i) => [names[i]!, reward]));
  }

  /** Of the reward that chooses, where it shows one. */
  get network(): RewardNetwork | undefined {
    return networkOf(this.guide);
  }

  async score(
    prompt: string,
    images: readonly (RgbImage | SourceImage)[],
    options: RewardOptions = {},
  ): Promise<RewardResult> {
    const result = await this.guide.score(prompt, images, options);
    if (images.length === 0) return result;
    const heldOut: Record<string, readonly number[]> = {};
    const warnings = new Set(result.warnings);
    for (const [name, reward] of this.heldOut) {
      const own = await reward.score(prompt, images, options);
      heldOut[name] = own.scores;
      for (const message of own.warnings) warnings.add(message);
    }
    return { ...result, heldOut, warnings: [...warnings] };
  }

  /** Disposes of all rewards. */
  async dispose(): Promise<void> {
    await Promise.all([this.guide, ...this.heldOut.values()].map((reward) => reward.dispose()));
  }
}

function isSame(a: Reward, b: Reward): boolean {
  return a === b || (a.name === b.name && a.model.path !== undefined && a.model.path === b.model.path);
}
