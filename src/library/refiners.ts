/** @file Which strategy a refine step stands for, and the vocabularies that ship inside. */

import { existsSync, readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import type { ChatConfig } from "../backends/chat/config.js";
import { UsageError } from "../errors.js";
import type { PipelinePlan, PlanStep } from "../pipeline/document/plan.js";
import type { PipelineRun } from "../pipeline/execute/pipeline-run.js";
import { PACKAGE_FOLDER } from "../pipeline/package-info.js";
import { isTruncationWarning } from "../prompts/truncation.js";
import type { Reward } from "../rewards/contract.js";
import type { Strategy } from "../strategies/contract.js";
import type { Refiner } from "../strategies/refine/contract.js";
import type { Vocabulary } from "../strategies/refine/vocabulary.js";
import { closest } from "../util/closest.js";

type RefineStep = Extract<PlanStep, { kind: "refine" }>;

const VOCABULARIES = join(PACKAGE_FOLDER, "configs", "prompts");

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
  const opened = new Map<RefineStep, ReturnType<typeof openRefiner>>();
  return {
    strategyOf: async (step, item) => {
      const { refineWith } = await import("../strategies/refine/refine.js");
      const opening = opened.get(step) ?? openRefiner(run, reward, step);
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
  for (const step of plan.steps) {
    if (step.kind !== "refine") continue;
    if (step.refiner === "evolve") await vocabularyOf(plan, step);
    else await chatConfigOf(plan, step);
  }
}

interface OpenRefiner {
  readonly forItem: (item: number) => Refiner;
  readonly close?: () => Promise<void>;
}

async function openRefiner(run: PipelineRun, reward: Reward, step: RefineStep): Promise<OpenRefiner> {
  if (step.refiner === "llm") return openLlm(run, reward, step);
  const { createEvolve } = await import("../strategies/refine/evolve.js");
  const vocabulary = await vocabularyOf(run.plan, step);
  return { forItem: () => createEvolve(vocabulary) };
}

async function vocabularyOf(plan: PipelinePlan, step: RefineStep): Promise<Vocabulary> {
  const { readVocabulary } = await import("../strategies/refine/vocabulary.js");
  return readVocabulary(vocabularyFile(step.vocabulary ?? defaultVocabulary(plan)));
}

async function chatConfigOf(plan: PipelinePlan, { chat }: RefineStep): Promise<ChatConfig> {
  if (chat === undefined) {
    throw new UsageError(`${plan.file}: refiner llm: expected chat, the name of a language model, got none`);
  }
  const { loadChatConfig } = await import("../backends/chat/config.js");
  return loadChatConfig(chat);
}

async function openLlm(run: PipelineRun, reward: Reward, step: RefineStep): Promise<OpenRefiner> {
  const { tokens } = step;
  const { openChat } = await import("../backends/chat/open.js");
  const { ProposalLines } = await import("../pipeline/execute/proposals.js");
  const { createLlmRefiner } = await import("../strategies/refine/llm.js");
  const config = await chatConfigOf(run.plan, step);
  const { maxTokens, temperature, price, budget } = config;
  const chat = await openChat(config);
  const lines = await ProposalLines.open(run.directory, (item) => run.isFinished(item));
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
        journal: lines.of(item, run.plan.steps.indexOf(step)),
        unread,
      }),
    close: async () => {
      await chat.dispose();
      await lines.close();
    },
  };
}

/** The demo model knows few words; others draw what people write. */
function defaultVocabulary({ backend }: PipelinePlan): string {
  return backend.backend === "local" && backend.model === undefined ? "shapes" : "general";
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
