/** @file What servers with `/v1/chat/completions` answer, read into one form: they agree on the envelope and differ in what they put into it. */

import { z } from "zod";
import type { ChatReply, FinishReason } from "./contract.js";

const tokens = z.number().int().nonnegative();

const replySchema = z.object({
  choices: z
    .array(
      z.object({
        message: z.object({
          // null beside a refusal, tool calls, or reasoning that never came to an end
          content: z
            .union([z.string(), z.array(z.object({ type: z.string().nullish(), text: z.unknown().optional() }))])
            .nullish(),
          refusal: z.string().nullish(),
        }),
        finish_reason: z.string().nullish(),
      }),
    )
    .min(1),
  usage: z.object({ prompt_tokens: tokens, completion_tokens: tokens }).nullish().catch(undefined),
});

const FINISH: Readonly<Record<string, FinishReason>> = {
  stop: "stop",
  eos: "stop",
  eos_token: "stop",
  stop_sequence: "stop",
  length: "length",
  max_tokens: "length",
  content_filter: "refused",
};

/**
 * Reads an answer.
 * @returns its faults instead when it is none
 */
export function readReply(json: unknown): Omit<ChatReply, "warnings"> | { readonly faults: string } {
  const parsed = replySchema.safeParse(json);
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path, message }) => `${path.join(".") || "answer"}: ${message}`);
    return { faults: [...new Set(faults)].slice(0, 4).join("; ") };
  }
  const { message, finish_reason: finish } = parsed.data.choices[0]!;
  const { content, refusal } = message;
  const text = typeof content === "string" ? content : (content ?? []).map(textOfPart).join("");
  const refused = typeof refusal === "string" && refusal !== "";
  const usage = parsed.data.usage ?? undefined;
  return {
    text: withoutReasoning(text),
    usage: usage && { promptTokens: usage.prompt_tokens, completionTokens: usage.completion_tokens },
    finishReason: refused ? "refused" : (FINISH[finish?.toLowerCase() ?? "stop"] ?? "other"),
  };
}

/** Parts of other kinds (reasoning, pictures) are not the answer. */
function textOfPart({ type, text }: { type?: string | null | undefined; text?: unknown }): string {
  return ["text", "output_text"].includes(type ?? "text") && typeof text === "string" ? text : "";
}

/** Models that think aloud do it before the answer, between marks; some templates leave the first mark in the prompt. */
function withoutReasoning(text: string): string {
  const end = text.lastIndexOf("</think>");
  const answer = end < 0 ? text : text.slice(end + "</think>".length);
  return end < 0 && /^\s*<think>/.test(text) ? "" : answer.trim();
}
