/** @file Opening a LoRA file: which update each layer gets, whatever the tensors are called. The matrices stay in the file. */

import { basename, dirname, join, resolve } from "node:path";
import { ModelError, UsageError } from "../../errors.js";
import { isFloat } from "../../tensor/dtype.js";
import { realValues } from "../../tensor/real.js";
import { readTextIfThere } from "../../util/read-file.js";
import { type JsonValue, parseStrictJson } from "../../util/strict-json.js";
import { openWeights } from "../open.js";
import type { WeightEntry, WeightSource } from "../types.js";
import { type AdapterConfig, alphaOf, readAdapterConfig } from "./adapter-config.js";
import { parseLoraKey } from "./keys.js";
import { LORA_COMPONENTS, type LoraComponent, type LoraFile, type LoraLayer, type LoraNaming } from "./types.js";

/** Faults that are listed; the rest is counted. */
const SHOWN = 6;
/** Metadata key under which diffusers keeps PEFT's configuration. */
export const ADAPTER_METADATA = "lora_adapter_metadata";

/** The tensors of one layer, as far as they were found. */
interface Found {
  readonly component: LoraComponent;
  readonly layer: string;
  down?: WeightEntry;
  up?: WeightEntry;
  alpha?: WeightEntry;
}

/**
 * Opens a LoRA: diffusers' and PEFT's files, diffusers' older ones, kohya's. Where a file says nothing of alpha, it is the rank.
 * @throws ModelError naming the tensors that are no LoRA's, of another technique (DoRA, LoHa, ...) or for Stable Diffusion XL, matrices
 * without their other half, ranks that differ, an alpha that is no number
 */
export async function openLora(path: string): Promise<LoraFile> {
  if (typeof path !== "string" || path === "")
    throw new UsageError(`LoRA: expected a file, got ${JSON.stringify(path)}`);
  const file = resolve(path);
  const source = await openWeights(file);
  const faults: string[] = [];
  const { found, namings } = sort(source, faults);
  if (faults.length === 0 && found.size === 0) faults.push("no tensors");
  const naming =
    (["kohya", "peft", "diffusers", "diffusers-old"] as const).find((one) => namings.has(one)) ?? "diffusers";
  if (namings.has("kohya") && namings.size > 1) faults.push("names of kohya's beside others");
  throwFaults(file, faults);
  const configs = await readConfigs(file, source, naming, faults);
  const components = new Map<LoraComponent, Map<string, LoraLayer>>();
  for (const one of found.values()) {
    const layer = await readLayer(source, one, configs.get(one.component), faults);
    if (layer === undefined) continue;
    const layers = components.get(one.component) ?? new Map<string, LoraLayer>();
    components.set(one.component, layers.set(one.layer, layer));
  }
  throwFaults(file, faults);
  return { path: file, naming, components, metadata: source.metadata };
}

/** Sorts the tensors by the layer they belong to. */
function sort(source: WeightSource, faults: string[]): { found: Map<string, Found>; namings: Set<LoraNaming> } {
  const found = new Map<string, Found>();
  const namings = new Set<LoraNaming>();
  for (const key of [...source.entries.keys(), ...source.unusable.keys()]) {
    const parsed = parseLoraKey(key);
    const entry = source.entries.get(key);
    if (typeof parsed === "string") faults.push(`${key}: ${parsed}`);
    else if (entry === undefined) faults.push(`${key}: ${source.unusable.get(key)}`);
    else {
      const { component, layer, part } = parsed;
      const id = `${component}.${layer}`;
      const one: Found = found.get(id) ?? { component, layer };
      if (one[part] !== undefined) faults.push(`${key}: the same as ${one[part].name}`);
      one[part] = entry;
      found.set(id, one);
      if (part !== "alpha" || parsed.naming === "kohya") namings.add(parsed.naming);
    }
  }
  return { found, namings };
}

