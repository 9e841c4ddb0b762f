/** @file Scopes: where a layer's parameters live in a checkpoint, what is added to them, and whether the network is built to be differentiated. */

import { InternalError } from "../errors.js";
import { parameter } from "../graph/builder.js";
import { formatShape } from "../graph/dims.js";
import type { Value } from "../graph/types.js";
import type { DType } from "../tensor/dtype.js";

/**
 * What the network is built for. "training" uses differentiable primitives only; "inference" may use fused operators that compute
 * the same numbers faster and have no gradient.
 */
export type NetworkMode = "inference" | "training";

/**
 * A low-rank addition to a layer (LoRA): where it applies, y = W x + b becomes W x + b + B (scale * A x). A and B are the layer's parameters
 * `lora_A.<name>.weight` and `lora_B.<name>.weight`.
 */
export interface Adapter {
  /** Unlike that of any other adapter of the layer, without dots. */
  readonly name: string;
  /** Rows of A and columns of B. */
  readonly rank: number;
  /** float32 `[]`: multiplies the low-rank term. */
  readonly scale: Value;
}

/** A place in a checkpoint's tree of names. A parameter's name is its checkpoint key: the scope's path joined by dots. */
export interface Scope {
  /** The path so far; "" at the root. */
  readonly prefix: string;
  readonly mode: NetworkMode;
  /** What a layer at this place adds to its weights' result. */
  readonly adapters: readonly Adapter[];
  /** Linear layers at this place multiply in int8, where they can. */
  readonly int8: boolean;
  /** The scope below: `scope.at("blocks", 3, "attn")`. */
  at(...names: (string | number)[]): Scope;
  /** The parameter `name` of this place, float32 by default. Asked for twice, it is the same value. @throws InternalError if the shapes differ. */
  parameter(name: string, shape: readonly number[], dtype?: DType): Value;
}

/** What a root scope is made from. */
export interface RootScopeOptions {
  /** Stands before every key, without its final dot. @default "" */
  readonly prefix?: string;
  readonly mode: NetworkMode;
  /** The adapters of the layer at `module`, its path below the prefix: `mid_block.attentions.0.proj_in`. @default none */
  readonly adapters?: (module: string) => readonly Adapter[];
  /** Whether the linear layer at `module`, its path below the prefix, multiplies in int8; only in inference. @default none does */
  readonly int8?: ((module: string) => boolean) | undefined;
}

/** The scope at the root of a network. */
export function rootScope(options: RootScopeOptions): Scope {
  const { prefix = "", mode, adapters = () => [], int8 = () => false } = options;
  const parameters = new Map<string, Value>();
  const below = prefix === "" ? 0 : prefix.length + 1;
  return scopeAt(prefix, {
    mode,
    parameters,
    adapters: (path) => adapters(path.slice(below)),
    int8: (path) => mode === "inference" && int8(path.slice(below)),
  });
}

/** What all scopes of a network share. */
interface Shared {
  readonly mode: NetworkMode;
  readonly parameters: Map<string, Value>;
  /** By path with the prefix. */
  readonly adapters: (path: string) => readonly Adapter[];
  /** By path with the prefix. */
  readonly int8: (path: string) => boolean;
}

function scopeAt(prefix: string, shared: Shared): Scope {
  const { mode, parameters } = shared;
  const join = (names: readonly (string | number)[]): string =>
    [...(prefix === "" ? [] : [prefix]), ...names].join(".");
  return {
    prefix,
    mode,
    get adapters() {
      return shared.adapters(prefix);
    },
    get int8() {
      return shared.int8(prefix);
    },
    at: (...names) => scopeAt(join(names), shared),
    parameter(name, shape, dtype) {
      const key = join([name]);
      const known = parameters.get(key);
      if (known === undefined) {
        const created = parameter(key, shape, dtype);
        parameters.set(key, created);
        return created;
      }
      if (known.shape.length !== shape.length || known.shape.some((size, axis) => size !== shape[axis])) {
        throw new InternalError(
          `parameter ${key}: expected ${formatShape(known.shape)} as before, got ${formatShape(shape)}`,
        );
      }
      return known;
    },
  };
}
