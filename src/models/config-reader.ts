/** @file Strict reading of a network's config.json: all faults of a file in one error that names the file and the fields. */

import { ModelError } from "../errors.js";

/** Sizes beyond these are no network's: they are refused before a graph, a mask or a table of that size is made. */
export const LIMITS = {
  /** Any whole number that has no narrower limit: widths, vocabularies, positions of images. */
  size: 1 << 20,
  /** Blocks of a kind, one after the other. */
  layers: 256,
  /** Tokens of a text: an attention mask holds their square. */
  tokens: 2048,
  /** Pixels of a side. */
  side: 8192,
  /** Levels of a UNet or an autoencoder: each halves the size. */
  levels: 12,
} as const;

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

  /** A whole number from `least` to `most`. Without a default the field is required. @default least 1, most LIMITS.size */
  integer(field: string, fallback?: number, least = 1, most: number = LIMITS.size): number {
    const check = (value: unknown): value is number => isInteger(value, least) && value <= most;
    return this.#typed(field, `a whole number from ${least} to ${most}`, fallback, least, check);
  }

  /** A finite number. */
  number(field: string, fallback?: number): number {
    return this.#typed(
      field,
      "a number",
      fallback,
      0,
      (value): value is number => typeof value === "number" && Number.isFinite(value),
    );
  }

  /** A finite number above zero: something is divided by it, or its root taken. */
  positive(field: string, fallback?: number): number {
    const check = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value) && value > 0;
    return this.#typed(field, "a number above 0", fallback, 1, check);
  }

  boolean(field: string, fallback?: boolean): boolean {
    return this.#typed(
      field,
      "true or false",
      fallback,
      false,
      (value): value is boolean => typeof value === "boolean",
    );
  }

  /** One of the supported words. */
  oneOf<T extends string>(field: string, words: readonly T[], fallback?: T): T {
    const first = words[0] as T;
    return this.#typed(field, `one of ${words.join(", ")}`, fallback, first, (value): value is T =>
      words.includes(value as T),
    );
  }

  /** A list of supported words, at least one. */
  words<T extends string>(field: string, words: readonly T[], fallback?: readonly T[]): readonly T[] {
    const check = (value: unknown): value is readonly T[] =>
      isList(value) && value.every((word) => words.includes(word as T));
    return this.#typed(field, `a list of ${words.join(", ")}`, fallback, [], check);
  }

  /** A list of positive whole numbers, at least one. */
  integers(field: string, fallback?: readonly number[]): readonly number[] {
    const check = (value: unknown): value is readonly number[] =>
      isList(value) && value.every((entry) => isInteger(entry, 1) && entry <= LIMITS.size);
    const expected = `a list of at most ${LIMITS.levels} whole numbers from 1 to ${LIMITS.size}`;
    return this.#typed(field, expected, fallback, [], check);
  }

  /** A list of finite numbers, at least one. */
  numbers(field: string): readonly number[] {
    const check = (value: unknown): value is readonly number[] => isList(value) && value.every(Number.isFinite);
    return this.#typed(field, "a list of numbers", undefined, [], check);
  }

  /** A whole number from 1 to `most` for all of `count` blocks, or a list with one for each. */
  perBlock(field: string, count: number, fallback: number, most: number = LIMITS.size): readonly number[] {
    const fits = (value: unknown): value is number => isInteger(value, 1) && value <= most;
    const check = (value: unknown): value is number | readonly number[] =>
      fits(value) || (isList(value) && value.length === count && value.every(fits));
    const expected = `a whole number from 1 to ${most} or a list of ${count}`;
    const value = this.#typed<number | readonly number[]>(field, expected, fallback, fallback, check);
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

  #typed<T>(
    field: string,
    expected: string,
    fallback: T | undefined,
    placeholder: T,
    check: (value: unknown) => value is T,
  ): T {
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

/** A list with something in it, and no more than any network's. */
function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.length > 0 && value.length <= LIMITS.levels;
}

function isInteger(value: unknown, least: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least;
}

function describe(value: unknown): string {
  return value === undefined ? "nothing" : (JSON.stringify(value)?.slice(0, 80) ?? typeof value);
}
