/** @file What every storage must do; each storage's test calls it with its own subject. */

import { randomBytes } from "node:crypto";
import { afterAll, expect, test } from "vitest";
import { CancelledError, UsageError } from "#laurel/errors";
import type { Storage, StoredObject } from "#laurel/storage/contract";

/** A storage to test. */
export interface StorageSubject {
  /** Opens the place `name`; places lie side by side, as prefixes of one bucket do. */
  open(name: string): Promise<Storage>;
}

/** Keys that no storage takes. */
export const HOSTILE_KEYS = [
  "",
  "/",
  "/etc/passwd",
  "..",
  "../up",
  "a/../../up",
  "a/./b",
  "a//b",
  "a/",
  "a\\..\\b",
  "C:/a",
  ".hidden",
  ".partial/a",
  "a b",
  "a\nb",
  "a\0b",
  "a%2e%2e",
  "ä",
  "a?b",
  "a".repeat(201),
  "a/".repeat(300) + "a",
];

const DEEP = `${"d".repeat(200)}/${"e".repeat(200)}/${"f".repeat(100)}.png`;

/** Every object of a listing. */
export async function collect(objects: AsyncIterable<StoredObject>): Promise<StoredObject[]> {
  const all: StoredObject[] = [];
  for await (const object of objects) all.push(object);
  return all;
}

/** Declares the tests of the Storage contract. */
export function storageConformance(subject: StorageSubject): void {
  const opened: Storage[] = [];
  const open = async (name: string): Promise<Storage> => {
    const storage = await subject.open(name);
    opened.push(storage);
    return storage;
  };
  afterAll(async () => {
    for (const storage of opened) {
      for (const { key } of await collect(storage.list(""))) await storage.delete(key);
      await storage.close();
    }
  });
  const text = (value: string): Uint8Array => new TextEncoder().encode(value);

  test("a probe passes and leaves nothing", async () => {
    const storage = await open("probe");
    await storage.probe();
    expect(await collect(storage.list(""))).toEqual([]);
  });

  test("what was put is what is got: nothing, a byte, a megabyte, a long key", async () => {
    const storage = await open("round");
    const cases = { empty: 0, byte: 1, "a/b/c-1_2.3": 300_000, large: 1 << 20, [DEEP]: 9 };
    for (const [key, size] of Object.entries(cases)) {
      const bytes = randomBytes(size);
      expect(await storage.get(key)).toBeUndefined();
      expect(await storage.has(key)).toBe(false);
      await storage.put(key, bytes);
      expect(bytes.equals((await storage.get(key)) ?? Buffer.from("none"))).toBe(true);
      expect(await storage.has(key)).toBe(true);
    }
  });

  test("a put takes the place of what was there, a delete leaves nothing, twice is no error", async () => {
    const storage = await open("replace");
    await storage.put("x.txt", text("a longer first content"));
    await storage.put("x.txt", text("second"));
    expect(Buffer.from((await storage.get("x.txt"))!).toString()).toBe("second");
    await storage.delete("x.txt");
    await storage.delete("x.txt");
    expect(await storage.get("x.txt")).toBeUndefined();
    expect(await storage.has("x.txt")).toBe(false);
    await storage.delete("never/was");
  });

  test("a listing has the keys that begin with a prefix, in order, and goes on after a key", async () => {
    const storage = await open("list");
    const neighbour = await open("list-2");
    await neighbour.put("images/aa/0.png", text("not this place's"));
    const keys = ["images/aa/1.png", "images/aa/2.png", "images/ab/3.png", "images-x", "images0.json", "z/z/z/z"];
    for (const key of [...keys].reverse()) await storage.put(key, text(key));
    const listed = async (prefix: string, after?: string): Promise<string[]> =>
      (await collect(storage.list(prefix, { after }))).map(({ key }) => key);
    expect(await collect(storage.list(""))).toEqual([...keys].sort().map((key) => ({ key, bytes: key.length })));
    expect(await listed("images/")).toEqual(keys.slice(0, 3));
    expect(await listed("images/a")).toEqual(keys.slice(0, 3));
    expect(await listed("images/aa/")).toEqual(keys.slice(0, 2));
    expect(await listed("images/aa/1.png")).toEqual(["images/aa/1.png"]);
    expect(await listed("im")).toHaveLength(5);
    expect(await listed("none/")).toEqual([]);
    expect(await listed("", "images/aa/1.png")).toEqual([
      "images/aa/2.png",
      "images/ab/3.png",
      "images0.json",
      "z/z/z/z",
    ]);
    expect(await listed("images/", "images/aa/9")).toEqual(["images/ab/3.png"]);
    // one that is left early is no trouble
    for await (const { key } of storage.list("")) {
      expect(key).toBe("images-x");
      break;
    }
  });

  test("what is no key is refused before anything is done", async () => {
    const storage = await open("hostile");
    for (const key of HOSTILE_KEYS) {
      await expect(storage.put(key, text("x"))).rejects.toBeInstanceOf(UsageError);
      await expect(storage.get(key)).rejects.toBeInstanceOf(UsageError);
      await expect(storage.has(key)).rejects.toBeInstanceOf(UsageError);
      await expect(storage.delete(key)).rejects.toBeInstanceOf(UsageError);
    }
    for (const prefix of HOSTILE_KEYS.filter((key) => key !== "" && key !== "a/")) {
      await expect(collect(storage.list(prefix))).rejects.toBeInstanceOf(UsageError);
    }
    expect(await collect(storage.list(""))).toEqual([]);
  });

  test("of many puts of one key at once one is there whole, and readers never see a part", async () => {
    const storage = await open("race");
    const contents = Array.from({ length: 8 }, (_, i) => Buffer.alloc(200_000, i + 1));
    const whole = (bytes: Uint8Array | undefined): boolean =>
      bytes === undefined || contents.some((content) => content.equals(bytes));
    const puts = Promise.all(contents.map((content) => storage.put("one", content)));
    for (let i = 0; i < 6; i++) expect(whole(await storage.get("one"))).toBe(true);
    await puts;
    const last = await storage.get("one");
    expect(last !== undefined && whole(last)).toBe(true);
    expect(await collect(storage.list(""))).toEqual([{ key: "one", bytes: 200_000 }]);
  });

  test("an aborted signal ends every operation with CancelledError, and the storage works on", async () => {
    const storage = await open("abort");
    const signal = AbortSignal.abort();
    await expect(storage.put("x", text("x"), { signal })).rejects.toBeInstanceOf(CancelledError);
    await expect(storage.get("x", { signal })).rejects.toBeInstanceOf(CancelledError);
    await expect(storage.has("x", { signal })).rejects.toBeInstanceOf(CancelledError);
    await expect(storage.delete("x", { signal })).rejects.toBeInstanceOf(CancelledError);
    await expect(storage.probe({ signal })).rejects.toBeInstanceOf(CancelledError);
    await expect(collect(storage.list("", { signal }))).rejects.toBeInstanceOf(CancelledError);
    const controller = new AbortController();
    const during = storage.put("x", Buffer.alloc(1 << 20), { signal: controller.signal });
    controller.abort();
    await expect(during).rejects.toBeInstanceOf(CancelledError);
    await storage.put("y", text("y"));
    expect(await storage.has("y")).toBe(true);
  });
}
