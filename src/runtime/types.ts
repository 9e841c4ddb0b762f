/** @file What a device and its programs say to each other. */

import type { EncodeOptions } from "../onnx/encode.js";
import type { Tensor } from "../tensor/tensor.js";
import type { ExecutionProviderName } from "./execution-providers.js";
import type { TensorType } from "./feeds.js";
import type { MemoryNeed } from "./memory.js";
import type { Request, ResultOf } from "./messages.js";

/** What becomes of a graph's parameters, and how messages call the program. */
export interface CompileOptions extends Omit<EncodeOptions, "substituted"> {
  /** @default the graph's name */
  readonly label?: string;
  /** What a run allocated is kept for the next run of this program, which is faster; false gives it back. @default true */
  readonly keepsMemory?: boolean;
  /** It is loaded for one run: nothing of the weights is laid out or computed ahead, which would cost more than it saves. @default false */
  readonly once?: boolean;
}

/** A compiled model, as the device keeps it to compile it again after a crash. */
export interface Compiled {
  readonly id: number;
  readonly label: string;
  /** Its bytes, or its file. */
  readonly model: Uint8Array | string;
  /** What it takes; unknown for a file. */
  readonly need?: MemoryNeed;
  /** What it runs on. */
  readonly provider: ExecutionProviderName;
  /** @default true */
  readonly keepsMemory?: boolean;
  /** @default false */
  readonly once?: boolean;
}

/** Makes the request of a run, given the types of the bound tensors. */
export type Prepare = (bound: ReadonlyMap<string, TensorType>) => Extract<Request, { kind: "run" }>;

/** A device as its programs see it. */
export interface ProgramHost {
  /** Runs a program; `prepare` checks its feeds when its turn comes, against what is bound. `ms` is the time inside ONNX Runtime. */
  run(
    compiled: Compiled,
    unfed: readonly string[],
    prepare: Prepare,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly outputs: ResultOf["run"]["outputs"]; readonly ms: number }>;
  /** Binds a tensor (copied) for every program's feed of that name. */
  bind(name: string, tensor: Tensor): Promise<void>;
  /** A copy of a bound tensor. */
  fetchBound(name: string): Promise<Tensor>;
  /** Forgets a program. */
  dispose(compiled: Compiled): Promise<void>;
}
