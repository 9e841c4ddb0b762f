/** @file Scopes: where a layer's parameters live in a checkpoint, and whether the network is built to be differentiated. */

import { InternalError } from "../errors.js";
import { parameter } from "../graph/builder.js";
import { formatShape } from "../graph/dims.js";
import type { Value } from "../graph/types.js";

/**
 * What the network is built for. "training" uses differentiable primitives only; "inference" may use fused operators that compute
 * the same numbers faster and have no gradient.
 */
export type NetworkMode = "inference" | "training";

/** A place in a checkpoint's tree of names. A parameter's name is its checkpoint key: the scope's path joined by dots. */
export interface Scope {
  /** The path so far; "" at the root. */
  readonly prefix: string;
  readonly mode: NetworkMode;
  /** The scope below: `scope.at("blocks", 3, "attn")`. */
  at(...names: (string | number)[]): Scope;
  /** The float32 parameter `name` of this place. Asked for twice, it is the same value. @throws InternalError if the shapes differ. */
  parameter(name: string, shape: readonly number[]): Value;
}

/** The scope at the root of a network. `prefix` stands before every key, without its final dot. @default prefix "" */
export function rootScope(options: { prefix?: string; mode: NetworkMode }): Scope {
  const parameters = new Map<string, Value>();
  return scopeAt(options.prefix ?? "", options.mode, parameters);
}

function scopeAt(prefix: string, mode: NetworkMode, parameters: Map<string, Value>): Scope {
  const join = (names: readonly (string | number)[]): string =>
    [...(prefix === "" ? [] : [prefix]), ...names].join(".");
  return {
    prefix,
    mode,
    at: (...names) => scopeAt(join(names), mode, parameters),
    parameter(name, shape) {
      const key = join([name]);
      const known = parameters.get(key);
      if (known === undefined) {
        const created = parameter(key, shape);
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
