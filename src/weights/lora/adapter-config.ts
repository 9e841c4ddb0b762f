/** @file What PEFT says of a LoRA beside its matrices: in a file's metadata, or in adapter_config.json. */

import type { JsonValue } from "../../util/strict-json.js";

/** The fields of PEFT's LoraConfig that decide what a layer's update is multiplied with. */
export interface AdapterConfig {
  readonly rank: number;
  readonly alpha: number;
  readonly alphaPattern: ReadonlyMap<string, number>;
  readonly rankPattern: ReadonlyMap<string, number>;
  /** alpha / sqrt(rank) instead of alpha / rank. */
  readonly rankStabilised: boolean;
}

/**
 * Reads a LoraConfig.
 * @param field what the field `name` says; undefined where it is not there
 * @param faults gets what is wrong
 */
export function readAdapterConfig(
  field: (name: string) => JsonValue | undefined,
  faults: string[],
): AdapterConfig | undefined {
  const before = faults.length;
  const number = (name: string, value: JsonValue | undefined, minimum: number): number => {
    if (typeof value === "number" && Number.isFinite(value) && value >= minimum) return value;
    faults.push(`${name}: expected a number of at least ${minimum}, got ${printed(value)}`);
    return 1;
  };
  const pattern = (name: string, minimum: number): Map<string, number> => {
    const value = field(name) ?? null;
    if (value === null) return new Map();
    if (value instanceof Map) {
      return new Map(
        [...value].map(([key, one]) => [literal(key, name, faults), number(`${name}.${key}`, one, minimum)]),
      );
    }
    faults.push(`${name}: expected an object of numbers, got ${printed(value)}`);
    return new Map();
  };
  for (const [name, meaning] of NOT_READ) {
    const value = field(name) ?? false;
    if (value !== false && value !== "none") faults.push(`${name}: expected a plain LoRA, got ${meaning}`);
  }
  const type = field("peft_type") ?? "LORA";
  if (type !== "LORA") faults.push(`peft_type: expected LORA, got ${printed(type)}`);
  const rank = number("r", field("r"), 1);
  const config: AdapterConfig = {
    rank,
    alpha: number("lora_alpha", field("lora_alpha") ?? rank, 0),
    alphaPattern: pattern("alpha_pattern", 0),
    rankPattern: pattern("rank_pattern", 1),
    rankStabilised: field("use_rslora") === true,
  };
  return faults.length > before ? undefined : config;
}

/** Fields that make it more than a LoRA. */
const NOT_READ: readonly (readonly [name: string, meaning: string])[] = [
  ["use_dora", "DoRA"],
  ["lora_bias", "one with biases"],
  ["bias", "one with biases"],
];

/**
 * alpha of the layer at `path`. The keys of PEFT's patterns are ends of paths.
 * Source: `get_pattern_key`, peft/utils/other.py, PEFT 0.21.2.
 */
export function alphaOf({ alpha, alphaPattern }: AdapterConfig, path: string): number {
  for (const [key, value] of alphaPattern) if (path === key || path.endsWith(`.${key}`)) return value;
  return alpha;
}

/** PEFT takes the keys of its patterns for regular expressions; what diffusers and PEFT write are paths, at most with anchors and escaped dots. */
function literal(key: string, name: string, faults: string[]): string {
  const path = key.replace(/^\^/, "").replace(/\$$/, "").replaceAll("\\.", ".");
  if (!/^[\w.-]+$/.test(path)) faults.push(`${name}: expected the path of a layer, got ${printed(key)}`);
  return path;
}

function printed(value: JsonValue | undefined): string {
  if (value instanceof Map) return "an object";
  return (JSON.stringify(value) ?? "none").slice(0, 80);
}
