/** @file What the benchmarks beside PyTorch share: the checkpoints, the other side, turns, and tensors that cross between them. */

import { spawn, spawnSync } from "node:child_process";
import { readdir, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { openDevice } from "../../dist/runtime/device.js";
import { TorchGenerator } from "../../dist/tensor/random.js";
import { float32 } from "../../dist/tensor/tensor.js";
import { memoryOf } from "../machine.js";
import { median, report } from "../measure.js";
import { openPeer } from "../python.js";

const WORKER = fileURLToPath(new URL("./worker.js", import.meta.url));
const MAKER = fileURLToPath(new URL("../../test/reference/full_size.py", import.meta.url));

/** The prompt of test/reference/full_size.py. */
export const PROMPT = "a painting of an ocean with clouds and birds , day time , low depth field effect";

/** Flags of every one of these benchmarks. */
export const OPTIONS = {
  python: { type: "string" },
  threads: { type: "string" },
  rounds: { type: "string" },
  keep: { type: "boolean", default: false },
  folder: { type: "string", default: join(tmpdir(), "laurel-bench-full-size") },
};

/** Makes what is missing of the checkpoints. @returns the pictures' paths */
export async function makeFiles({ python, folder }) {
  if (python === undefined) throw new Error("expected --python INTERPRETER with torch, diffusers and transformers");
  const made = spawnSync(python, [MAKER, folder], { stdio: ["ignore", "ignore", "inherit"] });
  if (made.status !== 0) throw new Error(`full_size.py: expected exit code 0, got ${made.status ?? made.error}`);
  const pictures = join(folder, "pictures");
  return (await readdir(pictures)).sort().map((name) => join(pictures, name));
}

/** Removes the checkpoints unless they are kept for the next time. */
export async function finish({ keep, folder }) {
  if (!keep) await rm(folder, { recursive: true, force: true });
}

export const countThreads = ({ threads }) => (threads === undefined ? availableParallelism() : Number(threads));

/** Runs `work` with a device and, where `peer` is named, the reference's process for that work; both end with it. */
export async function withBoth(flags, peerWork, work) {
  const threads = countThreads(flags);
  const device = openDevice({ threads });
  let peer;
  try {
    if (peerWork !== undefined) {
      peer = await openPeer(flags.python, "full_size_speed.py", [flags.folder, peerWork, "--threads", String(threads)]);
      await peer.ask({ facts: true }); // it has loaded
    }
    return await work(device, peer);
  } finally {
    peer?.close();
    await device.close();
  }
}

/** Seconds that `work` takes. */
export async function timed(work) {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

/**
 * Rounds in which each side has its turn, after one that is not counted: a first run allocates.
 * @param sides name -> a function of the round, 0 for the one that is not counted, that gives the seconds of its turn
 * @returns name -> seconds by round
 */
export async function takeTurns(rounds, sides) {
  const seconds = Object.fromEntries(Object.keys(sides).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, turn] of Object.entries(sides)) {
      const taken = await turn(round);
      if (round > 0) seconds[name].push(taken);
    }
  }
  return seconds;
}

/** The median of the rounds' own ratios, with the rounds. */
export function ratioOf(theirs, ours) {
  const ratios = theirs.map((seconds, i) => seconds / ours[i]);
  return { ratio: median(ratios), ratios };
}

/** Reports how much longer the reference takes. */
export function reportRatio(name, theirs, ours, aim, details = {}) {
  const { ratio, ratios } = ratioOf(theirs, ours);
  report(`${name}, PyTorch's time / Laurel's`, ratio, "x", `>= ${aim}`, {
    seconds: median(ours),
    pytorchSeconds: median(theirs),
    rounds: ratios,
    ...details,
  });
}

/** Reports the largest difference as a part of the largest value. */
export function reportParity(name, ours, theirs) {
  report(
    `${name}, largest difference from PyTorch's / largest value`,
    relativeDifference(ours, theirs),
    "of 1",
    "<= 1e-4",
  );
}

function relativeDifference(ours, theirs) {
  if (ours.length !== theirs.length) throw new Error(`expected ${theirs.length} numbers, got ${ours.length}`);
  let [difference, largest] = [0, 0];
  for (let i = 0; i < ours.length; i++) {
    difference = Math.max(difference, Math.abs(ours[i] - theirs[i]));
    largest = Math.max(largest, Math.abs(theirs[i]));
  }
  return difference / largest;
}

/** Peak memory of the device process and of this one, together in MB. */
export function peakOf(device) {
  const [own, caller] = [memoryOf(device.pid).peakRss, memoryOf(process.pid).peakRss];
  return { peak: own + caller, device: own, caller };
}

/** A tensor as full_size_speed.py reads it. */
export function toMessage({ shape, data }) {
  return { shape, data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64") };
}

/** The numbers of an answer's tensor. */
export function fromMessage({ data }) {
  const bytes = Buffer.from(data, "base64");
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** Normal numbers, the same every time. */
export function randomTensor(seed, shape) {
  return float32(shape, new TorchGenerator(seed).randn(shape.reduce((product, size) => product * size, 1)));
}

export function wholeNumbers(shape, numbers) {
  return { dtype: "int64", shape, data: BigInt64Array.from(numbers, BigInt) };
}

/** Runs worker.js to its end: what it printed last, with the seconds from its start to each step. */
export async function runWorker(flags, request) {
  const started = performance.now();
  const since = () => (performance.now() - started) / 1000;
  const full = JSON.stringify({ ...request, threads: countThreads(flags) });
  const args = [WORKER, join(flags.folder, "stable-diffusion"), full];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const stepSeconds = [];
  let last;
  for await (const line of createInterface({ input: child.stdout })) {
    last = JSON.parse(line);
    if ("step" in last) stepSeconds.push(since());
  }
  const code = await ended;
  if (code !== 0) throw new Error(`worker.js ${full}: expected exit code 0, got ${code}`);
  return { ...last, stepSeconds, wallSeconds: since() };
}

/** Runs diffusers' pipeline in a process of its own: its facts, with the seconds from its start to its answer. */
export async function runPipeline(flags, { steps, until }) {
  const started = performance.now();
  const args = [flags.folder, "pipeline", "--threads", String(countThreads(flags))];
  const peer = await openPeer(flags.python, "full_size_speed.py", args, { pauseMs: 0 });
  try {
    await peer.ask({ steps, until });
    const wallSeconds = (performance.now() - started) / 1000;
    return { ...(await peer.ask({ facts: true })), wallSeconds };
  } finally {
    peer.close();
  }
}
