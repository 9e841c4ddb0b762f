/** @file `laurel worker`: draws and scores for runs of other machines. */

import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type BackendConfig, BACKEND_KINDS } from "../../backends/config.js";
import { absolutePaths, loadBackendConfig } from "../../backends/load-config.js";
import { openConfigured } from "../../backends/open.js";
import { modelName, SCORE_CAPABILITY } from "../../cluster/protocol.js";
import { startWorker } from "../../cluster/worker.js";
import { EXIT, UsageError } from "../../errors.js";
import { WorkerModels } from "../../library/worker-models.js";
import { laurelCacheFolder } from "../../util/user-folders.js";
import { unlessAborted } from "../../util/abort.js";
import type { Action, CommandContext, ModelSession } from "../context.js";
import { openJudges } from "../judges.js";
import { duration, printable, warnTo } from "../output.js";
import { withQueue } from "../queued.js";
import type { WorkerFlags } from "./worker.entry.js";

/** Ends when it is told to, or when there was nothing to do for long enough. */
export const worker: Action<WorkerFlags> = async (context, _, flags) => {
  const { terminal, signal } = context;
  const capabilities = await capabilitiesOf(flags.capabilities);
  const names = [...capabilities.keys()];
  const name = flags.name ?? `${hostname()}:${process.pid}`;
  const say = (message: string): void => {
    if (flags.quiet !== true) terminal.stderr.write(`${message}\n`);
  };
  const warn = warnTo(terminal);
  const { serveStatus, WorkerMetrics } = await import("../../cluster/status-server.js");
  const metrics = new WorkerMetrics(name, names);
  return withQueue(context, flags, warn, async (queue, storage) => {
    const models = modelsOf(context, capabilities);
    const status = flags.listen === undefined ? undefined : await serveStatus(metrics, flags.listen);
    try {
      // what cannot be opened is told before a job is taken
      for (const one of names) if (one !== SCORE_CAPABILITY) await unlessAborted(models.backend(one), signal);
      let lastJob = performance.now();
      let done = 0;
      const started = await startWorker(queue, storage, names, models, {
        name,
        files: join(laurelCacheFolder(terminal.environment), "files"),
        concurrency: flags.concurrency,
        rate: rateOf(flags.rate),
        lockMs: flags.lock === undefined ? undefined : flags.lock * 1000,
        maximumStalls: flags.maxStalls,
        onNotice: warn,
        onJob: ({ id, queue: from, ok, ms }) => {
          lastJob = performance.now();
          done++;
          metrics.count({ queue: from, ok, ms });
          if (flags.jsonl === true)
            terminal.stdout.write(`${JSON.stringify({ schemaVersion: 1, id, queue: from, ok, ms })}\n`);
          else say(`${ok ? "done" : "failed"} ${printable(id.slice(0, 20))} ${printable(from)} ${duration(ms)}`);
        },
      });
      metrics.watch(started);
      say(
        `worker ${printable(name)} takes ${names.map(printable).join(", ")} from ${queue.address}, storage ${storage.address}${status === undefined ? "" : `, ${status.url}/metrics`}`,
      );
      const idleMs = flags.idleExit === undefined ? Infinity : flags.idleExit * 1000;
      while (!signal.aborted) {
        await sleep(200, undefined, { signal }).catch(() => undefined);
        if (started.active > 0) lastJob = performance.now();
        if (performance.now() - lastJob > idleMs) break;
      }
      if (signal.aborted && started.active > 0) say(`jobs under way: ${started.active}; once more ends them`);
      await started.close((flags.grace ?? 30) * 1000);
      say(`worker ${printable(name)} ended after ${done} jobs`);
      return EXIT.ok;
    } finally {
      await status?.close();
      await models.close();
    }
  });
};

/** Capabilities by name, with the backend that each opens; null for scoring. @throws UsageError for one that is nothing */
async function capabilitiesOf(text: string): Promise<ReadonlyMap<string, BackendConfig | null>> {
  const capabilities = new Map<string, BackendConfig | null>();
  for (const part of text.split(",").map((one) => one.trim())) {
    const [, name = "", file = ""] = /^([^=:]+)=(.+)$/.exec(part) ?? [];
    const model = part.startsWith("local:") ? part.slice("local:".length) : "";
    if (part === SCORE_CAPABILITY) capabilities.set(part, null);
    else if (name !== "") capabilities.set(name, await loadBackendConfig(file));
    else if (model !== "")
      capabilities.set(
        `local:${modelName(model)}`,
        absolutePaths({ backend: "local", model }, () => "."),
      );
    else if (part !== "" && part !== "folder") capabilities.set(part, await loadBackendConfig(part));
    else {
      const kinds = BACKEND_KINDS.filter((kind) => kind !== "folder").join(", ");
      throw new UsageError(
        `--capabilities: expected score, local:MODEL, NAME=FILE.yaml or one of ${kinds}, got ${JSON.stringify(part)}`,
      );
    }
  }
  return capabilities;
}

function rateOf(text: string | undefined): { readonly jobs: number; readonly perMs: number } | undefined {
  if (text === undefined) return undefined;
  const [, jobs = "", seconds = ""] = /^(\d{1,9})\/(\d{1,9}(?:\.\d+)?)$/.exec(text) ?? [];
  if (Number(jobs) > 0 && Number(seconds) > 0) return { jobs: Number(jobs), perMs: Number(seconds) * 1000 };
  throw new UsageError(`--rate: expected jobs/seconds such as 10/60, got ${JSON.stringify(text)}`);
}

/** The models of a worker, in a session that is begun with the first. */
function modelsOf(context: CommandContext, capabilities: ReadonlyMap<string, BackendConfig | null>): WorkerModels {
  const { signal, terminal } = context;
  let session: Promise<ModelSession> | undefined;
  const opened = (): Promise<ModelSession> => (session ??= context.openSession());
  return new WorkerModels({
    backend: async (capability) => {
      const config = capabilities.get(capability);
      if (config === undefined || config === null) {
        throw new UsageError(`expected a job for ${[...capabilities.keys()].join(", ")}, got one for ${capability}`);
      }
      const local = async (directory: string | null) => (await opened()).openBackend(directory);
      return openConfigured(config, { local, signal, environment: terminal.environment });
    },
    reward: async (choice) => openJudges(await opened(), choice),
    close: async () => {
      const ended = await session?.catch(() => undefined);
      session = undefined;
      await ended?.close();
    },
  });
}