/** PEFT's configuration of each network, from the metadata or from beside the file. */
async function readConfigs(
  file: string,
  { metadata }: WeightSource,
  naming: LoraNaming,
  faults: string[],
): Promise<Map<LoraComponent, AdapterConfig>> {
  const configs = new Map<LoraComponent, AdapterConfig>();
  if (naming === "peft") {
    const path = join(dirname(file), "adapter_config.json");
    const text = await readTextIfThere(path, { expected: "the configuration of an adapter" });
    if (text === undefined) {
      throw new ModelError(
        `${path}: expected the configuration of ${basename(file)}, which says its alpha, got no file`,
      );
    }
    const json = parse(path, text);
    const config = readAdapterConfig((name) => json.get(name), faults);
    if (config !== undefined) for (const component of LORA_COMPONENTS) configs.set(component, config);
    return configs;
  }
  const text = metadata.get(ADAPTER_METADATA);
  if (text === undefined) return configs;
  const json = parse(`${file}: ${ADAPTER_METADATA}`, text);
  for (const component of LORA_COMPONENTS) {
    if (![...json.keys()].some((key) => key.startsWith(`${component}.`))) continue;
    const config = readAdapterConfig((name) => json.get(`${component}.${name}`), faults);
    if (config !== undefined) configs.set(component, config);
  }
  return configs;
}

function parse(where: string, text: string): Map<string, JsonValue> {
  let json: JsonValue;
  try {
    json = parseStrictJson(text);
  } catch (cause) {
    throw new ModelError(`${where}: expected JSON, got a fault ${(cause as Error).message}`, { cause });
  }
  if (!(json instanceof Map)) throw new ModelError(`${where}: expected an object, got ${text.slice(0, 40)}`);
  return json;
}

/** The update of one layer; undefined when its faults were told. */
async function readLayer(
  source: WeightSource,
  { layer, down, up, alpha: alphaEntry }: Found,
  config: AdapterConfig | undefined,
  faults: string[],
): Promise<LoraLayer | undefined> {
  const before = faults.length;
  if (down === undefined || up === undefined) {
    const [there, missing] = up === undefined ? [down ?? alphaEntry, "up"] : [up, "down"];
    faults.push(`${there?.name ?? layer}: no ${missing} matrix beside it`);
    return undefined;
  }
  for (const { name, dtype, shape } of [down, up]) {
    if (!isFloat(dtype)) faults.push(`${name}: ${dtype}, not real numbers`);
    if (shape.length !== 2 && shape.length !== 4) faults.push(`${name}: [${shape.join(",")}], no matrix or kernel`);
  }
  const rank = down.shape[0] ?? 0;
  if (faults.length === before && (rank < 1 || up.shape[1] !== rank)) {
    faults.push(`${up.name}: [${up.shape.join(",")}] beside ${down.name} [${down.shape.join(",")}]: the ranks differ`);
  }
  const alpha = await readAlpha(source, alphaEntry, config === undefined ? rank : alphaOf(config, layer), faults);
  if (faults.length > before) return undefined;
  return { down, up, rank, alpha, scale: alpha / (config?.rankStabilised === true ? Math.sqrt(rank) : rank) };
}

/** A tensor of one number. kohya's trainers take 0 for the rank. */
async function readAlpha(
  source: WeightSource,
  entry: WeightEntry | undefined,
  otherwise: number,
  faults: string[],
): Promise<number> {
  if (entry === undefined) return otherwise;
  if (entry.shape.reduce((product, size) => product * size, 1) !== 1) {
    faults.push(`${entry.name}: [${entry.shape.join(",")}], not one number`);
    return otherwise;
  }
  const tensor = await source.read(entry.name);
  const { dtype } = tensor;
  const value = isFloat(dtype) ? realValues(tensor)[0]! : Number(tensor.data[0]);
  if (!Number.isFinite(value) || value < 0 || dtype === "bool") {
    faults.push(`${entry.name}: ${dtype} ${String(value)}, not a number of at least 0`);
    return otherwise;
  }
  return value === 0 ? otherwise : value;
}

function throwFaults(file: string, faults: readonly string[]): void {
  if (faults.length === 0) return;
  const more = faults.length > SHOWN ? `; and ${faults.length - SHOWN} more` : "";
  throw new ModelError(`${file}: expected a LoRA, got ${faults.slice(0, SHOWN).join("; ")}${more}`);
}
