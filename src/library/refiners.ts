/** @file What proposes prompts: refiners with what they need, and the vocabularies that ship inside. */

import { existsSync, readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import type { ChatConfig } from "../backends/chat/config.js";
import { UsageError } from "../errors.js";
import type { PipelinePlan, PlanStep } from "../pipeline/document/plan.js";
import type { PipelineRun } from "../pipeline/execute/pipeline-run.js";
import type { ProposalLines } from "../pipeline/execute/proposals.js";
import { PACKAGE_FOLDER } from "../pipeline/package-info.js";
import { isTruncationWarning } from "../prompts/truncation.js";
import type { Reward } from "../rewards/contract.js";
import type { Strategy } from "../strategies/contract.js";
import type { Refiner } from "../strategies/refine/contract.js";
import type { ProposalJournal } from "../strategies/refine/llm.js";
import type { Vocabulary } from "../strategies/refine/vocabulary.js";
import { closest } from "../util/closest.js";

type RefineStep = Extract<PlanStep, { kind: "refine" }>;

const VOCABULARIES = join(PACKAGE_FOLDER, "configs", "prompts");

/** What proposes prompts, as it is asked for. */
export interface RefinerChoice {
  /** @default "llm" where `chat` names a language model, else "evolve" */
  readonly refiner?: "evolve" | "llm" | undefined;
  /** For `evolve`: a name or a YAML file. @default "shapes" for the demo model, "general" for others */
  readonly vocabulary?: string | undefined;
  /** For `llm`: a name or a YAML file. */
  readonly chat?: string | undefined;
  /** For `llm`: tokens that may be used. @default what the configuration says */
  readonly tokens?: number | undefined;
}

/** What a refiner is opened beside. */
export interface RefinerPlace {
  /** Stands before messages. */
  readonly where: string;
  /** Whether it writes for the model that ships inside, which knows few words; others draw what people write. */
  readonly demo: boolean;
}

/** The refiners of a run. */
export interface Refiners {
  /** The strategy of a refine step for one item. @throws UsageError for a vocabulary or a language model that cannot be had */
  readonly strategyOf: (step: RefineStep, item: number) => Promise<Strategy>;
  /** Gives back what they hold. */
  close(): Promise<void>;
}

/** The refiners of `run`, opened when a step needs one. @param reward tells which prompts are too long to be read */
export function openRefiners(run: PipelineRun, reward: Reward): Refiners {
  // every item shares what is read from files, and none shares what is learnt
  const opened = new Map<RefineStep, ReturnType<typeof openStep>>();
  return {
    strategyOf: async (step, item) => {
      const { refineWith } = await import("../strategies/refine/refine.js");
      const opening = opened.get(step) ?? openStep(run, reward, step);
      opened.set(step, opening);
      return refineWith((await opening).forItem(item));
    },
    close: async () => {
      for (const one of await Promise.allSettled(opened.values())) {
        if (one.status === "fulfilled") await one.value.close?.();
      }
    },
  };
}

/** Reads what the refine steps of `plan` name. @throws UsageError for a vocabulary or a language model that there is none of, or that is wrong */
export async function checkRefiners(plan: PipelinePlan): Promise<void> {
  for (const step of plan.steps) if (step.kind === "refine") await checkRefiner(step, placeOf(plan));
}

/** Reads what a refiner is asked to use. @throws UsageError for a vocabulary or a language model that there is none of, or that is wrong */
export async function checkRefiner(choice: RefinerChoice, place: RefinerPlace): Promise<void> {
  if (isLlm(choice)) await chatConfigOf(choice, place);
  else await vocabularyOf(choice, place);
}

/** Opened, for any number of refinements. */
export interface OpenRefiner {
  /** The refiner of one refinement, which is the item-th. */
  readonly forItem: (item: number) => Refiner;
  /** Gives back what it holds. */
  readonly close?: () => Promise<void>;
}

/**
 * Opens a refiner.
 * @param openLines where a language model's answers are kept, so that nothing is asked twice; they are closed with it
 * @throws UsageError for a vocabulary or a language model that cannot be had
 */
export async function openRefiner(
  choice: RefinerChoice,
  place: RefinerPlace,
  reward: Reward,
  openLines: () => Promise<Pick<ProposalLines, "close"> & { of(item: number): ProposalJournal }>,
): Promise<OpenRefiner> {
  if (isLlm(choice)) return openLlm(choice, place, reward, openLines);
  const { createEvolve } = await import("../strategies/refine/evolve.js");
  const vocabulary = await vocabularyOf(choice, place);
  return { forItem: () => createEvolve(vocabulary) };
}

function openStep(run: PipelineRun, reward: Reward, step: RefineStep): Promise<OpenRefiner> {
  return openRefiner(step, placeOf(run.plan), reward, async () => {
    const { ProposalLines } = await import("../pipeline/execute/proposals.js");
    const lines = await ProposalLines.open(run.directory, (item) => run.isFinished(item));
    return { of: (item) => lines.of(item, run.plan.steps.indexOf(step)), close: () => lines.close() };
  });
}

function placeOf({ file, backend }: PipelinePlan): RefinerPlace {
  return { where: file, demo: backend.backend === "local" && backend.model === undefined };
}

function isLlm({ refiner, chat }: RefinerChoice): boolean {
  return (refiner ?? (chat === undefined ? "evolve" : "llm")) === "llm";
}

async function vocabularyOf({ vocabulary }: RefinerChoice, { demo }: RefinerPlace): Promise<Vocabulary> {
  const { readVocabulary } = await import("../strategies/refine/vocabulary.js");
  return readVocabulary(vocabularyFile(vocabulary ?? (demo ? "shapes" : "general")));
}

async function chatConfigOf({ chat }: RefinerChoice, { where }: RefinerPlace): Promise<ChatConfig> {
  if (chat === undefined) {
    throw new UsageError(`${where}: refiner llm: expected chat, the name of a language model, got none`);
  }
  const { loadChatConfig } = await import("../backends/chat/config.js");
  return loadChatConfig(chat);
}

async function openLlm(
  choice: RefinerChoice,
  place: RefinerPlace,
  reward: Reward,
  openLines: Parameters<typeof openRefiner>[3],
): Promise<OpenRefiner> {
  const { tokens } = choice;
  const { openChat } = await import("../backends/chat/open.js");
  const { createLlmRefiner } = await import("../strategies/refine/llm.js");
  const config = await chatConfigOf(choice, place);
  const { maxTokens, temperature, price, budget } = config;
  const chat = await openChat(config);
  const lines = await openLines();
  const unread = async (prompt: string): Promise<string | undefined> =>
    // no picture is scored: all that is asked is whether the prompt fits
    (await reward.score(prompt, [])).warnings.find(isTruncationWarning);
  return {
    forItem: (item) =>
      createLlmRefiner({
        chat,
        maxTokens,
        temperature,
        price,
        budget: { ...budget, ...(tokens === undefined ? {} : { tokens }) },
        journal: lines.of(item),
        unread,
      }),
    close: async () => {
      await chat.dispose();
      await lines.close();
    },
  };
}

/** Names of the vocabularies that ship inside. */
export function shippedVocabularies(): string[] {
  return readdirSync(VOCABULARIES)
    .filter((name) => name.endsWith(".yaml"))
    .map((name) => basename(name, ".yaml"))
    .sort();
}

/** The file of a vocabulary: a path that ends in `.yaml` or `.yml`, or the name of one that ships inside. @throws UsageError for another name */
export function vocabularyFile(name: string): string {
  if (/\.ya?ml$/i.test(name)) return resolve(name);
  const path = join(VOCABULARIES, `${name}.yaml`);
  if (/^[\w-]+$/u.test(name) && existsSync(path)) return path;
  const known = shippedVocabularies();
  const near = closest(name, known);
  throw new UsageError(
    `vocabulary: expected ${known.join(", ")} or a YAML file, got ${name}${near === undefined ? "" : `; did you mean ${near}?`}`,
  );
}
