/** @file What a language model proposed: found in its answer, checked, cleaned. Its text is data from a stranger. */

import { z } from "zod";
import { UsageError } from "../../errors.js";
import { EXTRA_NETWORK, parseAttention, promptMeaning } from "../../prompts/attention-syntax.js";
import type { Proposal, RefineState } from "./contract.js";

const answerSchema = z.object({ prompts: z.array(z.object({ prompt: z.string(), edit: z.string() })) });

/** A prompt as the model gave it. */
export type Proposed = z.infer<typeof answerSchema>["prompts"][number];

/** The form of an answer for servers that can be told one. */
export const ANSWER_FORM = { name: "prompts", schema: z.toJSONSchema(answerSchema, { target: "draft-7" }) } as const;

/** Longest answer that is looked into, characters. */
const MAXIMUM_ANSWER = 1 << 20;
/** Places in an answer where the object may begin. */
const MAXIMUM_STARTS = 32;
/** Longest prompt, characters. */
const MAXIMUM_PROMPT = 10_000;
const MAXIMUM_EDIT = 300;

/** The prompts in an answer, or what is wrong with it, in words for the model. */
export function readAnswer(text: string): readonly Proposed[] | { readonly fault: string } {
  if (text.trim() === "") return { fault: "it was empty" };
  if (text.length > MAXIMUM_ANSWER)
    return { fault: `it had ${text.length} characters, far more than the prompts need` };
  const bare = /^\s*[[{]/.test(text);
  let fault: string | undefined;
  for (const piece of objectsIn(text)) {
    let json: unknown;
    try {
      json = JSON.parse(piece);
    } catch (error) {
      fault ??= `it was no JSON: ${(error as Error).message.slice(0, 200)}`;
      continue;
    }
    const parsed = answerSchema.safeParse(json);
    if (parsed.success) return parsed.data.prompts;
    // inside JSON that is broken, parts may be sound and say nothing
    if (bare && fault !== undefined) continue;
    const faults = parsed.error.issues.map(({ path, message }) => `${path.join(".") || "answer"}: ${message}`);
    fault = `it had another form: ${faults.slice(0, 4).join("; ")}`;
  }
  return { fault: fault ?? "it held no JSON object" };
}

/** The text itself, then every stretch of it from a brace to the one that closes it: models add fences and words around what was asked for. */
function* objectsIn(text: string): Generator<string> {
  yield text;
  let start = text.indexOf("{");
  for (let tried = 0; start >= 0 && tried < MAXIMUM_STARTS; tried++) {
    const end = closing(text, start);
    if (end !== undefined) yield text.slice(start, end + 1);
    start = text.indexOf("{", start + 1);
  }
}

/** Where the brace at `start` is closed; braces inside strings do not count. */
function closing(text: string, start: number): number | undefined {
  let depth = 0;
  let quoted = false;
  for (let i = start; i < text.length; i++) {
    const character = text[i];
    if (quoted && character === "\\") i++;
    else if (character === '"') quoted = !quoted;
    else if (!quoted && character === "{") depth++;
    else if (!quoted && character === "}" && --depth === 0) return i;
  }
  return undefined;
}

/** Control characters, marks that turn the direction of text around, and halves of characters. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;
/** stable-diffusion.cpp's server reads settings of its own from it. */
const SERVER_ARGUMENTS = /<sd_cpp_extra_args>[^]*?(?:<\/sd_cpp_extra_args>|$)|<\/?sd_cpp_extra_args>/giu;

/** What came of an answer. */
export interface Kept {
  readonly proposals: readonly Proposal[];
  readonly warnings: readonly string[];
}

/**
 * The first `count` prompts that can be drawn and are not known yet, with what was left out.
 * @param unread says what of a text would not be read because it is too long
 */
export async function usableProposals(
  proposed: readonly Proposed[],
  state: RefineState,
  count: number,
  unread: ((prompt: string) => Promise<string | undefined>) | undefined,
): Promise<Kept> {
  const known = new Set([state.original, ...state.history.map(({ prompt }) => prompt)].map(sameness));
  const proposals: Proposal[] = [];
  const warnings = new Set<string>();
  let repeated = 0;
  // a prompt that was cut from the start is no worse for being cut again
  const cut = (await unread?.(promptMeaning(state.original, state.promptSyntax))) !== undefined;
  for (const { prompt, edit } of proposed) {
    if (proposals.length === count) break;
    const { text, warning } = clean(prompt, state);
    if (warning !== undefined) warnings.add(warning);
    if (text === undefined) continue;
    const key = sameness(text);
    if (known.has(key)) {
      repeated++;
      continue;
    }
    known.add(key);
    const lost = cut ? undefined : await unread?.(promptMeaning(text, state.promptSyntax));
    if (lost !== undefined) {
      warnings.add(leftOut(lost));
      continue;
    }
    proposals.push({ prompt: text, parent: state.original, edit: describe(edit) });
  }
  if (proposed.length === 0) warnings.add("it proposed no prompt");
  if (proposals.length === 0 && repeated > 0) warnings.add("all it proposed was known already");
  return { proposals, warnings: [...warnings] };
}

/** Spelled alike but for case, spaces and full stops: text encoders see no difference, or next to none. */
function sameness(prompt: string): string {
  return prompt
    .normalize("NFKC")
    .toLowerCase()
    .replace(/\s+/gu, " ")
    .replace(/^[\s.,;]+|[\s.,;]+$/gu, "");
}

function leftOut(why: string): string {
  return `a proposed prompt was left out: ${why}`;
}

/** A prompt as it can be drawn; `text` is undefined when it cannot. */
function clean(
  prompt: string,
  { original, promptSyntax }: RefineState,
): { readonly text: string | undefined; readonly warning?: string } {
  const refuse = (why: string): { text: undefined; warning: string } => ({ text: undefined, warning: leftOut(why) });
  if (prompt.length > MAXIMUM_PROMPT) return refuse(`it has ${prompt.length} characters, more than ${MAXIMUM_PROMPT}`);
  const line = prompt.replace(/\s+/gu, " ").trim();
  if (UNPRINTABLE.test(line)) return refuse("it holds control characters");
  const text = withoutTags(line, original);
  if (text === "") return refuse("it is empty");
  if (promptSyntax === "a1111") {
    try {
      parseAttention(text);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      return refuse(error.message);
    }
  }
  if (text === line) return { text };
  return { text, warning: "tags for the server (<lora:...> and the like) were taken out of a proposed prompt" };
}

/** Tags load files and change settings of a server: only those that the user wrote may stay. What is left can form a new tag, so until there is none. */
function withoutTags(text: string, original: string): string {
  const next = text
    .replace(SERVER_ARGUMENTS, "")
    .replace(EXTRA_NETWORK, (tag) => (original.includes(tag) ? tag : ""))
    .replace(/ {2,}/g, " ")
    .trim();
  return next === text ? text : withoutTags(next, original);
}

/** Words for tables and files: one line of printable text. */
function describe(edit: string): string {
  const line = edit
    .slice(0, 4 * MAXIMUM_EDIT)
    .replace(new RegExp(UNPRINTABLE, "gu"), " ")
    .replace(/\s+/gu, " ")
    .trim();
  if (line === "") return "rewritten";
  return line.length > MAXIMUM_EDIT ? `${line.slice(0, MAXIMUM_EDIT).trimEnd()}...` : line;
}
