/** @file A program: a compiled graph that runs on a device. */

import { UsageError } from "../errors.js";
import type { ValueType } from "../graph/types.js";
import type { Tensor } from "../tensor/tensor.js";
import { checkFeed, checkFeeds } from "./feeds.js";
import type { Compiled, ProgramHost } from "./types.js";

/** A feed or an output of a program. */
export interface Port extends ValueType {
  readonly name: string;
}

/** Options of `Program.run`. */
export interface RunOptions {
  /**
   * Rejects with CancelledError at once; the device process is killed, with what only it holds, when the native call does not
   * end by itself within 0.4 s. A training loop checks its signal between steps instead.
   */
  readonly signal?: AbortSignal | undefined;
  /** Outputs to return. @default all that are not held */
  readonly fetch?: readonly string[] | undefined;
  /** Outputs to leave in the device process as bound tensors: output name -> bound name. */
  readonly hold?: Readonly<Record<string, string>> | undefined;
  /** Bound tensors that the device process forgets after the run, which gives their memory back. */
  readonly free?: readonly string[] | undefined;
}

const ports = (values: ReadonlyMap<string, ValueType>): Port[] =>
  [...values].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));

/** A compiled graph. Made by `Device.compile`. */
export class Program {
  /** What to feed or bind: inputs, and parameters that are not part of the program. */
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** Time spent inside runs, in the device process. */
  runMs = 0;
  readonly #device: ProgramHost;
  readonly #compiled: Compiled;
  readonly #feeds: ReadonlyMap<string, ValueType>;
  readonly #outputs: ReadonlyMap<string, ValueType>;
  #disposed = false;

  constructor(
    device: ProgramHost,
    compiled: Compiled,
    feeds: ReadonlyMap<string, ValueType>,
    outputs: ReadonlyMap<string, ValueType>,
  ) {
    this.#device = device;
    this.#compiled = compiled;
    this.#feeds = feeds;
    this.#outputs = outputs;
    this.inputs = ports(feeds);
    this.outputs = ports(outputs);
  }

  /** Name in messages. */
  get label(): string {
    return this.#compiled.label;
  }

  /**
   * Runs the program. What `feeds` lacks is taken from the device's bound tensors. Arrays in `feeds` must not change until it is done.
   * @throws UsageError for feeds that do not fit, BackendError when the run or the device process fails, CancelledError when aborted.
   */
  async run(feeds: Readonly<Record<string, Tensor>>, options: RunOptions = {}): Promise<Record<string, Tensor>> {
    const where = this.#where();
    const { signal, hold = {}, free = [] } = options;
    const fetch = options.fetch ?? [...this.#outputs.keys()].filter((name) => !Object.hasOwn(hold, name));
    const unknown = [...fetch, ...Object.keys(hold)].filter((name) => !this.#outputs.has(name));
    if (unknown.length > 0) {
      throw new UsageError(
        `${where}: expected outputs ${[...this.#outputs.keys()].join(", ")}, got ${unknown.join(", ")}`,
      );
    }
    const { outputs, ms } = await this.#device.run(
      this.#compiled,
      [...this.#feeds.keys()].filter((name) => !Object.hasOwn(feeds, name)),
      (bound) => ({
        kind: "run",
        program: this.#compiled.id,
        feeds,
        bound: checkFeeds(where, this.#feeds, feeds, bound),
        fetch,
        hold: Object.entries(hold),
        free,
      }),
      signal,
    );
    this.runMs += ms;
    return { ...outputs };
  }

  /** Binds a tensor (copied) to one of this program's feeds, for every program of the device with a feed of that name. */
  async bind(name: string, tensor: Tensor): Promise<void> {
    checkFeed(this.#where(), name, this.#feeds.get(name), tensor);
    await this.#device.bind(name, tensor);
  }

  /** A copy of a bound tensor of the device. @throws BackendError when nothing of that name is bound. */
  fetchBound(name: string): Promise<Tensor> {
    return this.#device.fetchBound(name);
  }

  /** Frees the program's memory in the device process; bound tensors stay. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    await this.#device.dispose(this.#compiled);
  }

  #where(): string {
    const where = `program ${this.label}`;
    if (this.#disposed) throw new UsageError(`${where}: expected a living program, got a disposed one`);
    return where;
  }
}
