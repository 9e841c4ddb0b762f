/** @file A program that is compiled when it is first needed. */

import type { Graph } from "../graph/types.js";
import type { Device } from "./device.js";
import type { Program } from "./program.js";
import type { CompileOptions } from "./types.js";

/** Compiles on first use; anew when compiling failed (the device died) and after `dispose`. */
export class LazyProgram {
  readonly #device: Device;
  readonly #graph: () => Graph;
  readonly #options: CompileOptions;
  #program: Promise<Program> | undefined;

  /** @param graph built when it is needed */
  constructor(device: Device, graph: () => Graph, options: CompileOptions) {
    this.#device = device;
    this.#graph = graph;
    this.#options = options;
  }

  /** The program; the same for all who ask while it lives. @throws as `Device.compile` */
  get(): Promise<Program> {
    if (this.#program === undefined) {
      const program = this.#device.compile(this.#graph(), this.#options);
      program.catch(() => {
        if (this.#program === program) this.#program = undefined;
      });
      this.#program = program;
    }
    return this.#program;
  }

  /** Frees the program, if there is one. */
  async dispose(): Promise<void> {
    const program = this.#program;
    this.#program = undefined;
    await (await program?.catch(() => undefined))?.dispose();
  }
}
