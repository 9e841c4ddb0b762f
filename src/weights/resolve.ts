/** @file Strict matching of a network's parameters with a checkpoint's tensors: every disagreement in one error. */

import { ModelError } from "../errors.js";
import type { DType } from "../tensor/dtype.js";
import { isFloat } from "../tensor/dtype.js";
import { closest } from "../util/closest.js";
import type { WeightEntry, WeightSource } from "./types.js";

/** What a network asks for. A graph's `Value` is one. */
export interface ExpectedParameter {
  readonly shape: readonly (number | string)[];
  readonly dtype?: DType;
}

/** How keys of the checkpoint become parameter names. */
export interface ResolveOptions {
  /** Network and file for messages: `UNet2DConditionModel`. */
  readonly where: string;
  /** Only keys that start with it belong to this network; it is cut off first. @default "" */
  readonly prefix?: string;
  /** Maps a checkpoint key (without the prefix) to a parameter name; undefined ignores the key. @default the key itself */
  readonly rename?: (key: string) => string | undefined;
  /** Keys (without the prefix, before renaming) that may be there and are not used. */
  readonly ignore?: readonly RegExp[];
  /** Parameters whose stored shape may differ by dimensions of size 1 (a 1x1 convolution kept as a linear layer). */
  readonly reshape?: readonly RegExp[];
}

/** Names listed of each kind in an error; the rest is counted. */
const SHOWN = 12;

/**
 * The entry for every parameter.
 * @throws ModelError that lists all missing, unexpected, mis-shaped and unusable tensors, with the closest known names.
 */
export function resolveWeights(
  parameters: ReadonlyMap<string, ExpectedParameter> | Iterable<ExpectedParameter & { readonly name: string }>,
  source: WeightSource,
  options: ResolveOptions,
): ReadonlyMap<string, WeightEntry> {
  const expected = new Map<string, ExpectedParameter>();
  for (const item of parameters) {
    if ("name" in item) expected.set(item.name, item);
    else expected.set(item[0], item[1]);
  }
  const keys = new Map<string, string>(); // parameter name -> checkpoint key
  const problems = new Problems();
  for (const key of [...source.entries.keys(), ...source.unusable.keys()]) {
    const name = parameterName(key, options);
    if (name === undefined) continue;
    const other = keys.get(name);
    if (other !== undefined) problems.add("repeated", `${name} (both ${other} and ${key})`);
    else keys.set(name, key);
  }

  const resolved = new Map<string, WeightEntry>();
  const missing: string[] = [];
  for (const [name, parameter] of expected) {
    const key = keys.get(name);
    if (key === undefined) {
      missing.push(name);
      continue;
    }
    keys.delete(name);
    const entry = source.entries.get(key);
    if (entry === undefined) {
      problems.add("unusable", `${key} (${source.unusable.get(key)})`);
      continue;
    }
    const mismatch = compare(name, parameter, entry, options);
    if (mismatch === undefined) resolved.set(name, entry);
    else problems.add("mis-shaped", `${key} ${mismatch}`);
  }
  const unexpected = [...keys.values()];
  for (const name of missing) {
    const hint = problems.isFull("missing") ? "" : hintFor(name, unexpected);
    problems.add("missing", `${name}${hint}`);
  }
  for (const key of unexpected) problems.add("unexpected", key);
  problems.throwIfAny(
    `${options.where}: expected the ${expected.size} tensors of the network in ${source.description}` +
      (options.prefix === undefined || options.prefix === "" ? "" : ` under ${options.prefix}`),
  );
  return resolved;
}

/** The parameter a key stands for; undefined when the key is another network's or ignored. */
function parameterName(key: string, { prefix = "", rename, ignore = [] }: ResolveOptions): string | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const local = key.slice(prefix.length);
  if (ignore.some((pattern) => pattern.test(local))) return undefined;
  return rename === undefined ? local : rename(local);
}

/** What differs between a parameter and its tensor, or undefined. */
function compare(
  name: string,
  parameter: ExpectedParameter,
  entry: WeightEntry,
  options: ResolveOptions,
): string | undefined {
  const { dtype = "float32", shape } = parameter;
  if (isFloat(dtype) ? !isFloat(entry.dtype) : dtype !== entry.dtype) {
    return `(expected ${dtype}, got ${entry.dtype})`;
  }
  const flexible = options.reshape?.some((pattern) => pattern.test(name)) ?? false;
  const same = flexible ? sameShape(withoutUnits(shape), withoutUnits(entry.shape)) : sameShape(shape, entry.shape);
  return same ? undefined : `(expected [${shape.join(",")}], got [${entry.shape.join(",")}])`;
}

function sameShape(a: readonly (number | string)[], b: readonly (number | string)[]): boolean {
  return a.length === b.length && a.every((dimension, axis) => dimension === b[axis]);
}

function withoutUnits(shape: readonly (number | string)[]): readonly (number | string)[] {
  return shape.filter((dimension) => dimension !== 1);
}

/** What an unexpected key suggests about a missing parameter: another prefix, or a near name. */
function hintFor(name: string, unexpected: readonly string[]): string {
  const prefixed = unexpected.find((key) => key.endsWith(`.${name}`));
  if (prefixed !== undefined) return ` (there is one with prefix ${prefixed.slice(0, -name.length)})`;
  const shortened = unexpected.find((key) => name.endsWith(`.${key}`));
  const near = shortened ?? closest(name, unexpected);
  return near === undefined ? "" : ` (the closest is ${near})`;
}

type ProblemKind = "missing" | "mis-shaped" | "unusable" | "repeated" | "unexpected";

/** Collects disagreements by kind; keeps only what will be shown. */
class Problems {
  private readonly kinds = new Map<ProblemKind, { count: number; shown: string[] }>();

  add(kind: ProblemKind, text: string): void {
    const problems = this.kinds.get(kind) ?? { count: 0, shown: [] };
    problems.count++;
    if (problems.shown.length < SHOWN) problems.shown.push(text);
    this.kinds.set(kind, problems);
  }

  isFull(kind: ProblemKind): boolean {
    return (this.kinds.get(kind)?.shown.length ?? 0) >= SHOWN;
  }

  /** @throws ModelError `<expected>, got 2 missing: a, b; 1 unexpected: c` */
  throwIfAny(expectation: string): void {
    if (this.kinds.size === 0) return;
    const parts = [...this.kinds].map(([kind, { count, shown }]) => {
      const more = count > shown.length ? `, and ${count - shown.length} more` : "";
      return `${count} ${kind}: ${shown.join(", ")}${more}`;
    });
    throw new ModelError(`${expectation}, got ${parts.join("; ")}`);
  }
}
