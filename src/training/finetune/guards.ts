/** @file The guards of reward fine-tuning: whether the reward is being hacked, whether pictures become alike, and which checkpoint to keep. */

import { mean } from "../../util/statistics.js";
import type { ValidationRecord } from "./records.js";

/** What is watched, each against the base model on the same prompts and seeds. `null` and `false` switch a guard off. */
export interface GuardSettings {
  /** Stop the training on an alarm; without, alarms are told and training goes on. */
  readonly alarm: boolean;
  /** A held-out reward must not fall by this many standard errors of the paired differences. */
  readonly standardErrors: number | null;
  /** Least share of the base's diversity. */
  readonly diversityFloor: number | null;
  /** Mean squared difference of the noise predictions to the base's above which there is a warning. The noise itself has variance 1. */
  readonly divergenceLimit: number | null;
}

/** All guards on. */
export const DEFAULT_GUARDS: GuardSettings = {
  alarm: true,
  standardErrors: 2,
  diversityFloor: 0.8,
  divergenceLimit: 0.05,
};

/** No guard: the last checkpoint is kept, whatever became of the model. */
export const NO_GUARDS: GuardSettings = {
  alarm: false,
  standardErrors: null,
  diversityFloor: null,
  divergenceLimit: null,
};

/** What it means that a guard is off; for the user, before training begins. */
export const CONSEQUENCES: Readonly<Record<keyof GuardSettings, string>> = {
  alarm:
    "without the alarm, training goes on when the model fools the reward: later steps cost time and may all be useless",
  standardErrors:
    "without the held-out reward, reward hacking is not noticed: a checkpoint that fools the guide and looks worse to people counts as the best",
  diversityFloor:
    "without the diversity floor, nothing stops the model from drawing the same picture for every seed: best-of-n on it then gains little",
  divergenceLimit:
    "without the divergence limit, nothing tells how far the model has moved from the base: abilities that no reward measures may be lost unseen",
};

/** The consequences of the guards that are off, or have nothing to watch because no reward is held out. */
export function guardConsequences(settings: GuardSettings, heldOut: readonly string[]): string[] {
  const off = (Object.keys(CONSEQUENCES) as (keyof GuardSettings)[]).filter(
    (name) => settings[name] === null || settings[name] === false,
  );
  const blind = heldOut.length === 0 && settings.standardErrors !== null;
  return [...(blind ? (["standardErrors"] as const) : []), ...off].map((name) => CONSEQUENCES[name]);
}

/** How a reward changed from the base on the same pictures' prompts and seeds. */
export interface RewardChange {
  readonly reward: string;
  /** Mean scores of the pictures that both have a score of. */
  readonly base: number;
  readonly now: number;
  /** Mean of the paired differences. */
  readonly difference: number;
  /** Of that mean; NaN with fewer than two pairs. */
  readonly standardError: number;
  /** Independent pairs: pictures, or prompts when several pictures are of one. */
  readonly pairs: number;
}

/** Why training should stop. */
export interface GuardAlarm {
  readonly kind: "hacking" | "diversity";
  /** One sentence with the numbers. */
  readonly text: string;
}

/** What the guards say of one validation. */
export interface GuardVerdict {
  readonly step: number;
  readonly guide: readonly RewardChange[];
  readonly heldOut: readonly RewardChange[];
  /** Mean change of the guiding rewards, each in standard deviations of its scores on the base's pictures. */
  readonly guideGain: number;
  readonly guideRises: boolean;
  /** Mean diversities in bits and their quotient; null when it was not measured. */
  readonly diversity: { readonly base: number; readonly now: number; readonly share: number } | null;
  readonly divergence: number | null;
  /** Whether this checkpoint may be kept: all rewards are numbers, no held-out one fell, diversity is above its floor. */
  readonly passes: boolean;
  /** The hacking alarm comes before that of diversity. */
  readonly alarm: GuardAlarm | null;
  readonly warnings: readonly string[];
}

