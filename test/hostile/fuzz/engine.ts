/** @file The fuzzer: mutates a growing corpus, keeps what gets a new answer or reaches new code, and stops at the first input that is not answered as it should be. */

import { InternalError, LaurelError } from "#laurel/errors";
import { Coverage } from "./coverage.js";
import { Dice, type Mutate } from "./mutate.js";

/** A parser and how it is fuzzed. */
export interface Target {
  readonly name: string;
  /** Good inputs to begin with. */
  readonly seeds: () => readonly Uint8Array[];
  readonly mutate: Mutate;
  /** Parses; resolves to a word about what came out, or throws. Anything but an expected LaurelError is a failure. */
  readonly run: (input: Buffer) => unknown;
}

/** How long to go on. */
export interface FuzzOptions {
  readonly seed: number;
  /** Inputs to try; more are tried while `until` has not come. */
  readonly inputs: number;
  /** In `performance.now()`. @default 0 */
  readonly until?: number;
  /** Also keep inputs that reach code no input reached before; slower. @default false */
  readonly coverage?: boolean;
  /** Called before each input. */
  readonly onInput?: (index: number) => void;
}

/** What came of it. */
export interface FuzzResult {
  readonly name: string;
  readonly inputs: number;
  /** Different answers: error messages without their numbers and names, and accepted inputs. */
  readonly outcomes: number;
  readonly accepted: number;
  readonly corpus: number;
  readonly slowestMs: number;
  readonly failure: { readonly index: number; readonly input: Buffer; readonly reason: string } | undefined;
}

/** No input may take longer, in time of the processor. */
const LIMIT_MS = 1000;
const MAX_CORPUS = 500;
const MAX_INPUT_BYTES = 1 << 18;

/** Tries mutated inputs on a target. Equal seeds try equal inputs, unless coverage is asked for. */
export async function fuzz(target: Target, options: FuzzOptions): Promise<FuzzResult> {
  const dice = new Dice(options.seed);
  const corpus: Buffer[] = target.seeds().map((seed) => Buffer.from(seed));
  const outcomes = new Set<string>();
  const coverage = options.coverage === true ? new Coverage() : undefined;
  let [inputs, accepted, slowestMs] = [0, 0, 0];
  let failure: FuzzResult["failure"];
  const seeds = [...corpus];
  while (failure === undefined && (inputs < options.inputs || performance.now() < (options.until ?? 0))) {
    const input =
      seeds[inputs] ?? target.mutate(dice.pick(corpus), dice, dice.pick(corpus)).subarray(0, MAX_INPUT_BYTES);
    options.onInput?.(inputs);
    const started = process.cpuUsage();
    const { outcome, fault } = await attempt(target, input);
    const { user, system } = process.cpuUsage(started);
    const ms = (user + system) / 1000;
    slowestMs = Math.max(slowestMs, ms);
    const slow = ms > LIMIT_MS ? `it took ${Math.round(ms)} ms` : undefined;
    if ((fault ?? slow) !== undefined) failure = { index: inputs, input, reason: (fault ?? slow)! };
    if (outcome.startsWith("accepted")) accepted++;
    // Coverage is asked first: the question itself takes note of what is new.
    const isNew = (await coverage?.hasNew()) === true || !outcomes.has(outcome);
    outcomes.add(outcome);
    if (isNew && corpus.length < MAX_CORPUS) corpus.push(input);
    inputs++;
  }
  await coverage?.stop();
  return { name: target.name, inputs, outcomes: outcomes.size, accepted, corpus: corpus.length, slowestMs, failure };
}

async function attempt({ run }: Target, input: Buffer): Promise<{ outcome: string; fault?: string }> {
  try {
    const outcome = await run(input);
    return { outcome: `accepted ${typeof outcome === "string" ? outcome : ""}` };
  } catch (error) {
    if (error instanceof LaurelError && !(error instanceof InternalError)) {
      const { message } = error;
      const fault = /\p{Cc}/u.test(message)
        ? `its message is more than one line: ${JSON.stringify(message)}`
        : undefined;
      return { outcome: pattern(message), ...(fault === undefined ? {} : { fault }) };
    }
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { outcome: "failure", fault: text };
  }
}

/** What a message expected, without what it got, numbers and names: inputs that take the same way give the same. */
function pattern(message: string): string {
  const expectations = message.match(/expected .*?(?=, got|;|$)/g) ?? [message];
  const plain = expectations.map((one) => one.replace(/"(?:[^"\\]|\\.)*"/g, "").replace(/-?\d[\d.e+-]*/g, "0"));
  return [...new Set(plain)].join("; ").slice(0, 300);
}
