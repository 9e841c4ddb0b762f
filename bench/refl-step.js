/**
 * @file A ReFL update of the demo models (sampling without gradient, the differentiated step, decoder, reward, LoRA gradients, clipping, AdamW) against the same
 * update in PyTorch + diffusers + peft: same start, prompts, seeds and steps, in turns.
 *
 * npm run bench -- refl-step [--batch 4] [--rounds 9] [--threads N] [--memory fast] [--python INTERPRETER] [--attention plain] [--profile]
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openDevice } from "../dist/runtime/device.js";
import { TorchGenerator } from "../dist/tensor/random.js";
import { Drawer } from "../dist/training/finetune/drawer.js";
import { createReflLoss } from "../dist/training/finetune/refl.js";
import { createOptimizer } from "../dist/training/optimizer.js";
import { saveSafetensors } from "../dist/weights/safetensors.js";
import { memoryOf, processorSeconds } from "./machine.js";
import { median, report, table } from "./measure.js";
import { readProfile } from "./profile.js";
import { openPeer } from "./python.js";
import { HINGE, openParts, PROMPT } from "./refl-parts.js";

const DEMO = fileURLToPath(new URL("../models/demo", import.meta.url));
const RANK = 4;
/** DDPM steps of a trajectory, and the share of them that is never differentiated. */
const [STEPS, FROM] = [40, 0.75];
const OPTIMIZER = { schedule: { type: "constant", learningRate: 1e-4 }, clipNorm: 1, weightDecay: 0.01 };

export const options = {
  batch: { type: "string", default: "4" },
  rounds: { type: "string", default: "9" },
  threads: { type: "string" },
  memory: { type: "string", default: "fast" },
  python: { type: "string" },
  attention: { type: "string", default: "plain" },
  profile: { type: "boolean", default: false },
};

export async function run({ batch, rounds, threads, memory, python, attention, profile }) {
  const folder = await mkdtemp(join(tmpdir(), "laurel-bench-refl-"));
  const prefix = profile ? join(folder, "profile") : undefined;
  const device = openDevice({ ...(threads === undefined ? {} : { threads: Number(threads) }), profile: prefix });
  let peer;
  try {
    const own = await open(device, { batch: Number(batch), memory });
    if (python !== undefined) {
      const start = join(folder, "start.safetensors");
      await saveSafetensors(start, new Map([...own.start].map(([name, value]) => [name.slice("unet.".length), value])));
      const flags = { batch, rank: RANK, steps: STEPS, threads: device.threads, attention };
      const given = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
      peer = await openPeer(python, "refl_step.py", [DEMO, start, ...given]);
      await peer.ask({ facts: true }); // it has loaded
    }
    const rows = await measure(own, peer, Number(rounds));
    const facts = { batch: Number(batch), memory, threads: device.threads, attention, profiled: profile };
    await reportRounds(rows, device, peer, facts);
    if (profile) await printProfiles(own, prefix, rows.length);
  } finally {
    peer?.close();
    await device.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function open(device, { batch, memory }) {
  const { model, guides } = await openParts(device, {
    diffusion: join(DEMO, "stable-diffusion"),
    judge: join(DEMO, "image-reward"),
    rank: RANK,
  });
  for (const [name, value] of model.start) await device.bind(name, value);
  const drawer = new Drawer(device, model);
  const context = {
    device,
    model,
    drawer,
    guides,
    memory,
    pickPrompt: () => ({ prompt: PROMPT }),
    batchSize: batch,
    signal: undefined,
    warn: () => undefined,
  };
  const sampling = { sampler: "ddpm", steps: STEPS, guidance: 1 };
  const loss = await createReflLoss(context, { ...HINGE, from: FROM, sampling });
  const optimizer = await createOptimizer(device, "refl", loss.parameters, OPTIMIZER);
  return { device, drawer, loss, optimizer, start: model.start, batch };
}

/** Updates in turns. What Laurel draws in an update (prompts, seeds, steps) is drawn before with the same generator and given to the other side. */
async function measure({ device, loss, optimizer, batch }, peer, rounds) {
  const rows = [];
  for (let round = 0; round <= rounds; round++) {
    const given = drawn(round, batch);
    const [started, before, processor] = [performance.now(), device.runMs, processorTime(device)];
    const result = await loss.gradient(new TorchGenerator(round), "bench");
    await optimizer.step(round, rounds + 1);
    const seconds = (performance.now() - started) / 1000;
    const inside = (device.runMs - before) / 1000;
    const cpu = processorTime(device) - processor;
    const other = await peer?.ask(given);
    rows.push({ seconds, inside, cpu, loss: result.loss, other });
  }
  return rows;
}

/** Seconds of processor time of the device process and this one: on a busy machine it says more than the time that passed. */
function processorTime({ pid }) {
  const { user, system } = process.cpuUsage();
  return processorSeconds(pid) + (user + system) / 1e6;
}

/** What an update with this generator draws, in its order. */
function drawn(seed, batch) {
  const generator = new TorchGenerator(seed);
  generator.uniform(batch);
  const seeds = Array.from(generator.randint(0, 2 ** 31, batch));
  const steps = Array.from(generator.randint(FROM * STEPS, STEPS, batch));
  return { prompts: seeds.map(() => PROMPT), seeds, steps };
}

async function reportRounds([first, ...rows], device, peer, facts) {
  // the first update allocates: it is not timed, but before it both sides are equal
  const memory = { device: memoryOf(device.pid), parent: memoryOf(process.pid) };
  const seconds = median(rows.map((row) => row.seconds));
  const inside = median(rows.map((row) => row.inside));
  report("ReFL update of the demo models", seconds, "s", null, { insidePrograms: inside, ...facts });
  report("ReFL update, peak memory of the device process", memory.device.peakRss, "MB", null, memory);
  if (peer === undefined) return;
  const { peakRssMB, torch } = await peer.ask({ facts: true });
  const ratios = rows.map(({ seconds: own, other }) => own / other.seconds);
  const theirs = median(rows.map(({ other }) => other.seconds));
  const difference = ({ loss, other }) => Math.abs(loss - other.loss) / other.loss;
  const both = memory.device.peakRss + memory.parent.peakRss;
  report("ReFL update, Laurel's time / PyTorch's", median(ratios), "x", "<= 1.0", { pytorchSeconds: theirs, ratios });
  const cpuRatio = median(rows.map(({ cpu, other }) => cpu / other.cpu));
  const [ownCpu, theirCpu] = [median(rows.map(({ cpu }) => cpu)), median(rows.map(({ other }) => other.cpu))];
  report("ReFL update, Laurel's processor time / PyTorch's", cpuRatio, "x", null, { ownCpu, theirCpu });
  const later = rows.map(difference);
  report("ReFL update, relative difference of the first losses", difference(first), "", "<= 1e-4", { later, torch });
  report("ReFL update, Laurel's peak memory / PyTorch's", both / peakRssMB, "x", "<= 1.0", { both, peakRssMB });
  table([
    { side: "Laurel", "s an update": seconds, "processor s": ownCpu, "peak MB": both },
    { side: `PyTorch ${torch}`, "s an update": theirs, "processor s": theirCpu, "peak MB": peakRssMB },
  ]);
}

async function printProfiles({ loss, drawer }, prefix, runs) {
  await Promise.all([loss.dispose(), drawer.dispose()]);
  for (const label of ["refl", "denoiser"]) {
    const { ops, costliest } = await readProfile(prefix, label, runs);
    table(ops);
    table(costliest);
  }
}
