/** @file Telling folders of ONNX files (optimum's and diffusers' exports) from folders of weights. */

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { findComponentWeights } from "../weights/component.js";

/** True for a folder whose denoiser is there as ONNX and not as weights; published repositories may have both. */
export async function isOnnxFolder(directory: string): Promise<boolean> {
  const unet = join(directory, "unet");
  const exported = await stat(join(unet, "model.onnx")).catch(() => undefined);
  if (exported?.isFile() !== true) return false;
  return findComponentWeights(unet).then(
    () => false,
    () => true,
  );
}

/** Why nothing can be done with the weights of such a folder. */
export function noWeights(directory: string): string {
  return `${directory}: expected weights (safetensors or PyTorch), got an export to ONNX: it draws pictures, but cannot be trained, merged with LoRAs, or differentiated`;
}
