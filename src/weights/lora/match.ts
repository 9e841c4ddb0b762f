/** @file Which layers of a model a LoRA changes, and whether it fits them. */

import { ModelError } from "../../errors.js";
import type { AdaptableLayers, LoraComponent, LoraFile, LoraLayer, LoraLayers } from "./types.js";

/** Layers that are listed; the rest is counted. */
const SHOWN = 3;

/** A LoRA's layers by the model's own paths. */
export type MatchedLora = ReadonlyMap<LoraComponent, LoraLayers>;

/**
 * Finds the layer of every update. kohya's names, whose dots are underscores, are those of the layers that would be written so.
 * @throws ModelError naming the file and the first layers that are not there or have another shape
 */
export function matchLora(lora: LoraFile, model: AdaptableLayers): MatchedLora {
  const matched = new Map<LoraComponent, Map<string, LoraLayer>>();
  const faults: string[] = [];
  let count = 0;
  for (const [component, layers] of lora.components) {
    const known = model.get(component) ?? new Map<string, readonly number[]>();
    const paths =
      lora.naming === "kohya" ? new Map([...known.keys()].map((path) => [kohyaName(path), path])) : undefined;
    const own = new Map<string, LoraLayer>();
    for (const [name, layer] of layers) {
      count++;
      const path = paths === undefined ? name : paths.get(name);
      const shape = path === undefined ? undefined : known.get(path);
      if (path === undefined || shape === undefined)
        faults.push(`${layer.down.name}: no such layer in the ${LABELS[component]}`);
      else {
        const problems = mismatches(layer, shape);
        if (problems.length > 0) faults.push(problems.join(", "));
        own.set(path, layer);
      }
    }
    matched.set(component, own);
  }
  if (faults.length > 0) {
    const more = faults.length > SHOWN ? `; and ${faults.length - SHOWN} more` : "";
    throw new ModelError(
      `${lora.path}: expected a LoRA for this model, got one of which ${faults.length} of ${count} layers do not fit: ${faults.slice(0, SHOWN).join("; ")}${more}`,
    );
  }
  return matched;
}

const LABELS: Readonly<Record<LoraComponent, string>> = { unet: "denoiser", text_encoder: "text encoder" };

/** A layer's path as kohya's trainers write it. */
export function kohyaName(path: string): string {
  return path.replaceAll(".", "_");
}

/** The shapes that the matrices for a weight [out, in, ...kernel] have. */
export function loraShapes(
  [out = 0, ...inner]: readonly number[],
  rank: number,
): { readonly down: readonly number[]; readonly up: readonly number[] } {
  return { down: [rank, ...inner], up: [out, rank, ...inner.slice(1).map(() => 1)] };
}

/** What differs. A 1x1 convolution may be given as a matrix, and the other way round. */
function mismatches({ down, up, rank }: LoraLayer, shape: readonly number[]): string[] {
  const expected = loraShapes(shape, rank);
  return [[down, expected.down] as const, [up, expected.up] as const].flatMap(([{ name, shape: actual }, wanted]) =>
    asKernel(actual) === asKernel(wanted) ? [] : [`${name}: expected [${wanted.join(",")}], got [${actual.join(",")}]`],
  );
}

function asKernel(shape: readonly number[]): string {
  return [...shape, ...Array<number>(Math.max(0, 4 - shape.length)).fill(1)].join(",");
}
