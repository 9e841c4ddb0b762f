/** @file Prompts in words that ComfyUI reads as they are meant: it has no switch for its syntax. */

import type { PromptSyntax } from "../../prompts/attention-syntax.js";

/** `embedding:name`, at the start of a word. */
const EMBEDDING = /(^|[ \n])embedding:/g;
/** What AUTOMATIC1111 reads in a prompt and ComfyUI takes for plain words. */
const UNKNOWN: readonly (readonly [name: string, pattern: RegExp])[] = [
  ["[less]", /(?<!\\)\[/],
  ["BREAK", /(?<![\p{L}\p{N}_])BREAK(?![\p{L}\p{N}_])/u],
  ["AND", /(?<![\p{L}\p{N}_])AND(?![\p{L}\p{N}_])/u],
  ["<lora:...>", /<\w+:[^>]+>/],
];

/**
 * A prompt as it is sent. A plain one has its brackets escaped and `embedding:` parted from its colon, which CLIP's tokenizer reads as the same tokens;
 * one in AUTOMATIC1111's syntax goes as it stands: ComfyUI reads `(word:1.2)`.
 * Reference: comfy/sd1_clip.py of ComfyUI 0.3.64
 */
export function writtenPrompt(prompt: string, syntax: PromptSyntax | undefined): string {
  return syntax === "a1111" ? prompt : prompt.replace(/[()]/g, "\\$&").replace(EMBEDDING, "$1embedding :");
}

/** What of AUTOMATIC1111's syntax in a prompt ComfyUI does not read, for a warning. */
export function unreadSyntax(prompt: string | undefined, syntax: PromptSyntax | undefined): readonly string[] {
  if (syntax !== "a1111" || prompt === undefined) return [];
  return UNKNOWN.filter(([, pattern]) => pattern.test(prompt)).map(([name]) => name);
}
