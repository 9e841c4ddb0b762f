/** @file The refiner `llm`: a language model sees the prompts so far with their scores and proposes others. */

import type { Chat, ChatMessage, ChatReply } from "../../backends/chat/contract.js";
import { BackendError } from "../../errors.js";
import type { Proposal, Proposals, Refiner, RefineState } from "./contract.js";
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

/** What was proposed in one round of a refinement, and what asking for it used. */
export interface ProposalRecord extends Proposals {
  readonly round: number;
  readonly tokens: number;
  readonly money: number;
}

/** Keeps what was proposed in one refinement, so that nothing is asked twice: one that goes on takes what is recorded. */
export interface ProposalJournal {
  readonly records: readonly ProposalRecord[];
  /** Ends when the record is safe; it is in `records` then. */
  add(record: ProposalRecord): Promise<void>;
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
  readonly journal: ProposalJournal;
  /** Says what of a prompt would not be read because it is too long. @default prompts of every length are proposed */
  readonly unread?: ((prompt: string) => Promise<string | undefined>) | undefined;
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
  return {
    name: "llm",
    async propose(state, count, signal) {
      const recorded = journal.records.find(({ round }) => round === state.round);
      if (recorded !== undefined) return recorded;
      const record = await new Round(options, state, signal).propose(count);
      await journal.add(record);
      return record;
    },
  };
}

/** One round of proposing: a question, and corrections while the answer cannot be used. */
class Round {
  readonly #options: LlmRefinerOptions;
  readonly #state: RefineState;
  readonly #signal: AbortSignal | undefined;
  readonly #warnings = new Set<string>();
  #tokens = 0;
  #money = 0;

  constructor(options: LlmRefinerOptions, state: RefineState, signal: AbortSignal | undefined) {
    this.#options = options;
    this.#state = state;
    this.#signal = signal;
  }

  async propose(count: number): Promise<ProposalRecord> {
    const state = this.#state;
    let proposals: readonly Proposal[] = [];
    try {
      proposals = await this.#converse(count);
    } catch (error) {
      const proposed = state.history.some(({ parent }) => parent !== null);
      if (!(error instanceof BackendError) || !proposed) throw error;
      this.#warn(`${error.message}; the search goes on with the prompts it has`);
    }
    const { round } = state;
    return { round, proposals, warnings: [...this.#warnings], tokens: this.#tokens, money: this.#money };
  }

  async #converse(count: number): Promise<readonly Proposal[]> {
    const room = Math.floor(this.#room(questionOf(this.#state, count)) / TOKENS_PER_PROMPT);
    const asked = Math.min(count, Math.max(1, room));
    let messages = questionOf(this.#state, asked);
    for (let attempt = 0; ; attempt++) {
      const maxTokens = this.#room(messages);
      if (maxTokens < TOKENS_PER_PROMPT) {
        this.#warn(`${describeBudget(this.#options)}; the search goes on with the prompts it has`);
        return [];
      }
      const reply = await this.#ask(messages, maxTokens, attempt);
      const answer = readAnswer(reply.text);
      let fault: string;
      if ("fault" in answer) {
        fault = faultOf(reply, answer.fault, maxTokens);
        if (attempt === REPAIRS || reply.finishReason === "refused") {
          const got = fault.replace(/^it /, "");
          throw new BackendError(`${this.#options.chat.name}: expected proposed prompts, got an answer that ${got}`);
        }
      } else {
        const kept = await usableProposals(answer, this.#state, asked, this.#options.unread);
        for (const message of kept.warnings) this.#warn(message);
        if (kept.proposals.length > 0 || attempt === REPAIRS) return kept.proposals;
        fault = kept.warnings.join("; ");
      }
      messages = correctionOf(messages, reply.text, fault);
    }
  }

  async #ask(messages: readonly ChatMessage[], maxTokens: number, attempt: number): Promise<ChatReply> {
    const { chat, temperature, price } = this.#options;
    const reply = await chat.complete(messages, {
      signal: this.#signal,
      maxTokens,
      temperature,
      seed: (this.#state.seed + this.#state.round * (REPAIRS + 1) + attempt) % 2 ** 31,
      jsonSchema: ANSWER_FORM,
    });
    for (const message of reply.warnings) this.#warn(message);
    if (reply.usage === undefined) this.#warn("the server does not count tokens: they are estimated from the text");
    const prompt = reply.usage?.promptTokens ?? questionTokens(messages);
    const completion = reply.usage?.completionTokens ?? estimateTokens(reply.text);
    this.#tokens += prompt + completion;
    if (price !== undefined) this.#money += (prompt * price.prompt + completion * price.completion) / MILLION;
    return reply;
  }

  /** Tokens an answer to `messages` may have within what is left of the budget; negative when the question alone is too much. */
  #room(messages: readonly ChatMessage[]): number {
    const { maxTokens, budget = {}, price, journal } = this.#options;
    const earlier = journal.records.filter(({ round }) => round < this.#state.round);
    const sum = (key: "tokens" | "money"): number => earlier.reduce((total, record) => total + record[key], 0);
    const question = questionTokens(messages);
    const byTokens = (budget.tokens ?? Infinity) - sum("tokens") - this.#tokens - question;
    if (budget.money === undefined || price === undefined) return Math.min(maxTokens, byTokens);
    const money = budget.money - sum("money") - this.#money - (question * price.prompt) / MILLION;
    const byMoney = money < 0 ? -1 : price.completion === 0 ? Infinity : (money / price.completion) * MILLION;
    return Math.floor(Math.min(maxTokens, byTokens, byMoney));
  }

  #warn(message: string): void {
    this.#warnings.add(`refiner llm: ${message}`);
  }
}

function faultOf({ finishReason }: ChatReply, fault: string, maxTokens: number): string {
  if (finishReason === "length") return `it was cut off after ${maxTokens} tokens, reasoning included`;
  return finishReason === "refused" ? "it was refused by the model or its server" : fault;
}

function questionTokens(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, { content }) => sum + estimateTokens(content), 0);
}

function describeBudget({ budget = {}, maxTokens }: LlmRefinerOptions): string {
  const parts = [
    ...(budget.tokens === undefined ? [] : [`${budget.tokens} tokens`]),
    ...(budget.money === undefined ? [] : [`${budget.money} for tokens`]),
  ];
  if (parts.length === 0) return `no prompt fits into answers of ${maxTokens} tokens`;
  return `too little is left of its budget of ${parts.join(" and ")}`;
}
