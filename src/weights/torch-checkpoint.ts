/** @file PyTorch checkpoints (`torch.save`). */
import { FileReader } from "./file-reader.js";
import type { WeightSource } from "./types.js";

export async function openTorchCheckpoint(path: string): Promise<WeightSource> {
  return FileReader.with(path, (file) => {
    throw file.fault("expected a safetensors file, got a PyTorch checkpoint");
  });
}
