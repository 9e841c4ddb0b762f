/** @file One existing picture read: its pixels, its prompt, and what tells it from others. */

import { createHash } from "node:crypto";
import { basename } from "node:path";
import { LaurelError, UsageError } from "../../errors.js";
import { decodeImage } from "../../image/decode.js";
import { findGenerationData, type GenerationData } from "../../image/metadata.js";
import { perceptualHash } from "../../image/perceptual-hash.js";
import { pixelParts } from "../../image/container-edit.js";
import { isPng } from "../../image/png-chunks.js";
import { pngPixelParts } from "../../image/png-edit.js";
import { readSidecar } from "../../image/sidecar.js";
import type { SourceImage } from "../../image/types.js";
import { sha256 } from "../../util/files.js";
import { promptMeaning } from "../../prompts/attention-syntax.js";
import { readBytes } from "../../util/read-file.js";
import type { PromptFrom, PromptsFrom } from "./picture-score.js";

/** Larger files are no pictures. */
const MAXIMUM_BYTES = 512 << 20;

/** A prompt and where it comes from, or why there is none. */
export type OwnPrompt =
  { readonly prompt: string; readonly promptFrom: PromptFrom } | { readonly prompt: null; readonly error: string };

/** The bytes of a picture's file. @throws UsageError when they cannot be read */
export function readPicture(path: string): Promise<Uint8Array> {
  return readBytes(path, { expected: "an image file", limit: MAXIMUM_BYTES, as: UsageError });
}

/** SHA-256 of what a picture's pixels are made of, hex: metadata of PNG, JPEG and WebP do not count, so that writing a score changes nothing. */
export function pixelDigest(bytes: Uint8Array, where: string): string {
  const hash = createHash("sha256");
  try {
    const parts = isPng(bytes) ? pngPixelParts(bytes, where) : pixelParts(bytes);
    for (const part of parts) hash.update(part);
    return hash.digest("hex");
  } catch {
    return sha256(bytes);
  }
}

/** What a picture says it shows, as a reward reads it: without the syntax of web UIs. @param sidecar the file beside it, if there is one */
export async function ownPrompt(
  bytes: Uint8Array,
  where: string,
  sidecar: string | null,
  origin: PromptsFrom,
): Promise<OwnPrompt> {
  const missing: string[] = [];
  if (origin !== "metadata" && sidecar !== null) {
    try {
      const said = await readSidecar(sidecar);
      if (said !== undefined)
        return { prompt: said.ofInfotext ? meaningOf(said.prompt) : wellFormed(said.prompt), promptFrom: "sidecar" };
      missing.push("no prompt in the file beside it");
    } catch (error) {
      if (!(error instanceof LaurelError)) throw error;
      missing.push(error.message.replace(sidecar, basename(sidecar)));
    }
  } else if (origin === "sidecar") missing.push("no file beside it");
  if (origin !== "sidecar") {
    const found = await findGenerationData(bytes, where);
    if ("prompt" in found) return { prompt: readByRewards(found), promptFrom: found.source };
    missing.push(found.missing);
  }
  return { prompt: null, error: missing.join("; ") };
}

function readByRewards({ prompt, rewardPrompt, source }: GenerationData): string {
  if (source === "infotext" || source === "comfyui") return meaningOf(prompt);
  return wellFormed(rewardPrompt ?? prompt);
}

/** Halves of characters, which JSON can hold and few readers of tables take, replaced. */
function wellFormed(text: string): string {
  return Buffer.from(text).toString();
}

/** A web UI's prompt without weights, brackets and `<lora:...>`; as it is where it has none of them, or nothing else, or its syntax is wrong. */
function meaningOf(prompt: string): string {
  const whole = wellFormed(prompt);
  try {
    const meaning = promptMeaning(whole, "a1111");
    return meaning === "" || meaning === whole.replace(/\s+/gu, " ").trim() ? whole : meaning;
  } catch (error) {
    if (error instanceof LaurelError) return whole;
    throw error;
  }
}

/** A picture's pixels and how they look, or why they cannot be read. */
export type Decoded =
  | { readonly image: SourceImage; readonly look: string | null }
  | { readonly image?: undefined; readonly error: string };

/** Decodes a picture that may be anything. */
export async function decodePicture(bytes: Uint8Array, where: string): Promise<Decoded> {
  try {
    const image = await decodeImage(bytes, where);
    const look = perceptualHash(image);
    return { image, look: look && look.map((half) => half.toString(16).padStart(8, "0")).join("") };
  } catch (error) {
    if (error instanceof LaurelError) return { error: error.message };
    throw error;
  }
}
