/** @file Which parameters a fine-tuning run trains: low-rank terms beside chosen modules, or all weights. */

import { UsageError } from "../../errors.js";
import type { Value } from "../../graph/types.js";
import type { TorchGenerator } from "../../tensor/random.js";
import { elementCount, float32, type Tensor, zeros } from "../../tensor/tensor.js";

/** Name of the adapter in parameters' names, as in PEFT. */
export const ADAPTER = "default";

/** A module with a low-rank term. */
export interface LoraModule {
  /** Path below the network: `mid_block.attentions.0.transformer_blocks.0.attn1.to_q`. */
  readonly module: string;
  /** Of its weight: [out, in] or [out, in, k, k]. */
  readonly shape: readonly number[];
}

/**
 * The modules of a network whose path ends as one of `targets` says.
 * @param parameters of the network, by name
 * @param targets path endings of whole names between dots, `*` for any characters (PEFT's `target_modules`)
 * @throws UsageError for a target that no linear or convolutional module has
 */
export function loraModules(
  where: string,
  parameters: ReadonlyMap<string, Value>,
  targets: readonly string[],
): LoraModule[] {
  const modules = [...parameters].flatMap(([name, { shape }]): LoraModule[] => {
    const weighted = name.endsWith(".weight") && !name.includes("embeddings.");
    const adaptable = weighted && (shape.length === 2 || shape.length === 4);
    return adaptable ? [{ module: name.slice(0, -".weight".length), shape: shape as readonly number[] }] : [];
  });
  const patterns = targets.map(
    (target) => new RegExp(`(^|\\.)${target.replaceAll(".", "\\.").replaceAll("*", ".*")}$`),
  );
  const unmet = targets.filter((_, i) => !modules.some(({ module }) => patterns[i]!.test(module)));
  if (unmet.length > 0) {
    const endings = [...new Set(modules.map(({ module }) => module.replace(/^.*?([a-z_]+(?:\.\d+)?)$/, "$1")))];
    throw new UsageError(
      `${where}: targets: expected endings of its modules (${endings.slice(0, 16).join(", ")}), got ${unmet.join(", ")}`,
    );
  }
  return modules.filter(({ module }) => patterns.some((one) => one.test(module)));
}

/** Names of a module's two matrices as parameters, below the network. */
export function loraNames(module: string): { readonly down: string; readonly up: string } {
  return { down: `${module}.lora_A.${ADAPTER}.weight`, up: `${module}.lora_B.${ADAPTER}.weight` };
}

/** Start values as PEFT draws them: A is uniform within 1 / sqrt(fan in), B is 0, so that the network starts as the base. */
export function initialLora(
  prefix: string,
  modules: readonly LoraModule[],
  rank: number,
  generator: TorchGenerator,
): Map<string, Tensor> {
  const start = new Map<string, Tensor>();
  for (const { module, shape } of modules) {
    const { down, up } = loraNames(module);
    const [out, ...inner] = shape as [number, ...number[]];
    const bound = 1 / Math.sqrt(elementCount(inner));
    const values = generator.uniform(rank * elementCount(inner)).map((x) => bound * (2 * x - 1));
    start.set(`${prefix}.${down}`, float32([rank, ...inner], values));
    start.set(`${prefix}.${up}`, zeros("float32", [out, rank, ...inner.slice(1).map(() => 1)]));
  }
  return start;
}
