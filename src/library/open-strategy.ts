/** @file Any strategy by its settings, with what it needs opened. */

import type { ImageBackend } from "../backends/contract.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import type { Reward } from "../rewards/contract.js";
import type { Strategy } from "../strategies/contract.js";
import { strategyOf } from "../strategies/open.js";
import type { ProposalJournal, ProposalRecord } from "../strategies/refine/llm.js";
import type { StrategySettings } from "../strategies/settings.js";
import { checkRefiner, openRefiner, type RefinerPlace } from "./refiners.js";

/** What a strategy works beside. */
export interface StrategyPlace {
  /** Decides which vocabulary `refine` takes where its settings name none. */
  readonly backend: ImageBackend;
  /** Tells a language model which prompts are too long to be read. */
  readonly reward: Reward;
  /** Folder of the run, whose lock is held: what a language model proposed is kept there, and not asked again. @default it is kept in memory */
  readonly directory?: string | undefined;
}

/** A strategy, and what it holds. */
export interface OpenedStrategy {
  readonly strategy: Strategy;
  /** Gives back what it holds. */
  close(): Promise<void>;
}

/**
 * Opens the strategy that settings stand for, for one prompt. `refine` reads its vocabulary, or opens its language model.
 * @throws UsageError for settings out of range, or a vocabulary or a language model that cannot be had
 */
export async function openStrategy(
  settings: StrategySettings,
  { backend, reward, directory }: StrategyPlace,
): Promise<OpenedStrategy> {
  if (settings.name !== "refine") return { strategy: strategyOf(settings), close: () => Promise.resolve() };
  const opened = await openRefiner(settings, placeOf(backend), reward, () => openProposals(directory));
  return {
    strategy: strategyOf(settings, opened.forItem(0)),
    close: async () => opened.close?.(),
  };
}

/** Reads what the settings of a strategy name. @throws UsageError for a vocabulary or a language model that there is none of, or that is wrong */
export async function checkStrategyFiles(settings: StrategySettings, backend: ImageBackend): Promise<void> {
  if (settings.name === "refine") await checkRefiner(settings, placeOf(backend));
}

function placeOf({ model }: ImageBackend): RefinerPlace {
  return { where: "strategy refine", demo: model.path === EMBEDDED_MODELS.generator };
}

/** Proposals of one refinement: those in a run's folder, or in memory. */
async function openProposals(directory: string | undefined) {
  if (directory !== undefined) {
    const { ProposalLines } = await import("../pipeline/execute/proposals.js");
    const lines = await ProposalLines.open(directory, () => false);
    return { of: () => lines.of(0, 0), close: () => lines.close() };
  }
  const records: ProposalRecord[] = [];
  const journal: ProposalJournal = {
    records,
    add: (record) => {
      records.push(record);
      return Promise.resolve();
    },
  };
  return { of: () => journal, close: () => Promise.resolve() };
}
