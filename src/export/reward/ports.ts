/** @file What a graph takes and gives, as a manifest lists it. */

import type { Graph, ValueType } from "../../graph/types.js";
import type { ManifestPort, RewardManifest } from "./manifest.js";

/** A graph's inputs and outputs. */
export interface ListedPorts {
  readonly inputs: ManifestPort[];
  readonly outputs: ManifestPort[];
}

/** The inputs and outputs of a graph whose weights are part of it. */
export function listPorts({ inputs, outputs }: Graph): ListedPorts {
  const list = (values: ReadonlyMap<string, ValueType>): ManifestPort[] =>
    [...values].map(([name, { dtype, shape }]) => ({
      name,
      dtype: dtype as ManifestPort["dtype"],
      shape: [...shape],
    }));
  return { inputs: list(inputs), outputs: list(outputs) };
}

/** The same as a device wants to know them. */
export function modelPorts({ inputs, outputs }: RewardManifest["models"]["score"]): {
  inputs: Map<string, ValueType>;
  outputs: Map<string, ValueType>;
} {
  const map = (ports: readonly ManifestPort[]) =>
    new Map(ports.map(({ name, dtype, shape }): [string, ValueType] => [name, { dtype, shape }]));
  return { inputs: map(inputs), outputs: map(outputs) };
}
