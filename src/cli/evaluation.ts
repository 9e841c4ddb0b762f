/** @file What `laurel eval preferences` and `laurel eval models` share: rewards score the pictures of many prompts, one reward after the other. */

import { basename, join, resolve } from "node:path";
import { CancelledError, UsageError } from "../errors.js";
import {
  expectPictures,
  keptScoresFile,
  type PromptPictures,
  readScores,
  type ScoresById,
  scorePrompts,
} from "../library/eval-scores.js";
import { unlessAborted } from "../util/abort.js";
import { sha256 } from "../util/files.js";
import type { Interval } from "../util/statistics.js";
import type { CommandContext } from "./context.js";
import { shownPath, warningLine } from "./output.js";
import { openProgress, type ProgressDisplay } from "./progress.js";
import { useSession } from "./use-session.js";

/** What is evaluated, and how. */
export interface EvaluatedFlags {
  readonly reward?: readonly string[] | undefined;
  readonly scores?: readonly string[] | undefined;
  readonly keep?: string | undefined;
  /** What computes; another than the cpu rounds otherwise, so that its scores are kept apart. */
  readonly device?: string | undefined;
  readonly quiet?: boolean | undefined;
}

/** Scores of a reward or a file. */
export interface Evaluated {
  /** As it was given, without folders where that tells it apart. */
  readonly name: string;
  readonly scores: ScoresById;
  /** The file that has the scores, absolute. */
  readonly file: string;
}

/** What {@link evaluated} gives. */
export interface EvaluatedRewards {
  readonly models: readonly Evaluated[];
  /** Pictures that could not be read, with why. */
  readonly unreadable: readonly string[];
  readonly warnings: readonly string[];
}

/** What is scored. */
export interface EvaluatedMaterial {
  readonly prompts: readonly PromptPictures[];
  /** Words before its digest in the name of the folder of scores. */
  readonly kind: string;
  /** What tells it apart from other material of its kind. */
  readonly identity: string;
}

/** @throws UsageError when nothing is to be evaluated: before any file is read */
export function expectEvaluated({ reward = [], scores = [] }: EvaluatedFlags): void {
  if (reward.length + scores.length > 0) return;
  throw new UsageError("--reward, --scores: expected at least one reward, or a file of scores, got none");
}

/**
 * Scores the pictures by every reward, and reads the files of scores. Each reward is opened when its turn comes, so that one is in memory at a time.
 * @throws UsageError for pictures or scores that are missing, before any model is opened; CancelledError saying that the command can be repeated
 */
export async function evaluated(
  context: CommandContext,
  flags: EvaluatedFlags,
  { prompts, kind, identity }: EvaluatedMaterial,
): Promise<EvaluatedRewards> {
  const { reward: rewards = [], scores: files = [] } = flags;
  const given: Evaluated[] = [];
  for (const one of files) given.push({ name: one, file: resolve(one), scores: await readScores(one, prompts) });
  const noted = { unreadable: new Set<string>(), warnings: new Set<string>() };
  const models: Evaluated[] = [];
  if (rewards.length > 0) {
    await expectPictures(kind, prompts);
    const { keep: folder = join("outputs", "evaluations", `${kind}-${sha256(identity).slice(0, 8)}`), device = "cpu" } =
      flags;
    const keep = resolve(folder, device === "cpu" ? "" : device);
    const pictures = prompts.reduce((sum, one) => sum + one.pictures.length, 0);
    const bar = await progressOf(context, flags, pictures * rewards.length);
    try {
      for (const name of rewards) models.push(await scoreBy(context, name, { prompts, keep, bar, noted }));
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error;
      const message = `cancelled with ${bar.finished()} of ${pictures * rewards.length} pictures scored; the same command goes on from there`;
      throw new CancelledError(message, { cause: error });
    } finally {
      bar.stop();
    }
  }
  return { models: named([...models, ...given]), unreadable: [...noted.unreadable], warnings: [...noted.warnings] };
}

/** A bar over the pictures of all rewards. */
interface TotalBar extends Pick<ProgressDisplay, "stop"> {
  /** Pictures of the reward at work. */
  update(finished: number): void;
  /** The next reward begins. */
  next(): void;
  finished(): number;
}

async function progressOf({ terminal }: CommandContext, { quiet }: EvaluatedFlags, total: number): Promise<TotalBar> {
  const progress = await openProgress(terminal, { quiet, unit: "pictures" });
  let [before, current] = [0, 0];
  return {
    update: (finished) => {
      current = finished;
      progress.update({ finished: before + current, total });
    },
    next: () => {
      before += current;
      current = 0;
    },
    finished: () => before + current,
    stop: () => progress.stop(),
  };
}

/** What {@link scoreBy} works with. */
interface Scoring {
  readonly prompts: readonly PromptPictures[];
  readonly keep: string;
  readonly bar: TotalBar;
  readonly noted: { readonly unreadable: Set<string>; readonly warnings: Set<string> };
}

function scoreBy(context: CommandContext, name: string, { prompts, keep, bar, noted }: Scoring): Promise<Evaluated> {
  const { signal } = context;
  return useSession(context, async (session) => {
    const reward = await unlessAborted(session.openNamedReward(name), signal);
    const kept = await keptScoresFile(keep, reward);
    const onProgress = (finished: number): void => bar.update(finished);
    const { scores, unreadable, warnings } = await scorePrompts(reward, prompts, { file: kept, signal, onProgress });
    bar.next();
    unreadable.forEach((message) => noted.unreadable.add(message));
    warnings.forEach((message) => noted.warnings.add(message));
    return { name, scores, file: kept };
  });
}

/** Names without their folders and endings, where these still differ. */
function named(models: readonly Evaluated[]): Evaluated[] {
  const short = models.map(({ name }) => basename(name).replace(/\.jsonl?$/, ""));
  const plain = new Set(short).size === short.length;
  return models.map((one, i) => ({ ...one, name: plain ? short[i]! : one.name }));
}

/** Remarks of each kind that are printed: thousands of prompts may each be too long. */
const SHOWN_REMARKS = 5;

/** Warnings and unreadable pictures for stderr, and where the scores are. */
export function tellRemarks({ terminal }: CommandContext, rewards: EvaluatedRewards, { quiet }: EvaluatedFlags): void {
  const tell = (kind: string, messages: readonly string[]): void => {
    const left = messages.length - SHOWN_REMARKS;
    const shown = messages.slice(0, SHOWN_REMARKS).map((message) => `${kind}: ${message}`);
    for (const line of left > 0 ? [...shown, `${kind}: and ${left} more (--json has them all)`] : shown) {
      terminal.stderr.write(`${warningLine(terminal, line)}\n`);
    }
  };
  tell("warning", rewards.warnings);
  tell("unreadable", rewards.unreadable);
  if (quiet === true) return;
  for (const { name, file: kept } of rewards.models) terminal.stderr.write(`scores of ${name}: ${shownPath(kept)}\n`);
}

/** `65.1 (63.6 to 66.5)`, in per cent. */
export function percentInterval({ estimate, low, high }: Interval): string {
  const shown = (value: number): string => (100 * value).toFixed(1);
  if (Number.isNaN(estimate)) return "-";
  return low === high ? shown(estimate) : `${shown(estimate)} (${shown(low)} to ${shown(high)})`;
}
