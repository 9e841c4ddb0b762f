/** @file The refiner `llm`: a language model sees the prompts so far with their scores and proposes others. */

import { createHash } from "node:crypto";
import type { Chat, ChatMessage, ChatReply } from "../../backends/chat/contract.js";
import { BackendError } from "../../errors.js";
import type { Proposals, Refiner, RefineState } from "./contract.js";
import { ANSWER_FORM, readAnswer, usableProposals } from "./llm-answer.js";
import { correctionOf, estimateTokens, questionOf } from "./llm-messages.js";

/** What proposing may use; undefined is without bound. */
export interface LlmBudget {
  readonly tokens?: number | undefined;
  /** In the currency of the price. */
  readonly money?: number | undefined;
}

/** What a million tokens cost. */
export interface LlmPrice {
  readonly prompt: number;
  readonly completion: number;
}

/** What one call of a refiner answered, and what it used. */
export interface ProposalRecord extends Proposals {
  readonly tokens: number;
  readonly money: number;
}

/** Keeps answers, so that nothing is asked twice: a refinement that goes on takes what is recorded. */
export interface ProposalJournal {
  /** What is recorded under `key`; else what `ask` gives, recorded before it is returned. A failure is not recorded. */
  recall(key: string, ask: () => Promise<ProposalRecord>): Promise<ProposalRecord>;
}

/** How the language model is asked. */
export interface LlmRefinerOptions {
  readonly chat: Chat;
  /** Most tokens of one answer, reasoning included. */
  readonly maxTokens: number;
  /** Left out, the server's own. */
  readonly temperature?: number | undefined;
  /** Of one refinement. */
  readonly budget?: LlmBudget | undefined;
  /** Without it money is not counted. */
  readonly price?: LlmPrice | undefined;
  /** @default nothing is recorded */
  readonly journal?: ProposalJournal | undefined;
  /** What the text encoder leaves of a prompt that is too long for it. @default prompts of every length are proposed */
  readonly unread?: ((prompt: string) => string | undefined) | undefined;
}

/** Further questions after an answer that cannot be used. */
const REPAIRS = 2;
/** Tokens a proposed prompt takes, with its explanation. */
const TOKENS_PER_PROMPT = 200;
const MILLION = 1e6;

/**
 * A refiner that asks a language model; for one refinement. When the budget is spent it proposes nothing more. When the model cannot be reached or
 * answers nothing usable it proposes nothing either, unless nothing was ever proposed: then it throws.
 */
export function createLlmRefiner(options: LlmRefinerOptions): Refiner {
  const { journal } = options;
  const spent = { tokens: 0, money: 0 };
  return {
    name: "llm",
    async propose(state, count, signal) {
      const ask = (): Promise<ProposalRecord> => proposeOnce(options, { ...spent }, state, count, signal);
      const record = await (journal === undefined ? ask() : journal.recall(keyOf(state, count), ask));
      spent.tokens += record.tokens;
      spent.money += record.money;
      return { proposals: record.proposals, warnings: record.warnings };
    },
  };
}

/** The same question has the same key. */
function keyOf(state: RefineState, count: number): string {
  return createHash("sha256")
    .update(JSON.stringify([state, count]))
    .digest("hex");
}

