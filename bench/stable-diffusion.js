/**
 * @file A denoiser of Stable Diffusion 1.5's size (860 M parameters) with random weights: a guided step against a Gemm of its convolutions' shape.
 *
 * npm run bench -- stable-diffusion [--size 256] [--rounds 3] [--threads N] [--profile] [--keep] [--folder DIR]
 * It writes 3.4 GB below the system's temporary folder and needs about as much memory.
 */

import { mkdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gemm, graph, input, reshape } from "../dist/graph/builder.js";
import { buildUnet, parseUnetConfig } from "../dist/models/unet-2d-condition.js";
import { rootScope } from "../dist/nn/scope.js";
import { openDevice } from "../dist/runtime/device.js";
import { TorchGenerator } from "../dist/tensor/random.js";
import { float32 } from "../dist/tensor/tensor.js";
import { openWeights } from "../dist/weights/open.js";
import { writeRandomCheckpoint } from "./checkpoint.js";
import { matrixOperations } from "../dist/graph/operations.js";
import { openGemmPeak } from "./gemm-peak.js";
import { memoryOf } from "./machine.js";
import { median, report, table } from "./measure.js";
import { readProfile } from "./profile.js";

const SEED = 20220822;
/** Stable Diffusion 1.5's; the rest are diffusers' defaults. */
const CONFIG = {
  sample_size: 64,
  in_channels: 4,
  out_channels: 4,
  block_out_channels: [320, 640, 1280, 1280],
  layers_per_block: 2,
  cross_attention_dim: 768,
  attention_head_dim: 8,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
};
/** A guided step denoises with the prompt and without it. */
const HALVES = 2;
/** The second level's 3x3 convolutions of 640 channels, as the products they are: [positions, 9 * 640] x [9 * 640, 640]. */
const CONVOLUTIONS = [
  "down_blocks.1.resnets.0.conv2",
  "down_blocks.1.resnets.1.conv1",
  "down_blocks.1.resnets.1.conv2",
];
const PROFILED_RUNS = 2;

export const options = {
  size: { type: "string", default: "256" },
  rounds: { type: "string", default: "3" },
  threads: { type: "string" },
  profile: { type: "boolean", default: false },
  keep: { type: "boolean", default: false },
  folder: { type: "string", default: join(tmpdir(), "laurel-bench-stable-diffusion") },
};

export async function run({ size, rounds, threads, profile, keep, folder }) {
  const side = Number(size) / 8;
  const network = denoiser(side);
  const feeds = randomFeeds(side);
  const path = join(folder, "unet.safetensors");
  const prefix = profile ? join(folder, "profile") : undefined;
  const device = openDevice({ ...(threads === undefined ? {} : { threads: Number(threads) }), profile: prefix });
  try {
    await mkdir(folder, { recursive: true });
    const there = await stat(path).catch(() => undefined);
    if (there === undefined) await writeRandomCheckpoint(path, network.parameters, SEED);
    const weights = (await openWeights(path)).entries;
    const program = await device.compile(network, { weights });
    const compileSeconds = device.compileMs / 1000;
    const step = async () => {
      const started = performance.now();
      const { prediction } = await program.run(feeds);
      if (!prediction.data.every(Number.isFinite)) throw new Error("denoiser: expected finite numbers");
      return (performance.now() - started) / 1000;
    };
    await step(); // it allocates
    const memory = { device: memoryOf(device.pid), parent: memoryOf(process.pid) };
    if (profile) {
      for (let i = 1; i < PROFILED_RUNS; i++) await step();
      await program.dispose();
      const { ops, costliest } = await readProfile(prefix, network.name, PROFILED_RUNS);
      table(ops);
      table(costliest);
      return;
    }
    const peak = await openGemmPeak(device, weights, 5760, convolutionProducts);
    const flops = matrixOperations(network, { N: HALVES });
    const positions = HALVES * (side / 2) ** 2;
    await peak.flopRate(positions);
    const [seconds, rates, fractions] = [[], [], []];
    for (let round = 0; round < Number(rounds); round++) {
      const first = await peak.flopRate(positions);
      const taken = await step();
      const rate = (first + (await peak.flopRate(positions))) / 2;
      seconds.push(taken);
      rates.push(rate);
      fractions.push(flops / taken / rate);
    }
    const name = `Stable Diffusion 1.5's denoiser, a guided step at ${size}x${size}`;
    const details = {
      gflop: flops / 1e9,
      gemmGflopPerSecond: median(rates) / 1e9,
      compileSeconds,
      rounds: fractions,
      threads: device.threads,
    };
    report(name, median(seconds), "s", null, details);
    report(`${name}, FLOP/s of its products / FLOP/s of a Gemm of its convolutions' shape`, median(fractions), "of 1");
    report(`${name}, peak memory of the device process`, memory.device.peakRss, "MB", null, memory);
    table([{ size, seconds: median(seconds), "of Gemm": median(fractions), "peak MB": memory.device.peakRss }]);
  } finally {
    await device.close();
    if (!keep) await rm(folder, { recursive: true, force: true });
  }
}

function denoiser(side) {
  const config = parseUnetConfig(CONFIG, "Stable Diffusion 1.5");
  const prediction = buildUnet(rootScope({ mode: "inference" }), config, {
    sample: input("sample", "float32", ["N", 4, side, side]),
    timestep: input("timestep", "float32", ["N"]),
    encoderHiddenStates: input("states", "float32", ["N", 77, 768]),
  });
  return graph("denoiser", { prediction });
}

function randomFeeds(side) {
  const generator = new TorchGenerator(1);
  const random = (shape) => float32(shape, generator.randn(shape.reduce((a, b) => a * b, 1)));
  return {
    sample: random([HALVES, 4, side, side]),
    timestep: float32([HALVES], [500, 500]),
    states: random([HALVES, 77, 768]),
  };
}

function convolutionProducts(scope, rows) {
  return CONVOLUTIONS.map((name) =>
    gemm(rows, reshape(scope.at(name).parameter("weight", [640, 640, 3, 3]), [640, 5760]), undefined, { transB: true }),
  );
}
