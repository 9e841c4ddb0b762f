/** @file What a worker shows of itself over HTTP: its health and its metrics in Prometheus' text format. */

import { createServer } from "node:http";
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import { UsageError } from "../errors.js";
import type { QueueWorker } from "../queue/contract.js";
import { listen, urlOf } from "../util/http-server.js";

/** Seconds that jobs take: from a score of a small model to a large picture on a slow device. */
const SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300];

/** The metrics of a worker: `laurel_jobs_total`, `laurel_job_seconds`, `laurel_jobs_active`, `laurel_queue_connected`, and those of the process. */
export class WorkerMetrics {
  readonly #registry = new Registry();
  readonly #jobs: Counter;
  readonly #seconds: Histogram;
  #worker: QueueWorker | undefined;

  /** @param capabilities what the worker takes */
  constructor(
    private readonly name: string,
    private readonly capabilities: readonly string[],
  ) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    this.#jobs = new Counter({
      name: "laurel_jobs_total",
      help: "Jobs that ended on this worker.",
      labelNames: ["queue", "outcome"],
      registers,
    });
    this.#seconds = new Histogram({
      name: "laurel_job_seconds",
      help: "How long jobs took.",
      labelNames: ["queue"],
      buckets: SECONDS,
      registers,
    });
    const active = (): number => this.#worker?.active ?? 0;
    const connected = (): number => Number(this.#worker?.connected ?? false);
    new Gauge({
      name: "laurel_jobs_active",
      help: "Jobs under way.",
      registers,
      collect() {
        this.set(active());
      },
    });
    new Gauge({
      name: "laurel_queue_connected",
      help: "1 while the queue server answers.",
      registers,
      collect() {
        this.set(connected());
      },
    });
  }

  /** From now on the metrics are those of `worker`. */
  watch(worker: QueueWorker): void {
    this.#worker = worker;
  }

  /** Counts a job that ended. */
  count({ queue, ok, ms }: { readonly queue: string; readonly ok: boolean; readonly ms: number }): void {
    this.#jobs.inc({ queue, outcome: ok ? "completed" : "failed" });
    this.#seconds.observe({ queue }, ms / 1000);
  }

  /** The metrics as text. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** Whether the worker takes jobs, and what else is worth knowing. */
  health(): { readonly ok: boolean; readonly body: object } {
    const ok = this.#worker?.connected ?? false;
    const { name, capabilities } = this;
    return {
      ok,
      body: { status: ok ? "ok" : "disconnected", worker: name, capabilities, active: this.#worker?.active ?? 0 },
    };
  }
}

/**
 * Serves `/healthz` (200, or 503 while the queue server is lost) and `/metrics`.
 * @param place `port` or `host:port`; without a host the loopback interface
 * @returns the address, and what ends it
 * @throws UsageError when it is no such text, or the port cannot be had
 */
export async function serveStatus(
  metrics: WorkerMetrics,
  place: string,
): Promise<{ readonly url: string; readonly close: () => Promise<void> }> {
  const [, host = "127.0.0.1", port = ""] = /^(?:\[?([^\]]*?)\]?:)?(\d{1,5})$/.exec(place) ?? [];
  if (port === "" || Number(port) > 65_535) {
    throw new UsageError(`--listen: expected a port or host:port, got ${JSON.stringify(place)}`);
  }
  const server = createServer((request, response) => {
    // what a client sends is not always an address that URL takes
    const [path = "/"] = (request.url ?? "/").split("?", 1);
    const answer = (status: number, type: string, body: string): void => {
      response.writeHead(status, { "content-type": type, "cache-control": "no-store" }).end(body);
    };
    if (request.method !== "GET" && request.method !== "HEAD") answer(405, "text/plain", "expected GET\n");
    else if (path === "/healthz") {
      const { ok, body } = metrics.health();
      answer(ok ? 200 : 503, "application/json", `${JSON.stringify(body)}\n`);
    } else if (path === "/metrics") {
      metrics.text().then(
        (text) => answer(200, "text/plain; version=0.0.4; charset=utf-8", text),
        () => answer(500, "text/plain", "the metrics cannot be read\n"),
      );
    } else answer(404, "text/plain", "expected /healthz or /metrics\n");
  });
  await listen(server, host, Number(port), `--listen ${place}`);
  return {
    url: urlOf(server),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
