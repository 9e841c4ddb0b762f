/** @file The `parameters` text of AUTOMATIC1111's PNG files, in the grammar its parser reads. */

import type { CandidateRecord } from "./candidate-record.js";

/** Laurel's sampler names as AUTOMATIC1111 spells them; others are written as they are. */
const SAMPLER_NAMES: Readonly<Record<string, string>> = {
  ddpm: "DDPM",
  ddim: "DDIM",
  euler: "Euler",
  "dpmpp-2m": "DPM++ 2M",
};

/** Rewards as they are commonly spelled. */
const REWARD_NAMES: Readonly<Record<string, string>> = { "image-reward": "ImageReward", "clip-score": "CLIP score" };

/**
 * Prompt, negative prompt, then one last line of `Key: value` pairs; the score is a normal key there (`ImageReward: 0.8312`), which every
 * reader keeps. The last line is recognised by holding at least three pairs.
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/infotext_utils.py
 */
export function infotext(record: CandidateRecord): string {
  const { settings } = record;
  const pairs: [string, string | number | null][] = [
    ["Steps", settings.steps],
    ["Sampler", settings.sampler === null ? null : (SAMPLER_NAMES[settings.sampler] ?? settings.sampler)],
    ["CFG scale", settings.guidance],
    ["Seed", record.seed],
    ["Size", `${record.width}x${record.height}`],
    ["Model hash", record.backend.digest?.slice(0, 10) ?? null],
    ["Model", record.backend.model],
    [
      REWARD_NAMES[record.reward.name] ?? infotextKey(record.reward.name),
      record.score === null ? "none" : Number(record.score.toFixed(4)),
    ],
    ["Reward hash", record.reward.digest?.slice(0, 10) ?? null],
    ["Version", `laurel ${record.laurel}`],
  ];
  const line = pairs.flatMap(([key, value]) => (value === null ? [] : [`${key}: ${quote(String(value))}`])).join(", ");
  const negative = record.negativePrompt === null ? [] : [`Negative prompt: ${record.negativePrompt}`];
  return [record.prompt, ...negative, line].join("\n");
}

/** A reward's name as a key: letters, digits, spaces, `-` and `/` only, and at least two characters. */
function infotextKey(name: string): string {
  const key = name.replace(/[^\w \-/]/g, "-").replace(/^[^\w]+/, "");
  return key.length >= 2 ? key : `Reward ${key}`;
}

/** Values with a comma, a colon or a line break are written as JSON strings. */
function quote(value: string): string {
  return /[,:\n]/.test(value) ? JSON.stringify(value) : value;
}
