/** @file What several rewards of a device have in common, made once: encoders over the same weights. */

import { createHash } from "node:crypto";
import { realpath } from "node:fs/promises";
import type { Device } from "../runtime/device.js";
import type { WeightEntry } from "../weights/types.js";

interface Disposable {
  dispose(): Promise<void>;
}

interface Entry {
  readonly value: Disposable;
  users: number;
}

const registry = new WeakMap<Device, Map<string, Entry>>();

/** A part held in common with all who ask for the same key on the same device. It is made when it is first needed, and freed with its last user. */
export class SharedPart<T extends Disposable> {
  readonly #device: Device;
  readonly #key: string;
  readonly #make: () => T;
  #held: T | undefined;

  /** @param key tells what `make` makes: equal keys, equal parts */
  constructor(device: Device, key: string, make: () => T) {
    this.#device = device;
    this.#key = key;
    this.#make = make;
  }

  /** The part, held until `dispose`. */
  get(): T {
    if (this.#held !== undefined) return this.#held;
    const parts = registry.get(this.#device) ?? new Map<string, Entry>();
    registry.set(this.#device, parts);
    const entry = parts.get(this.#key) ?? { value: this.#make(), users: 0 };
    entry.users++;
    parts.set(this.#key, entry);
    this.#held = entry.value as T;
    return this.#held;
  }

  /** Lets go of the part; it can be asked for again. */
  async dispose(): Promise<void> {
    if (this.#held === undefined) return;
    this.#held = undefined;
    const parts = registry.get(this.#device);
    const entry = parts?.get(this.#key);
    if (parts === undefined || entry === undefined || --entry.users > 0) return;
    parts.delete(this.#key);
    await entry.value.dispose();
  }
}

/**
 * A key for what is computed from `weights`: where their bytes lie, links followed, so that a model opened twice, or by two rewards, is one; and
 * `settings`, whatever else determines the result.
 */
export async function sharedKey(weights: ReadonlyMap<string, WeightEntry>, settings: unknown): Promise<string> {
  const files = [...new Set([...weights.values()].map(({ file }) => file))];
  const real = new Map(await Promise.all(files.map(async (file) => [file, await realpath(file)] as const)));
  const places = [...weights].map(([name, { file, offset, length }]) => [name, real.get(file), offset, length]);
  const text = JSON.stringify([settings, places.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1))]);
  return createHash("sha256").update(text).digest("hex");
}
