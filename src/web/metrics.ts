/** @file What a server counts, in the text format that Prometheus reads. Nothing is labelled by what was asked. */

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

/** Seconds: from a picture of the demo world to many pictures on a slow device. */
const SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300];

/** What is read when somebody asks. */
export interface ServerGauges {
  /** Whether the reward is loaded. */
  loaded(): boolean;
  /** Requests that are read, wait or are scored. */
  active(): number;
}

/** The metrics of a server: `laurel_http_requests_total`, `laurel_score_seconds`, `laurel_images_scored_total`, `laurel_queue_depth`, `laurel_reward_loaded`. */
export class ServerMetrics {
  readonly #registry = new Registry();
  readonly #requests: Counter;
  readonly #seconds: Histogram;
  readonly #images: Counter;

  constructor({ loaded, active }: ServerGauges) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    const labelNames = ["route", "status"];
    this.#requests = new Counter({
      name: "laurel_http_requests_total",
      help: "Requests answered.",
      labelNames,
      registers,
    });
    this.#images = new Counter({ name: "laurel_images_scored_total", help: "Pictures that got a score.", registers });
    this.#seconds = new Histogram({
      name: "laurel_score_seconds",
      help: "How long the pictures of a request took, without waiting.",
      labelNames: ["scorer"],
      buckets: SECONDS,
      registers,
    });
    gauge("laurel_queue_depth", "Requests that are read, wait or are scored.", active, registers);
    gauge("laurel_reward_loaded", "1 while the reward is in memory.", () => Number(loaded()), registers);
  }

  /** Counts an answer. @param route as documented, never as it was asked */
  answered(route: string, status: number): void {
    this.#requests.inc({ route, status: String(status) });
  }

  /** Counts pictures that were scored. */
  scored(scorer: string, images: number, seconds: number): void {
    this.#images.inc(images);
    this.#seconds.observe({ scorer }, seconds);
  }

  /** All of it. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }
}

function gauge(name: string, help: string, read: () => number, registers: Registry[]): void {
  new Gauge({
    name,
    help,
    registers,
    collect() {
      this.set(read());
    },
  });
}
