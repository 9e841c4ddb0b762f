/** @file What may be a key, and how large an object may be: the same for every storage. */

import { UsageError } from "../errors.js";

/** Most bytes of an object. */
export const MAXIMUM_OBJECT_BYTES = 256 << 20;
const MAXIMUM_KEY = 512;
/** Begins with no dot: no `..`, nothing hidden, and room for the storage's own names. A file's name has at most 255 bytes, with what is added while it is written. */
const WORD = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/;

/** Whether `text` is a key. */
export function isKey(text: string): boolean {
  return text.length <= MAXIMUM_KEY && text.split("/").every((word) => WORD.test(word));
}

/** @throws UsageError when `key` is none */
export function checkKey(key: string, address: string): void {
  if (!isKey(key)) throw notAKey("a key", key, address);
}

/** @throws UsageError when no key can begin with `prefix` */
export function checkPrefix(prefix: string, address: string): void {
  if (prefix !== "" && !isKey(prefix.replace(/\/$/, ""))) throw notAKey("the beginning of a key", prefix, address);
}

/** @throws UsageError when an object of so many bytes cannot be kept */
export function checkSize(bytes: number, where: string): void {
  if (bytes <= MAXIMUM_OBJECT_BYTES) return;
  throw new UsageError(`${where}: expected at most ${MAXIMUM_OBJECT_BYTES} bytes, got ${bytes}`);
}

function notAKey(what: string, text: string, address: string): UsageError {
  const actual = JSON.stringify(text.slice(0, 100));
  return new UsageError(
    `${address}: expected ${what} (words of letters, digits, ".", "_" and "-", with "/" between), got ${actual}`,
  );
}
