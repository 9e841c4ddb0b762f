/** @file Strict reading of a network's config.json: all faults of a file in one error that names the file and the fields. */

import { ModelError } from "../errors.js";

/** Reads typed fields of one JSON object; faults are collected and thrown together by `finish`. */
export class ConfigReader {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #where: string;
  readonly #faults: string[] = [];
  readonly #read = new Set<string>();

  /** @throws ModelError if `json` is not an object. */
  constructor(json: unknown, where: string) {
    if (typeof json !== "object" || json === null || Array.isArray(json)) {
      throw new ModelError(`${where}: expected a JSON object, got ${describe(json)}`);
    }
    this.#fields = json as Record<string, unknown>;
    this.#where = where;
  }

  /** True if the file has the field with another value than null. */
  has(field: string): boolean {
    return this.#get(field) !== undefined;
  }

  /** The raw value; undefined when absent or null. */
  raw(field: string): unknown {
    return this.#get(field);
  }

  /** A whole number of at least `least`. Without a default the field is required. @default least 1 */
  integer(field: string, fallback?: number, least = 1): number {
    return this.#typed(field, `a whole number >= ${least}`, fallback, least, (value): value is number => isInteger(value, least));
  }

  /** A finite number. */
  number(field: string, fallback?: number): number {
    return this.#typed(field, "a number", fallback, 0, (value): value is number => typeof value === "number" && Number.isFinite(value));
  }

  boolean(field: string, fallback?: boolean): boolean {
    return this.#typed(field, "true or false", fallback, false, (value): value is boolean => typeof value === "boolean");
  }

  /** One of the supported words. */
  oneOf<T extends string>(field: string, words: readonly T[], fallback?: T): T {
    const first = words[0] as T;
    return this.#typed(field, `one of ${words.join(", ")}`, fallback, first, (value): value is T => words.includes(value as T));
  }

  /** A list of supported words, at least one. */
  words<T extends string>(field: string, words: readonly T[], fallback?: readonly T[]): readonly T[] {
    const check = (value: unknown): value is readonly T[] =>
      Array.isArray(value) && value.length > 0 && value.every((word) => words.includes(word as T));
    return this.#typed(field, `a list of ${words.join(", ")}`, fallback, [], check);
  }

  /** A list of positive whole numbers, at least one. */
  integers(field: string, fallback?: readonly number[]): readonly number[] {
    const check = (value: unknown): value is readonly number[] =>
      Array.isArray(value) && value.length > 0 && value.every((entry) => isInteger(entry, 1));
    return this.#typed(field, "a list of positive whole numbers", fallback, [], check);
  }

  /** A positive whole number for all of `count` blocks, or a list with one for each. */
  perBlock(field: string, count: number, fallback: number): readonly number[] {
    const check = (value: unknown): value is number | readonly number[] =>
      isInteger(value, 1) || (Array.isArray(value) && value.length === count && value.every((entry) => isInteger(entry, 1)));
    const value = this.#typed<number | readonly number[]>(field, `a positive whole number or a list of ${count}`, fallback, fallback, check);
    return typeof value === "number" ? new Array<number>(count).fill(value) : value;
  }

  /** A field that must have the one supported value; absent and null count as it. */
  only(field: string, supported: unknown): void {
    const value = this.#get(field);
    if (value !== undefined && value !== supported) {
      this.fault(`${field}: expected ${describe(supported)} (nothing else is supported), got ${describe(value)}`);
    }
  }

  /** Fields that change nothing in the computation. */
  ignore(...fields: string[]): void {
    fields.forEach((field) => this.#read.add(field));
  }

  /** Reports every field that was neither read nor ignored and says more than null or false. Underscored fields are bookkeeping. */
  rejectUnread(): void {
    for (const [field, value] of Object.entries(this.#fields)) {
      if (!this.#read.has(field) && !field.startsWith("_") && value !== null && value !== false) {
        this.fault(`${field}: expected no such field (it is not known to this network), got ${describe(value)}`);
      }
    }
  }

  /** Adds a fault, `<field>: <expected>, got <actual>`. */
  fault(message: string): void {
    this.#faults.push(message);
  }

  /** Hands back the config. @throws ModelError with every fault of the file. */
  finish<T>(config: T): T {
    if (this.#faults.length > 0) {
      throw new ModelError(`${this.#where}: ${this.#faults.join("; ")}`);
    }
    return config;
  }

  #get(field: string): unknown {
    this.#read.add(field);
    return (Object.hasOwn(this.#fields, field) ? this.#fields[field] : undefined) ?? undefined;
  }

  #typed<T>(field: string, expected: string, fallback: T | undefined, placeholder: T, check: (value: unknown) => value is T): T {
    const value = this.#get(field);
    if (value === undefined && fallback !== undefined) {
      return fallback;
    }
    if (!check(value)) {
      this.fault(`${field}: expected ${expected}, got ${describe(value)}`);
      return placeholder;
    }
    return value;
  }
}

function isInteger(value: unknown, least: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least;
}

function describe(value: unknown): string {
  return value === undefined ? "nothing" : (JSON.stringify(value)?.slice(0, 80) ?? typeof value);
}
