/**
 * @file What a pipeline's run costs beside its models: processor time of the process per candidate, syncing, memory over many candidates,
 * resuming.
 *
 * npm run bench -- pipeline [--candidates 100000] [--overhead 2000] [--folder DIR]
 * Backend and reward cost next to nothing: small pictures made beforehand, and a byte of them as the score.
 */

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { report, table } from "./measure.js";

const WORKER = fileURLToPath(new URL("./pipeline-worker.js", import.meta.url));

export const options = {
  candidates: { type: "string", default: "100000" },
  overhead: { type: "string", default: "2000" },
  folder: { type: "string", default: tmpdir() },
};

export async function run({ candidates, overhead, folder }) {
  const parent = await mkdtemp(join(folder, "laurel-bench-pipeline-"));
  try {
    await overheadPerCandidate(parent, Number(overhead));
    await syncing(parent, Number(overhead));
    await memoryOverCandidates(parent, Number(candidates));
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

/** Processor time of a whole run, less that of encoding and writing the same pictures alone; medians of several. */
async function overheadPerCandidate(parent, count) {
  const rows = [];
  for (let round = 0; round < 3; round++) {
    const whole = await worker({ work: "run", parent, count, side: 64, items: count / 20 });
    const alone = await worker({ work: "write", from: whole.directory, parent });
    rows.push({
      wholeMs: whole.cpuMs / count,
      aloneMs: alone.cpuMs / count,
      overheadMs: (whole.cpuMs - alone.cpuMs) / count,
    });
    await rm(whole.directory, { recursive: true, force: true });
  }
  table(rows);
  const [, middle] = [...rows].sort((a, b) => a.overheadMs - b.overheadMs);
  report("pipeline, processor time per candidate beside encoding and writing", middle.overheadMs, "ms", "<= 2", {
    candidates: count,
    ...middle,
  });
}

/** What `--durable` takes: every picture and every line is synced to the disk that holds `parent`. */
async function syncing(parent, count) {
  const request = { work: "run", parent, count, side: 64, items: count / 20 };
  const plain = await worker(request);
  const durable = await worker({ ...request, durable: true });
  const added = (1000 * (durable.seconds - plain.seconds)) / count;
  report("pipeline, time that --durable adds to a candidate", added, "ms", "", {
    candidates: count,
    milliseconds: (1000 * plain.seconds) / count,
    durableMilliseconds: (1000 * durable.seconds) / count,
  });
  for (const { directory } of [plain, durable]) await rm(directory, { recursive: true, force: true });
}

/** Memory of a run of many tiny pictures, and of resuming it when it is done and when its last items are missing. */
async function memoryOverCandidates(parent, count) {
  const samples = [];
  const onLine = (line) => {
    samples.push(line);
    table([line]);
  };
  const made = await worker({ work: "run", parent, count, side: 8, items: count / 50, sample: count / 10 }, onLine);
  const later = samples.slice(1);
  const growth = later.at(-1).rssMb - later[0].rssMb;
  report(`pipeline, growth of memory from ${later[0].candidates} to ${count} candidates`, growth, "MB", "flat", {
    megabytes: samples.map(({ rssMb }) => rssMb),
    heapMegabytes: samples.map(({ heapMb }) => heapMb),
    perSecond: count / made.seconds,
  });
  const done = await worker({ work: "resume", directory: made.directory });
  report(`pipeline, resuming a run of ${count} candidates: peak memory`, done.peakMb, "MB", "", {
    recoverSeconds: done.openSeconds,
    millisecondsPerCandidate: (1000 * done.openSeconds) / count,
    megabytesBeforeOpening: done.beforeMb,
  });
  await shorten(join(made.directory, "items.jsonl"));
  const undone = await worker({ work: "resume", directory: made.directory });
  report(`pipeline, the same when half of its items have no line: peak memory`, undone.peakMb, "MB", "", {
    recoverSeconds: undone.openSeconds,
    drawnAgain: undone.drawn,
  });
}

/** Leaves the first half of the lines. */
async function shorten(path) {
  const lines = (await readFile(path, "utf8")).split("\n").slice(0, -1);
  await writeFile(
    path,
    lines
      .slice(0, lines.length / 2)
      .map((line) => `${line}\n`)
      .join(""),
  );
}

/** Runs `work` in a process of its own; resolves to its last line of JSON. */
function worker(request, onLine = () => undefined) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--expose-gc", WORKER, JSON.stringify(request)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    let last;
    child.stdout.setEncoding("utf8").on("data", (chunk) => {
      const lines = (text + chunk).split("\n");
      text = lines.pop();
      for (const line of lines) {
        if (last !== undefined) onLine(last);
        last = JSON.parse(line);
      }
    });
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve(last) : reject(new Error(`${WORKER}: exit ${code}`))));
  });
}
