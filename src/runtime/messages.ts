/** @file What the device process is asked and what it answers. */

import type { Tensor } from "../tensor/tensor.js";
import type { ExecutionProviderName } from "./execution-providers.js";

/** A bound tensor's type, as the parent knows it. */
export type BoundType = readonly [name: string, dtype: Tensor["dtype"], shape: readonly number[]];

/** One request; the device process answers them one at a time, in order. */
export type Request =
  | {
      readonly kind: "compile";
      readonly program: number;
      /** Its bytes, with weights relative to the root of the file system, or its file, with weights beside it. */
      readonly model: Uint8Array | string;
      readonly provider: ExecutionProviderName;
      readonly threads: number;
      /** What a run allocated is kept for the next one. */
      readonly keepsMemory: boolean;
      /** It is compiled for one run. */
      readonly once: boolean;
      /** Start of the path of the profile that is written when the program is disposed of; none when undefined. */
      readonly profile: string | undefined;
    }
  | {
      readonly kind: "run";
      readonly program: number;
      readonly feeds: Readonly<Record<string, Tensor>>;
      /** Feeds taken from bound tensors of the same name. */
      readonly bound: readonly string[];
      readonly fetch: readonly string[];
      /** Output name and the name it is bound to. */
      readonly hold: readonly (readonly [output: string, bound: string])[];
      /** Bound tensors to forget after the run. */
      readonly free: readonly string[];
    }
  | { readonly kind: "bind"; readonly name: string; readonly tensor: Tensor }
  | { readonly kind: "fetch"; readonly name: string }
  | { readonly kind: "invoke"; readonly url: string; readonly args: unknown }
  | { readonly kind: "dispose"; readonly program: number };

/** What a request returns. */
export interface ResultOf {
  /** Some operators run on the cpu instead of the provider; which, stands in what ONNX Runtime logged up to `END_OF_LOG`. */
  readonly compile: { readonly fallsBack: boolean };
  readonly run: { readonly outputs: Readonly<Record<string, Tensor>>; readonly held: readonly BoundType[] };
  readonly bind: undefined;
  readonly fetch: Tensor;
  readonly invoke: {
    readonly value: unknown;
    /** All bound tensors, when the call added, removed or replaced any. */
    readonly bound: readonly BoundType[] | undefined;
  };
  readonly dispose: undefined;
}

/** The answer to a request; `ms` is the time inside ONNX Runtime. */
export type Reply =
  | { readonly ok: true; readonly result: ResultOf[keyof ResultOf]; readonly ms: number }
  | { readonly ok: false; readonly message: string; readonly stack: string | undefined };

/** The line that the device process writes to its standard error behind what ONNX Runtime logged while it compiled. */
export const END_OF_LOG = "laurel: end of the log";
