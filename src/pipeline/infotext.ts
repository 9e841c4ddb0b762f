/** @file The `parameters` text of AUTOMATIC1111's PNG files, in the grammar its parser reads. */

import { quoteInfotext } from "../image/infotext.js";
import { automatic1111Name, isSamplerName } from "../samplers/names.js";
import type { CandidateRecord } from "./candidate-record.js";

/** Rewards as they are commonly spelled. */
const REWARD_NAMES: Readonly<Record<string, string>> = { "image-reward": "ImageReward", "clip-score": "CLIP score" };

/**
 * Prompt, negative prompt, then one last line of `Key: value` pairs; the score is a normal key there (`ImageReward: 0.8312`), which every
 * reader keeps. LoRAs are pairs too: the web UI has them in the prompt (`<lora:name:scale>`), but nobody wrote them there, and the reward
 * did not read them. The last line is recognised by holding at least three pairs.
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/infotext_utils.py
 */
export function infotext(record: CandidateRecord): string {
  const { settings } = record;
  const { sampler, schedule } = samplerParts(settings.sampler);
  const pairs: [string, string | number | null][] = [
    ["Steps", settings.steps],
    ["Sampler", sampler],
    ["Schedule type", schedule ?? null],
    ["CFG scale", settings.guidance],
    ["Seed", record.seed],
    ["Reported seed", record.reportedSeed === record.seed ? null : record.reportedSeed],
    ["Size", `${record.width}x${record.height}`],
    ["Clip skip", settings.clipSkip === 1 ? null : settings.clipSkip],
    ["Denoising strength", settings.strength],
    ["Revised prompt", record.revisedPrompt],
    ["Model hash", record.backend.digest?.slice(0, 10) ?? null],
    ["Model", record.backend.model],
    [rewardKey(record.reward.name), record.score === null ? "none" : Number(record.score.toFixed(4))],
    ["Reward hash", record.reward.digest?.slice(0, 10) ?? null],
    ["TI hashes", embeddingHashes(record)],
    ["LoRA", record.loras?.map(({ name, scale }) => `${name}:${scale}`).join(", ") ?? null],
    ["LoRA SHA256", record.loras?.map(({ name, sha256 }) => `${name}: ${sha256.slice(0, 12)}`).join(", ") ?? null],
    ["LoRA anneal", settings.loraAnneal ?? null],
    ["Version", `laurel ${record.laurel}`],
  ];
  const line = pairs
    .flatMap(([key, value]) => (value === null ? [] : [`${key}: ${quoteInfotext(String(value))}`]))
    .join(", ");
  const negative = record.negativePrompt === null ? [] : [`Negative prompt: ${record.negativePrompt}`];
  return [record.prompt, ...negative, line].join("\n");
}

/** Laurel's samplers as AUTOMATIC1111 spells them; other backends' are written as they are. */
function samplerParts(name: string | null): { sampler: string | null; schedule?: string | undefined } {
  return name !== null && isSamplerName(name) ? automatic1111Name(name) : { sampler: name };
}

/** Names and first 12 digits of the embeddings' digests, as AUTOMATIC1111 writes them. */
function embeddingHashes({ embeddings }: CandidateRecord): string | null {
  if (embeddings.length === 0) return null;
  return embeddings.map(({ name, sha256 }) => `${name.replace(/[:,]/g, "")}: ${sha256.slice(0, 12)}`).join(", ");
}

/** The key of a reward's score: as it is commonly spelled, else its name in letters, digits, spaces, `-` and `/`, at least two characters. */
export function rewardKey(name: string): string {
  const known = REWARD_NAMES[name];
  if (known !== undefined) return known;
  const key = name.replace(/[^\w \-/]/g, "-").replace(/^[^\w]+/, "");
  return key.length >= 2 ? key : `Reward ${key}`;
}
