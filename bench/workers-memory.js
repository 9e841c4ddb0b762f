/**
 * @file Memory of the process that submits a hundred thousand prompts to a queue, and its processor time a candidate; with `--scored`, each picture is scored
 * over the queue, too.
 *
 * npm run bench -- workers-memory [--prompts 100000] [--side 16] [--scored] [--queue-kind redis|postgres]
 */

import { mkdir, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { memoryOf, processorSeconds } from "./machine.js";
import { report, table } from "./measure.js";
import { runIn } from "./run-content.js";
import { Fleet, laurel, queueServer, sleepingBackend } from "./workers/servers.js";

export const options = {
  prompts: { type: "string", default: "100000" },
  side: { type: "string", default: "16" },
  scored: { type: "boolean", default: false },
  "queue-kind": { type: "string", default: "redis" },
};

export async function run(flags) {
  const prompts = Number(flags.prompts);
  const folder = await mkdtemp(join(tmpdir(), "laurel-bench-memory-"));
  const queue = await queueServer(flags["queue-kind"], folder);
  const backend = await sleepingBackend(0, Number(flags.side));
  const store = join(folder, "store");
  await mkdir(store);
  const config = join(folder, "sleeping.yaml");
  await writeFile(config, JSON.stringify({ backend: "openai", url: backend.url, model: "sleep", concurrency: 16 }));
  const environment = { OPENAI_API_KEY: "bench" };
  const fleet = new Fleet(
    [
      "--queue",
      queue.address,
      "--store",
      store,
      "--capabilities",
      `sleep=${config},score`,
      "--concurrency",
      16,
      "--quiet",
    ],
    environment,
  );
  const samples = [];
  let [cpuSeconds, server] = [null, undefined];
  try {
    await queue.start();
    fleet.start(1);
    const file = join(folder, "pipeline.yaml");
    await writeFile(
      join(folder, "prompts.txt"),
      Array.from({ length: prompts }, (_, i) => `prompt number ${i}\n`).join(""),
    );
    await writeFile(
      file,
      JSON.stringify({
        version: 1,
        name: "memory",
        prompts: { file: "prompts.txt" },
        seed: 1,
        steps: [{ generate: { count: 1 } }, ...(flags.scored ? [{ score: null }] : [])],
      }),
    );
    const out = join(folder, "out");
    const given = ["--queue", queue.address, "--store", store, "--capability", "sleep", "--out", out, "--quiet"];
    const startedAt = performance.now();
    // what is left after a collection of garbage is what the process keeps; between two of them memory rises as far as there is room
    const heap = [];
    const collected = (text) =>
      heap.push(...[...text.matchAll(/Mark-Compact.*?-> ([\d.]+) \(/g)].map(([, left]) => Number(left)));
    const submitter = laurel(["run", file, ...given], environment, {
      nodeOptions: ["--trace-gc"],
      onOutput: collected,
    });
    const candidates = counter();
    let ended;
    void submitter.closed.then((result) => (ended = result));
    for (let [next, most] = [prompts / 10, 0]; ended === undefined; await sleep(200)) {
      const { rss } = memoryOf(submitter.child.pid);
      if (rss === null) continue;
      most = Math.max(most, rss);
      const done = await candidates(out);
      if (done < next) continue;
      cpuSeconds = processorSeconds(submitter.child.pid) ?? cpuSeconds;
      samples.push({
        candidates: done,
        kept: Math.min(...heap.splice(0)),
        most,
        seconds: (performance.now() - startedAt) / 1000,
      });
      table([samples.at(-1)]);
      [next, most] = [next + prompts / 10, 0];
    }
    server = queue.counts?.();
    if (ended.code !== 0) throw new Error(`the run: exit ${ended.code}\n${ended.stderr}`);
  } finally {
    await fleet.stop();
    await queue.stop();
    backend.stop();
    await rm(folder, { recursive: true, force: true });
  }
  // the first tenth fills caches
  const later = samples.slice(1).filter(({ kept }) => Number.isFinite(kept));
  report(
    `heap that the submitting process keeps at ${later.at(-1)?.candidates} prompts, over that at ${later[0]?.candidates}`,
    (later.at(-1)?.kept ?? Number.NaN) - (later[0]?.kept ?? Number.NaN),
    "MB",
    "flat",
    {
      prompts,
      side: Number(flags.side),
      scored: flags.scored,
      keptMegabytes: samples.map(({ kept }) => kept),
      peakMegabytes: samples.map(({ most }) => most),
      cpuMsPerPrompt: (1000 * cpuSeconds) / (samples.at(-1)?.candidates ?? Number.NaN),
      ...(server === undefined
        ? {}
        : {
            commandsPerPrompt: server.commands / prompts,
            bytesInPerPrompt: server.bytesIn / prompts,
            bytesOutPerPrompt: server.bytesOut / prompts,
            redisCpuMsPerPrompt: (1000 * server.cpuSeconds) / prompts,
            redisMegabytes: server.memoryMb,
          }),
      perSecond: prompts / (samples.at(-1)?.seconds ?? Number.NaN),
    },
  );
}

/** Counts the candidates of the run in a folder, reading only the lines that are new. */
function counter() {
  let [at, count] = [0, 0];
  return async (out) => {
    const directory = await runIn(out);
    const file = directory && (await open(join(directory, "candidates.jsonl")).catch(() => undefined));
    if (!file) return 0;
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc((await file.stat()).size - at), 0, undefined, at);
      at += bytesRead;
      for (let i = 0; i < bytesRead; i++) if (buffer[i] === 10) count++;
      return count;
    } finally {
      await file.close();
    }
  };
}
