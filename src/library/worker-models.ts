/** @file The models of a worker: opened when a job first needs them, kept, and given back together. */

import type { ImageBackend } from "../backends/contract.js";
import { canonical, type TravellingChoice } from "../cluster/protocol.js";
import type { WorkerMeans } from "../cluster/worker.js";
import type { Json } from "../queue/contract.js";
import type { Reward } from "../rewards/contract.js";
import { kept } from "../util/kept.js";
import { modelRecord, rewardRecords } from "./models.js";

/** How the models of a worker are opened. */
export interface WorkerOpeners {
  /** What draws for a capability. */
  readonly backend: (capability: string) => Promise<ImageBackend>;
  /** What scores. */
  readonly reward: (choice: TravellingChoice) => Promise<Reward>;
  /** Called once the models are given back, also when a device died: what is asked for then is opened anew. @default nothing */
  readonly close?: (() => Promise<void>) | undefined;
}

/** What {@link startWorker} works with, from what opens backends and rewards. */
export class WorkerModels implements WorkerMeans {
  readonly #backends = new Map<string, ReturnType<WorkerMeans["backend"]>>();
  readonly #rewards = new Map<string, ReturnType<WorkerMeans["reward"]>>();
  /** What is opened anew waits until the old is given back. */
  #closed: Promise<void> = Promise.resolve();

  constructor(private readonly open: WorkerOpeners) {}

  readonly backend: WorkerMeans["backend"] = (capability) =>
    kept(this.#backends, capability, async () => {
      await this.#closed;
      const backend = await this.open.backend(capability);
      return { backend, record: await modelRecord(backend) };
    });

  readonly reward: WorkerMeans["reward"] = (choice) =>
    kept(this.#rewards, canonical(choice as Json), async () => {
      await this.#closed;
      const reward = await this.open.reward(choice);
      return { reward, records: await rewardRecords(reward) };
    });

  readonly reset = (): Promise<void> => this.close();

  /** Gives everything back. */
  close(): Promise<void> {
    const closing = this.#close();
    this.#closed = closing.catch(() => undefined);
    return closing;
  }

  async #close(): Promise<void> {
    const opening = [...this.#backends.values(), ...this.#rewards.values()];
    this.#backends.clear();
    this.#rewards.clear();
    const opened = (await Promise.allSettled(opening)).filter((one) => one.status === "fulfilled");
    await Promise.allSettled(
      opened.map(({ value }) => ("backend" in value ? value.backend.dispose() : value.reward.dispose())),
    );
    await this.open.close?.();
  }
}
