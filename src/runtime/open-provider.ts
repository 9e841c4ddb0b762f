/** @file The execution provider of a device, checked before its first program is made. */

import { BackendError } from "../errors.js";
import type { Substitutable } from "../onnx/substitutes.js";
import { acceleratorsHere, type DeviceChoice, type ExecutionProviderName, remedyOf } from "./execution-providers.js";
import { probeProvider, resolveChoice } from "./probe.js";

/** A provider that works here. */
export interface OpenedProvider {
  readonly name: ExecutionProviderName;
  /** Operators it computes wrongly. */
  readonly substituted: ReadonlySet<Substitutable>;
}

const CPU: OpenedProvider = { name: "cpu", substituted: new Set() };

const ATTENTION = ["MultiHeadAttention"] as const;
/** What a provider lacks, or computes less exactly than a network needs. */
const SUBSTITUTED: Readonly<Record<Exclude<ExecutionProviderName, "cpu">, readonly Substitutable[]>> = {
  webgpu: ["FusedMatMul", "Sin", "Cos"],
  cuda: [],
  dml: [],
  coreml: ["FusedMatMul", "MultiHeadAttention"],
};

/** @throws BackendError when the provider asked for does not work here */
export async function openProvider(choice: DeviceChoice): Promise<OpenedProvider> {
  if (choice === "cpu") return CPU;
  const name = await resolveChoice(choice);
  if (name === "cpu") return CPU;
  const refused = (problem: string): BackendError =>
    new BackendError(`device ${name}: expected ${problem}; ${remedyOf(name)}; --device cpu works everywhere`);
  const here = acceleratorsHere();
  if (!here.includes(name)) throw refused(`one of cpu, ${here.join(", ")} on ${process.platform}, got ${name}`);
  const { works, problem, fusedAttention } = await probeProvider(name);
  if (!works) throw refused(`one that works here, got: ${problem}`);
  return { name, substituted: new Set([...SUBSTITUTED[name], ...(fusedAttention ? [] : ATTENTION)]) };
}

/** What to say of operators that a provider lacks. */
export function fallbackWarning(provider: ExecutionProviderName, operators: readonly string[], label: string): string {
  const names = operators.toSorted().join(", ");
  return `device ${provider}: it has no kernel for ${names} (first in program ${label}), which run on the cpu: results are the same, the copies cost time`;
}
