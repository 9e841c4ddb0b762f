/** @file What judges in a command: `--reward`, `--held-out` and `--reward-model`, opened in its session. */

import { isAbsolute } from "node:path";
import { UsageError } from "../errors.js";
import { openChosenRewards, parseHeldOut, parseRewards, type RewardChoice } from "../library/chosen-rewards.js";
import type { PipelinePlan } from "../pipeline/document/plan.js";
import type { Reward } from "../rewards/contract.js";
import { rewardLocation } from "../weights/hub/location.js";
import type { ModelSession } from "./context.js";

/** The options of the commands that score. */
export interface JudgeFlags {
  readonly reward?: readonly string[] | undefined;
  readonly heldOut?: readonly string[] | undefined;
  readonly rewardModel?: string | undefined;
}

/** What judges, by names and paths. */
export interface JudgeSources extends RewardChoice {
  /** The one that stands alone, where no `rewards` are named; null for the one that ships inside. */
  readonly rewardModel: string | null;
}

/** What the options say. @throws UsageError for options that do not go together, or weights that are none */
export function judgesOf({ reward, heldOut = [], rewardModel }: JudgeFlags): JudgeSources {
  if (reward !== undefined && rewardModel !== undefined) {
    throw new UsageError("--reward-model: expected none beside --reward, which names all that choose");
  }
  const watching = parseHeldOut(heldOut);
  if (reward !== undefined) return { rewardModel: null, rewards: parseRewards(reward), heldOut: watching };
  const location = rewardModel === undefined ? null : rewardLocation(rewardModel);
  return location === null || isAbsolute(location)
    ? { rewardModel: location, rewards: [], heldOut: watching }
    : { rewardModel: null, rewards: [{ reward: location, weight: 1 }], heldOut: watching };
}

/** What a pipeline's plan says. */
export function judgesOfPlan({ reward: { model, rewards = [], heldOut = [] } }: PipelinePlan): JudgeSources {
  return { rewardModel: model, rewards, heldOut };
}

/** Opens what judges, as one reward. @throws ModelError, UsageError as {@link openChosenRewards} */
export function openJudges(session: ModelSession, { rewardModel, ...choice }: JudgeSources): Promise<Reward> {
  return openChosenRewards(choice, (name) =>
    name === undefined ? session.openReward(rewardModel) : session.openNamedReward(name),
  );
}
