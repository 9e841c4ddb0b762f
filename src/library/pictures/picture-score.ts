/** @file What scoring existing pictures says of one of them. */

import type { ScoreDetails } from "../../strategies/contract.js";

/** Where a picture's prompt comes from: given for all, what wrote its metadata, or the file beside it. */
export type PromptFrom = "given" | "laurel" | "infotext" | "comfyui" | "novelai" | "sidecar";

/** Where pictures' own prompts are looked for; `any` is a sidecar before metadata. */
export const PROMPT_ORIGINS = ["any", "metadata", "sidecar"] as const;
/** One of `PROMPT_ORIGINS`. */
export type PromptsFrom = (typeof PROMPT_ORIGINS)[number];

/** Why a picture has no score: it cannot be read, has no prompt, or the reward gave no finite number. */
export type PictureProblem = "broken" | "no prompt" | "no score";

/** A picture with its score. */
export interface PictureScore extends ScoreDetails {
  /** Absolute. */
  readonly path: string;
  /** Size of the file. */
  readonly bytes: number;
  /** When it was last changed, milliseconds since 1970; null where the file could not be looked at. */
  readonly modified: number | null;
  readonly width: number | null;
  readonly height: number | null;
  /** What it was scored against. */
  readonly prompt: string | null;
  readonly promptFrom: PromptFrom | null;
  /** Higher is better. */
  readonly score: number | null;
  /** SHA-256 of what its pixels are made of, hex: of a PNG the chunks without texts and times, of another file all bytes. */
  readonly digest: string | null;
  /** Its perceptual hash, 16 hex digits; null where it has none to tell it by. */
  readonly look: string | null;
  readonly problem?: PictureProblem | undefined;
  /** The problem in words. */
  readonly error?: string | undefined;
}