async function proposeOnce(
  options: LlmRefinerOptions,
  before: { readonly tokens: number; readonly money: number },
  state: RefineState,
  count: number,
  signal: AbortSignal | undefined,
): Promise<ProposalRecord> {
  const used = { tokens: 0, money: 0 };
  const warnings = new Set<string>();
  const warn = (message: string): unknown => warnings.add(`refiner llm: ${message}`);
  const result = (proposals: Proposals["proposals"]): ProposalRecord => ({
    proposals,
    warnings: [...warnings],
    ...used,
  });
  const room = (messages: readonly ChatMessage[]): number =>
    roomFor(options, { tokens: before.tokens + used.tokens, money: before.money + used.money }, messages);
  const widest = Math.floor(room(questionOf(state, count)) / TOKENS_PER_PROMPT);
  const asked = Math.min(count, Math.max(1, widest));
  let messages = questionOf(state, asked);
  try {
    for (let attempt = 0; ; attempt++) {
      const maxTokens = room(messages);
      if (maxTokens < TOKENS_PER_PROMPT) {
        warn(`its budget of ${describeBudget(options)} is spent; the search goes on with the prompts it has`);
        return result([]);
      }
      const reply = await options.chat.complete(messages, {
        signal,
        maxTokens,
        temperature: options.temperature,
        seed: (state.seed + state.round * (REPAIRS + 1) + attempt) % 2 ** 31,
        jsonSchema: ANSWER_FORM,
      });
      if (reply.usage === undefined) warn("the server does not count tokens: they are estimated from the text");
      const cost = costOf(options, messages, reply);
      used.tokens += cost.tokens;
      used.money += cost.money;
      for (const message of reply.warnings) warn(message);
      const answer = readAnswer(reply.text);
      if (!("fault" in answer)) {
        const kept = usableProposals(answer, state, asked, options.unread ?? (() => undefined));
        for (const message of kept.warnings) warn(message);
        return result(kept.proposals);
      }
      const fault = faultOf(reply, answer.fault, maxTokens);
      if (attempt === REPAIRS || reply.finishReason === "refused") {
        throw new BackendError(
          `${options.chat.name}: expected proposed prompts, got an answer that ${fault.replace(/^it /, "")}`,
        );
      }
      messages = correctionOf(messages, reply.text, fault);
    }
  } catch (error) {
    const proposed = state.history.some(({ parent }) => parent !== null);
    if (!(error instanceof BackendError) || !proposed) throw error;
    warn(`${error.message}; the search goes on with the prompts it has`);
    return result([]);
  }
}

function faultOf({ finishReason }: ChatReply, fault: string, maxTokens: number): string {
  if (finishReason === "length") return `it was cut off after ${maxTokens} tokens, reasoning included`;
  return finishReason === "refused" ? "it was refused by the model or its server" : fault;
}

/** Tokens an answer to `messages` may have within what is left of the budget; less than nothing when the question alone is too much. */
function roomFor(
  { maxTokens, budget = {}, price }: LlmRefinerOptions,
  spent: { readonly tokens: number; readonly money: number },
  messages: readonly ChatMessage[],
): number {
  const question = questionTokens(messages);
  const byTokens = (budget.tokens ?? Infinity) - spent.tokens - question;
  if (budget.money === undefined || price === undefined) return Math.floor(Math.min(maxTokens, byTokens));
  const money = budget.money - spent.money - (question * price.prompt) / MILLION;
  const byMoney = money < 0 ? -1 : price.completion === 0 ? Infinity : (money / price.completion) * MILLION;
  return Math.floor(Math.min(maxTokens, byTokens, byMoney));
}

function costOf(
  { price }: LlmRefinerOptions,
  messages: readonly ChatMessage[],
  { usage, text }: ChatReply,
): { readonly tokens: number; readonly money: number } {
  const prompt = usage?.promptTokens ?? questionTokens(messages);
  const completion = usage?.completionTokens ?? estimateTokens(text);
  const money = price === undefined ? 0 : (prompt * price.prompt + completion * price.completion) / MILLION;
  return { tokens: prompt + completion, money };
}

function questionTokens(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, { content }) => sum + estimateTokens(content), 0);
}

function describeBudget({ budget = {} }: LlmRefinerOptions): string {
  const parts = [
    ...(budget.tokens === undefined ? [] : [`${budget.tokens} tokens`]),
    ...(budget.money === undefined ? [] : [`${budget.money} for tokens`]),
  ];
  return parts.length === 0 ? "tokens of one answer" : parts.join(" and ");
}
