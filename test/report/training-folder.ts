/** @file Writes training folders as a training would leave them, with invented curves and rendered pictures. */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createRandom } from "#laurel/demo/random";
import { renderScene } from "#laurel/demo/render";
import { describe, sampleScene } from "#laurel/demo/scene";
import { printDescription } from "#laurel/demo/grammar";
import { encodePng } from "#laurel/image/png";
import { smallRandom } from "#laurel/util/statistics";

export interface InventedTraining {
  readonly updates: number;
  readonly steps: number;
  /** Updates between validations. */
  readonly every: number;
  /** Step at which the held-out reward begins to fall. */
  readonly hackedFrom: number;
  readonly status?: "running" | "finished" | "stopped" | "failed";
  /** Changes `training.json`. */
  readonly manifest?: Readonly<Record<string, unknown>>;
}

const PROMPTS = 16;
const EACH = 4;

/** A folder with log, validations, pictures of eight prompts and the LoRA's name. */
export async function inventTraining(directory: string, training: InventedTraining): Promise<void> {
  const { updates, steps, every, hackedFrom, status = "finished" } = training;
  const random = smallRandom(11);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const scenes = Array.from({ length: PROMPTS }, (_, i) => sampleScene(createRandom(i)));
  const prompts = scenes.map((scene, i) => printDescription(describe(createRandom(100 + i), scene, 0.4)));
  const places = Array.from({ length: PROMPTS * EACH }, (_, index) => ({
    index, prompt: prompts[Math.floor(index / EACH)]!, seed: 90_000 + index,
  })); // prettier-ignore
  const base = places.map(() => ({ guide: 0.2 + 0.8 * normal(), held: 0.28 + 0.05 * normal() }));
  await mkdir(join(directory, "validation"), { recursive: true });
  const log: string[] = [];
  for (let step = 1; step <= updates; step++) {
    const warm = Math.min(1, step / 20);
    const gradientNorm = 0.02 * Math.exp(0.5 * normal());
    const pretrain = 0.4 * Math.exp(0.2 * normal());
    log.push(
      JSON.stringify({
        step,
        loss: 2e-3 - 6e-4 * (1 - Math.exp(-step / 80)) + 1e-4 * normal(),
        learningRate: 1e-4 * warm,
        gradientNorm,
        seconds: step * 2.3,
        "reward/image-reward": 0.1 + 0.6 * (1 - Math.exp(-step / 80)) + 0.3 * normal(),
        "pretrain/loss": 0.05 * Math.exp(0.1 * normal()),
        "pretrain/gradientNorm": pretrain,
        gradientRatio: gradientNorm / pretrain,
      }),
    );
  }
  const validations: string[] = [];
  for (let step = 0; step <= updates; step += every) {
    const gain = 0.7 * (1 - Math.exp(-step / 80));
    const fall = Math.max(0, step - hackedFrom) / steps;
    validations.push(
      JSON.stringify({
        step,
        scores: {
          "image-reward": base.map(({ guide }) => guide + gain + 0.2 * (step === 0 ? 0 : normal())),
          "clip-score": base.map(({ held }) => held + 0.02 * gain - 0.12 * fall + 0.02 * (step === 0 ? 0 : normal())),
        },
        guide: ["image-reward"],
        heldOut: ["clip-score"],
        diversity: prompts.map((_, i) => (1.4 + 0.02 * i) * (1 - 0.08 * gain - 0.3 * fall) + (step === 0 ? 0 : 0.05 * normal())), // prettier-ignore
        divergence: 2e-5 * step,
        alarm: null,
      }),
    );
    const folder = join(directory, "validation", String(step));
    await mkdir(folder, { recursive: true });
    for (let i = 0; i < 8; i++) {
      const picture = renderScene(step === 0 ? sampleScene(createRandom(900 + i)) : scenes[i]!, createRandom(step + i));
      await writeFile(join(folder, `${i * EACH}.png`), await encodePng(picture));
    }
  }
  await writeFile(join(directory, "validation", "prompts.json"), JSON.stringify(places));
  await writeFile(join(directory, "log.jsonl"), `${log.join("\n")}\n`);
  await writeFile(join(directory, "validation.jsonl"), `${validations.join("\n")}\n`);
  await writeFile(join(directory, "pytorch_lora_weights.safetensors"), "");
  const manifest = {
    format: 1,
    kind: "training",
    id: "20261130-101500-refl-a1b2",
    method: "refl",
    status,
    config: {
      method: "refl",
      steps,
      batchSize: 4,
      train: { kind: "lora", rank: 4, alpha: null, targets: ["to_q", "to_k", "to_v", "to_out.0"] },
      rewards: { "image-reward": 1 },
      heldOut: ["clip-score"],
      margin: 2,
      scale: 1e-3,
      guards: { every, prompts: PROMPTS, imagesPerPrompt: EACH, alarm: true, standardErrors: 2, diversityFloor: 0.8, divergenceLimit: 0.05, keepBest: true },
    },
    models: { model: { name: "laurel-shapes", digest: "9".repeat(64) }, rewards: { "image-reward": { name: "image-reward", digest: "8".repeat(64) } } },
    versions: { laurel: "0.5.0", node: "v22.0.0" },
    startedAt: "2026-11-30T10:15:00.000Z",
    finishedAt: status === "running" ? null : "2026-11-30T10:45:00.000Z",
    steps,
    step: updates,
    stop: status === "stopped" ? { reason: "the guards raised an alarm", step: updates } : null,
    ...training.manifest,
  }; // prettier-ignore
  await writeFile(join(directory, "training.json"), JSON.stringify(manifest));
}
