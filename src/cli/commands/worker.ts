/** @file `laurel worker`: draws and scores for runs of other machines. */

import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type BackendConfig, BACKEND_KINDS } from "../../backends/config.js";
import { absolutePaths, loadBackendConfig } from "../../backends/load-config.js";
import { openConfigured } from "../../backends/open.js";
import { canonical, modelName, SCORE_CAPABILITY, type TravellingChoice } from "../../cluster/protocol.js";
import { startWorker, type WorkerMeans } from "../../cluster/worker.js";
import { EXIT, UsageError } from "../../errors.js";
import type { Json } from "../../queue/contract.js";
import { modelRecord, rewardRecords } from "../../library/models.js";
import { laurelCacheFolder } from "../../util/user-folders.js";
import { unlessAborted } from "../../util/abort.js";
import type { Action, CommandContext, ModelSession } from "../context.js";
import { openJudges } from "../judges.js";
import { duration, printable, warningLine } from "../output.js";
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
  const warn = (message: string): void =>
    void terminal.stderr.write(`${warningLine(terminal, `warning: ${message}`)}\n`);
  const { serveStatus, WorkerMetrics } = await import("../../cluster/status-server.js");
  const metrics = new WorkerMetrics(name, names);
  return withQueue(context, flags, warn, async (queue, storage) => {
    const models = new WorkerModels(context, capabilities);
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
      if (signal.aborted && started.active > 0) say(`${started.active} jobs are under way; once more ends them`);
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

/** The models of a worker in a session, opened when they are needed and kept. */
class WorkerModels implements WorkerMeans {
  #session: Promise<ModelSession> | undefined;
  readonly #backends = new Map<string, ReturnType<WorkerMeans["backend"]>>();
  readonly #rewards = new Map<string, ReturnType<WorkerMeans["reward"]>>();

  constructor(
    private readonly context: CommandContext,
    private readonly capabilities: ReadonlyMap<string, BackendConfig | null>,
  ) {}

  backend = (capability: string): ReturnType<WorkerMeans["backend"]> =>
    kept(this.#backends, capability, async () => {
      const config = this.capabilities.get(capability);
      if (config === undefined || config === null) {
        throw new UsageError(
          `expected a job for ${[...this.capabilities.keys()].join(", ")}, got one for ${capability}`,
        );
      }
      const local = async (directory: string | null) => (await this.#open()).openBackend(directory);
      const backend = await openConfigured(config, { local, signal: this.context.signal, environment: this.context.terminal.environment }); // prettier-ignore
      return { backend, record: await modelRecord(backend) };
    });

  reward = (choice: TravellingChoice): ReturnType<WorkerMeans["reward"]> =>
    kept(this.#rewards, canonical(choice as Json), async () => {
      const reward = await openJudges(await this.#open(), choice);
      return { reward, records: await rewardRecords(reward) };
    });

  reset = (): Promise<void> => this.close();

  /** Gives everything back; what is asked for then is opened anew. */
  async close(): Promise<void> {
    const session = this.#session;
    const backends = [...this.#backends.values()];
    this.#session = undefined;
    this.#backends.clear();
    this.#rewards.clear();
    const opened = (await Promise.allSettled(backends)).filter((one) => one.status === "fulfilled");
    await Promise.allSettled(opened.map(({ value }) => value.backend.dispose()));
    await session?.then(
      (one) => one.close(),
      () => undefined,
    );
  }

  #open(): Promise<ModelSession> {
    this.#session ??= this.context.openSession();
    return this.#session;
  }
}

/** What is in the map, or what `open` gives, which is in the map then unless it fails. */
function kept<T>(map: Map<string, Promise<T>>, key: string, open: () => Promise<T>): Promise<T> {
  const known = map.get(key);
  if (known !== undefined) return known;
  const opening = open();
  map.set(key, opening);
  opening.catch(() => map.delete(key));
  return opening;
}
