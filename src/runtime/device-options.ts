/** @file What a device may be told when it is opened. */

import type { DeviceChoice } from "./execution-providers.js";

/** Options of `openDevice`. */
export interface DeviceOptions {
  /**
   * What the programs run on; `auto` is the best that has hardware here. Results are the same bit for bit whatever the batch only on the cpu.
   * @default "cpu"
   */
  readonly executionProvider?: DeviceChoice | undefined;
  /** Told of operators that the provider lacks and that run on the cpu; each is named once. @default process.emitWarning */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Threads of a run. Results are equal bit for bit only for equal counts. @default the physical cores */
  readonly threads?: number | undefined;
  /**
   * A program is loaded when it runs, and every other one is freed before: at each moment the memory of one is used. Going from one to another
   * loads anew.
   * @default false
   */
  readonly lowMemory?: boolean | undefined;
  /** Nothing is loaded or run: only `needs` is learnt. @default false @internal */
  readonly plan?: boolean | undefined;
  /**
   * Bytes that programs on the cpu may take. One whose weights are larger is refused before it is loaded; of one that needs more with its inner
   * tensors, `onWarning` is told. @default what is free when a program is loaded
   */
  readonly memoryLimit?: number | undefined;
  /**
   * Start of a path. Each program measures every node it runs and, when it is disposed of, writes ONNX Runtime's profile to
   * `<profile>-<label>_<time>.json`. @default none
   */
  readonly profile?: string | undefined;
  /**
   * Milliseconds without any work by the process, although it was asked, after which it is taken for hung and ended; noticed on Linux.
   * @default 120000
   */
  readonly stallMs?: number | undefined;
}