/**
 * Compares a validation with that of the base.
 * @param prompts the prompt of every validation picture, so that pictures of one prompt are not counted as independent; @default each picture has its own
 */
export function judgeValidation(
  base: ValidationRecord,
  record: ValidationRecord,
  settings: GuardSettings,
  prompts?: readonly string[],
): GuardVerdict {
  const change = (reward: string): RewardChange => rewardChange(reward, base, record, prompts);
  const guide = record.guide.map(change);
  const heldOut = record.heldOut.map(change);
  const guideGain = mean(guide.map((one) => one.difference / scaleOf(base.scores[one.reward] ?? [])));
  const guideRises = guideGain > 0;
  const diversity = diversityChange(base, record);
  const fallen = heldOut.filter((one) => hasFallen(one, settings.standardErrors));
  const floor = settings.diversityFloor;
  const alike = floor !== null && diversity !== null && diversity.share < floor;
  const unknown = settings.standardErrors === null ? guide : [...guide, ...heldOut];
  const unread = unknown.filter(({ difference }) => Number.isNaN(difference));
  const alarms: GuardAlarm[] = [];
  if (guideRises && fallen.length > 0) alarms.push(hackingAlarm(record.step, guide, fallen));
  if (alike) alarms.push(diversityAlarm(record.step, diversity, floor));
  return {
    step: record.step,
    guide,
    heldOut,
    guideGain,
    guideRises,
    diversity,
    divergence: record.divergence,
    passes: fallen.length === 0 && !alike && unread.length === 0,
    alarm: alarms[0] ?? null,
    warnings: [
      ...alarms.slice(1).map(({ text }) => text),
      ...(guideRises ? [] : fallen.map((one) => `step ${record.step}: ${changed(one)}, and the guide does not rise`)),
      ...unread.map((one) => `step ${record.step}: ${one.reward}: expected scores, got none that is a number`),
      ...divergenceWarnings(record, settings.divergenceLimit),
    ],
  };
}

function hasFallen({ difference, standardError }: RewardChange, limit: number | null): boolean {
  return limit !== null && difference < 0 && difference <= -limit * standardError;
}

function rewardChange(
  reward: string,
  base: ValidationRecord,
  record: ValidationRecord,
  prompts: readonly string[] | undefined,
): RewardChange {
  const before = base.scores[reward] ?? [];
  const after = record.scores[reward] ?? [];
  const groups = new Map<string | number, { base: number; now: number }[]>();
  for (const [i, now] of after.entries()) {
    const pair = { base: before[i] ?? Number.NaN, now };
    if (!Number.isFinite(pair.base) || !Number.isFinite(now)) continue;
    const key = prompts?.[i] ?? i;
    groups.set(key, [...(groups.get(key) ?? []), pair]);
  }
  const units = [...groups.values()].map((pairs) => ({
    base: mean(pairs.map((one) => one.base)),
    now: mean(pairs.map((one) => one.now)),
  }));
  const differences = units.map((one) => one.now - one.base);
  return {
    reward,
    base: mean(units.map((one) => one.base)),
    now: mean(units.map((one) => one.now)),
    difference: mean(differences),
    standardError: spread(differences) / Math.sqrt(differences.length),
    pairs: differences.length,
  };
}

/** The unit a reward is counted in: the standard deviation of its scores, 1 where they have none. */
function scaleOf(scores: readonly number[]): number {
  const deviation = spread(scores);
  return deviation > 0 ? deviation : 1;
}

/** Standard deviation with n - 1; NaN for fewer than two values. */
function spread(values: readonly number[]): number {
  const known = values.filter(Number.isFinite);
  const middle = mean(known);
  return Math.sqrt(known.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (known.length - 1));
}

