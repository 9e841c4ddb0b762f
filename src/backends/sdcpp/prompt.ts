/** @file Prompts for sd-server: without what it takes for settings, and a plain one in words that it reads as they are meant. */

import { UsageError } from "../../errors.js";
import type { ImageRequest } from "../contract.js";

/** Settings inside a prompt, which the compatibility routes obey: whoever writes a prompt must not be able to say them. */
const EXTRA_ARGUMENTS = /<sd_cpp_extra_args>[\s\S]*?<\/sd_cpp_extra_args>/;
const LORA = /<lora:[^>]+>/;

/** Prompts as they are sent, and what is not honoured in them. */
export interface WrittenPrompts {
  readonly prompt: string;
  readonly negativePrompt: string | undefined;
  readonly warnings: readonly string[];
}

/**
 * The prompts of a request as they are sent.
 * @param name names the server in warnings
 * @throws UsageError when nothing is left of the prompt
 */
export function writtenPrompts(name: string, { prompt, negativePrompt, promptSyntax }: ImageRequest): WrittenPrompts {
  const given = [prompt, negativePrompt ?? ""];
  const stripped = given.map(withoutArguments);
  if (stripped[0]!.trim() === "") {
    throw new UsageError(`${name}: prompt: expected some text, got nothing but <sd_cpp_extra_args>`);
  }
  const plain = promptSyntax !== "a1111";
  const [written = "", negative = ""] = plain ? stripped.map(escaped) : stripped;
  const has = (pattern: RegExp): boolean => stripped.some((text) => pattern.test(text));
  const warnings = [
    ...(stripped.some((text, i) => text !== given[i])
      ? [`${name}: <sd_cpp_extra_args> in a prompt would be read as settings and was left out`]
      : []),
    ...(!plain && has(LORA)
      ? [`${name}: it takes <lora:...> in a prompt for plain words; name LoRAs in the configuration`]
      : []),
    ...(plain && has(/[[\]]/)
      ? [`${name}: it cannot be given square brackets as plain words: a backslash goes before each`]
      : []),
  ];
  return { prompt: written, negativePrompt: negativePrompt === undefined ? undefined : negative, warnings };
}

/** Again and again: what is left may be one more. */
function withoutArguments(text: string): string {
  let rest = text;
  while (EXTRA_ARGUMENTS.test(rest)) rest = rest.replace(EXTRA_ARGUMENTS, "");
  return rest;
}

/**
 * A plain prompt escaped: it knows `\(`, but leaves the backslash before other brackets; a closing bracket alone is plain, unless a weight stands before
 * it, and CLIP's tokenizer reads a space between the two as nothing.
 * Reference: parse_prompt_attention, src/core/util.cpp of stable-diffusion.cpp, commit 97d29908
 */
function escaped(text: string): string {
  return text
    .replace(/\\(?=\()/g, "\\ ")
    .replace(/[([\]]/g, "\\$&")
    .replace(/(:[+-]?[.\d]+)\)/g, "$1 )")
    .replace(/(?<!\w)BREAK(?!\w)/g, "break");
}
