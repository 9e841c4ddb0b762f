/** @file A plain prompt in words that the WebUI reads as they stand: it has no switch for its syntax. */

/** `<lora:name:1>` and its like. */
const EXTRA_NETWORK = /<(\w+):(?=[^>]+>)/g;
const KEYWORDS = /(?<![\p{L}\p{N}_])(?:AND|BREAK)(?![\p{L}\p{N}_])/gu;

/**
 * The prompt with brackets and backslashes escaped, `AND` and `BREAK` in small letters and `<lora:` with a space, which CLIP's tokenizer reads as the
 * same tokens.
 * Reference: modules/prompt_parser.py and modules/extra_networks.py of AUTOMATIC1111's WebUI, v1.10.1
 */
export function escapePrompt(prompt: string): string {
  return prompt
    .replace(/[\\()[\]]/g, "\\$&")
    .replace(KEYWORDS, (word) => word.toLowerCase())
    .replace(EXTRA_NETWORK, "<$1 :");
}

/** True when the WebUI would drop a part of a plain prompt as a comment, from `#` to the end of the line, unless told not to. */
export function hasComment(...prompts: readonly (string | undefined)[]): boolean {
  return prompts.some((prompt) => prompt?.includes("#") === true);
}
