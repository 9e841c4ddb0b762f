/** @file A LoRA and its scale as one text: `style.safetensors:0.8`. */

import { UsageError } from "../../errors.js";

/** A LoRA file and its scale. */
export interface LoraSpec {
  readonly path: string;
  /** 1 is what it was trained for. */
  readonly scale: number;
}

/** What stands behind the last colon, where that is a number; other colons belong to the path. */
const SCALED = /^(.+):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)$/is;

/** Reads `FILE` or `FILE:scale`. @throws UsageError for an empty one */
export function parseLora(text: string): LoraSpec {
  if (text.trim() === "") throw new UsageError("LoRA: expected FILE or FILE:scale, got an empty text");
  const [, path, scale] = SCALED.exec(text) ?? [];
  return path === undefined ? { path: text, scale: 1 } : { path, scale: Number(scale) };
}

/** The text that {@link parseLora} reads back. */
export function formatLora({ path, scale }: LoraSpec): string {
  return `${path}:${scale}`;
}