function diversityChange(base: ValidationRecord, record: ValidationRecord): GuardVerdict["diversity"] {
  if (base.diversity === null || record.diversity === null) return null;
  const pairs = record.diversity
    .map((now, i) => ({ now, base: base.diversity?.[i] ?? Number.NaN }))
    .filter((pair) => Number.isFinite(pair.now) && Number.isFinite(pair.base));
  const before = mean(pairs.map((pair) => pair.base));
  const after = mean(pairs.map((pair) => pair.now));
  // a base whose pictures are all alike leaves nothing to lose
  return pairs.length === 0 ? null : { base: before, now: after, share: before > 0 ? after / before : 1 };
}

/** `clip-score fell from 0.300 to 0.250 (-0.050, 2.9 standard errors of 64 pairs)` */
function changed({ reward, base, now, difference, standardError, pairs }: RewardChange): string {
  const verb = difference < 0 ? "fell" : "rose";
  const errors = Math.abs(difference / standardError);
  const certainty = Number.isFinite(errors) ? `${errors.toFixed(1)} standard errors of` : "over";
  return `${reward} ${verb} from ${base.toFixed(3)} to ${now.toFixed(3)} (${signed(difference)}, ${certainty} ${pairs} pairs)`;
}

function signed(value: number): string {
  return `${value < 0 ? "-" : "+"}${Math.abs(value).toFixed(3)}`;
}

function hackingAlarm(step: number, guide: readonly RewardChange[], fallen: readonly RewardChange[]): GuardAlarm {
  const held = fallen.map((one) => `held-out ${changed(one)}`).join(" and ");
  const followed = guide.map(changed).join(" and ");
  return { kind: "hacking", text: `step ${step}: reward hacking: ${held} while ${followed}` };
}

function diversityAlarm(
  step: number,
  { base, now, share }: NonNullable<GuardVerdict["diversity"]>,
  floor: number,
): GuardAlarm {
  const percent = `${(100 * share).toFixed(0)} % of the base's`;
  return {
    kind: "diversity",
    text: `step ${step}: pictures become alike: diversity is ${now.toFixed(2)} bits, ${percent} ${base.toFixed(2)}, below the floor of ${(100 * floor).toFixed(0)} %`,
  };
}

function divergenceWarnings({ step, divergence }: ValidationRecord, limit: number | null): string[] {
  if (limit === null || divergence === null || divergence <= limit) return [];
  return [
    `step ${step}: the noise predictions differ from the base's by ${divergence.toPrecision(2)} (mean square), above the limit of ${limit}`,
  ];
}

/** Which checkpoint the guards keep. */
export interface KeptCheckpoint {
  /** 0 is the base. */
  readonly step: number;
  /** One sentence. */
  readonly reason: string;
}

/**
 * The checkpoint to keep: the highest guide among those that pass, the base among them. Of settings that watch neither a held-out reward
 * nor diversity it is the last one, as there is nothing to choose by but what training itself raises.
 * @param verdicts of every validation after the base's, in order of steps
 */
export function keptCheckpoint(verdicts: readonly GuardVerdict[], settings: GuardSettings): KeptCheckpoint {
  const last = verdicts.at(-1);
  if (last === undefined) return { step: 0, reason: "the base model: nothing was validated after it" };
  if (settings.standardErrors === null && settings.diversityFloor === null) {
    return { step: last.step, reason: `step ${last.step}, the last one: no guard chooses among the checkpoints` };
  }
  const passing = verdicts.filter(({ passes }) => passes);
  if (passing.length === 0) return { step: 0, reason: "the base model: no checkpoint passes the guards" };
  const best = passing.reduce((highest, one) => (one.guideGain > highest.guideGain ? one : highest));
  if (best.guideGain <= 0) {
    return { step: 0, reason: "the base model: no checkpoint that passes the guards has a higher guide" };
  }
  const gains = best.guide.map(({ reward, difference }) => `${reward} ${signed(difference)}`).join(", ");
  const count =
    passing.length === verdicts.length ? `all ${verdicts.length}` : `${passing.length} of ${verdicts.length}`;
  return {
    step: best.step,
    reason: `step ${best.step}: the highest guide (${gains}) of the checkpoints that pass the guards (${count})`,
  };
}
