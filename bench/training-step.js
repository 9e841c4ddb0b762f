/**
 * @file A training step of the demo denoiser (loss, gradients, AdamW) against its forward pass, runs interleaved.
 *
 * npm run bench -- training-step [--models DIR] [--batch 48] [--rounds 15] [--threads N] [--profile]
 * The same step in PyTorch: python test/reference/training_step.py, same flags.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { graph, input } from "../dist/graph/builder.js";
import { buildUnet, parseUnetConfig } from "../dist/models/unet-2d-condition.js";
import { rootScope } from "../dist/nn/scope.js";
import { openDevice } from "../dist/runtime/device.js";
import { TorchGenerator } from "../dist/tensor/random.js";
import { float32 } from "../dist/tensor/tensor.js";
import { readJson } from "../dist/training/demo-files.js";
import { meanSquaredError } from "../dist/training/losses.js";
import { startValues } from "../dist/training/recipes/recipe-settings.js";
import { createTrainer } from "../dist/training/trainer.js";
import { median, report, table } from "./measure.js";
import { readProfile } from "./profile.js";

const MODELS = fileURLToPath(new URL("../models/demo", import.meta.url));
/** Tokens of a prompt. */
const LENGTH = 32;

export const options = {
  models: { type: "string", default: MODELS },
  batch: { type: "string", default: "48" },
  rounds: { type: "string", default: "15" },
  threads: { type: "string" },
  profile: { type: "boolean", default: false },
};

export async function run({ models, batch, rounds, threads, profile }) {
  const count = Number(batch);
  const where = join(models, "stable-diffusion/unet/config.json");
  const config = parseUnetConfig(readJson(where), where);
  const side = config.sampleSize;
  const shape = [count, config.inChannels, side, side];
  const sample = input("sample", "float32", ["N", ...shape.slice(1)]);
  const prediction = buildUnet(rootScope({ mode: "training" }), config, {
    sample,
    timestep: input("timestep", "float32", ["N"]),
    encoderHiddenStates: input("context", "float32", ["N", LENGTH, config.crossAttentionWidth]),
  });
  const loss = meanSquaredError(prediction, input("target", "float32", sample.shape));
  const generator = new TorchGenerator(1);
  const random = (dims) => float32(dims, generator.randn(dims.reduce((a, b) => a * b, 1)));
  const feeds = {
    sample: random(shape),
    timestep: float32(
      [count],
      Array.from({ length: count }, (_, i) => (i * 31) % 1000),
    ),
    context: random([count, LENGTH, config.crossAttentionWidth]),
    target: random(shape),
  };
  const folder = await mkdtemp(join(tmpdir(), "laurel-bench-"));
  const prefix = profile ? join(folder, "profile") : undefined;
  const device = openDevice({ ...(threads === undefined ? {} : { threads: Number(threads) }), profile: prefix });
  try {
    const parameters = startValues(loss, 1);
    const schedule = { type: "constant", learningRate: 1e-4 };
    const trainer = await createTrainer(
      device,
      "step",
      { loss, parameters },
      { schedule, clipNorm: 1, averageDecay: 0.999 },
    );
    const forward = await device.compile(graph("forward", { loss }), { trainable: new Set(parameters.keys()) });
    const times = { forward: [], step: [], program: [] };
    for (let round = 0; round < Number(rounds) + 2; round++) {
      const started = performance.now();
      await forward.run(feeds);
      const between = performance.now();
      const before = device.runMs;
      await trainer.update([feeds], round, 1000);
      const ended = performance.now();
      if (round < 2) continue; // the first runs allocate
      times.forward.push(between - started);
      times.step.push(ended - between);
      times.program.push(device.runMs - before);
    }
    const [forwardMs, stepMs, programMs] = [times.forward, times.step, times.program].map(median);
    report("training step of the demo denoiser / its forward pass", stepMs / forwardMs, "x", "<= 3.5", {
      forwardMs,
      stepMs,
      programMs,
      batch: count,
      threads: device.threads,
      parameters: [...parameters.values()].reduce((sum, { data }) => sum + data.length, 0),
      rounds: times.step.length,
      profiled: profile,
    });
    if (!profile) return;
    await Promise.all([trainer.dispose(), forward.dispose()]);
    for (const label of ["forward", "step"]) {
      const { ops, costliest } = await readProfile(prefix, label, Number(rounds) + 2);
      table(ops);
      table(costliest);
    }
  } finally {
    await device.close();
    await rm(folder, { recursive: true, force: true });
  }
}
