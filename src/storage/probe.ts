/** @file Trying a storage out: an object is written, read, listed and removed. */

import { randomBytes } from "node:crypto";
import { type Storage, StorageError, type StorageOptions } from "./contract.js";

/** The operations of a storage, on a key of its own that no user may have. */
export type ProbedStorage = Pick<Storage, "address" | "get" | "put" | "delete" | "list">;

/** Writes, reads, lists and removes an object. @throws StorageError when any of it fails, or what is read is not what was written */
export async function probeStorage(storage: ProbedStorage, options: StorageOptions = {}): Promise<void> {
  const content = randomBytes(32);
  const key = `.probe-${content.toString("hex", 0, 8)}`;
  const fail = (expected: string, actual: string): never => {
    throw new StorageError(`${storage.address}: expected ${expected}, got ${actual}`, "invalid");
  };
  // a storage that answers for everything would seem to hold every result
  const before = await storage.get(key, options);
  if (before !== undefined) fail("nothing under a key that was never written", `${before.byteLength} bytes`);
  await storage.put(key, content, options);
  try {
    const read = await storage.get(key, options);
    if (read === undefined || !content.equals(read)) {
      fail("to read back what was written", read === undefined ? "nothing" : "other bytes");
    }
    let listed: number | undefined;
    for await (const object of storage.list(key, options)) listed = object.bytes;
    if (listed !== content.byteLength) fail("to find in a listing what was written", String(listed ?? "nothing"));
  } finally {
    await storage.delete(key, options);
  }
}
