/** @file What a run leaves: a LoRA file, or a diffusers folder with the trained weights. */

import { join } from "node:path";
import { InternalError } from "../../errors.js";
import type { Tensor } from "../../tensor/tensor.js";
import { type LoraUpdates, saveLora } from "../../weights/lora/save.js";
import type { LoraComponent } from "../../weights/lora/types.js";
import { saveDiffusersFolder } from "../../weights/diffusers-folder.js";
import { loraNames } from "./trained-part.js";
import { PREFIXES, type TunedModel } from "./tuned-model.js";

/** File of a trained LoRA, as diffusers looks for it in a folder. */
export const LORA_FILE = "pytorch_lora_weights.safetensors";
/** Folder of a model with all weights trained. */
export const MODEL_FOLDER = "model";

/** The networks of a LoRA by the prefix of their parameters. */
const COMPONENTS: Readonly<Record<string, LoraComponent>> = {
  [PREFIXES.unet]: "unet",
  [PREFIXES.text]: "text_encoder",
};

/**
 * Writes trained parameters where other programs find them, whole or not at all.
 * @param parameters by bound name
 * @param metadata kept in a LoRA's file
 * @returns the file or folder
 */
export async function saveResult(
  directory: string,
  model: TunedModel,
  parameters: ReadonlyMap<string, Tensor>,
  metadata: ReadonlyMap<string, string>,
): Promise<string> {
  if (model.settings.kind === "lora") {
    const path = join(directory, LORA_FILE);
    await saveLora(path, loraUpdates(model, parameters), { metadata });
    return path;
  }
  const path = join(directory, MODEL_FOLDER);
  const replaced = new Map<string, Map<string, Tensor>>();
  for (const [prefix, folder] of [
    [PREFIXES.unet, "unet"],
    [PREFIXES.text, "text_encoder"],
  ] as const) {
    const own = [...parameters].filter(([name]) => name.startsWith(`${prefix}.`));
    // under the names that the file has: an older layout keeps its own
    const named = own.map(
      ([name, value]) => [model.weights.get(name)?.name ?? name.slice(prefix.length + 1), value] as const,
    );
    if (named.length > 0) replaced.set(folder, new Map(named));
  }
  await saveDiffusersFolder(model.folder.directory, path, replaced);
  return path;
}

function loraUpdates(model: TunedModel, parameters: ReadonlyMap<string, Tensor>): LoraUpdates {
  const { settings } = model;
  if (settings.kind !== "lora") throw new InternalError("result: expected low-rank terms, got all weights");
  const { rank } = settings;
  const alpha = settings.alpha ?? rank;
  return new Map(
    [...model.lora].map(([prefix, modules]) => {
      const layers = modules.map(({ module }) => {
        const { down, up } = loraNames(module);
        const of = (name: string): Tensor => parameters.get(`${prefix}.${name}`)!;
        return [module, { down: of(down), up: of(up), rank, alpha }] as const;
      });
      return [COMPONENTS[prefix]!, new Map(layers)];
    }),
  );
}
