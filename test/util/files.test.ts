/** @file Atomic writes, range reads and hashes on a real folder. */

import { mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readRange, sha256, sha256File, writeFileAtomic } from "#laurel/util/files";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-files-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("writeFileAtomic", () => {
  it("writes text, bytes and pieces, and leaves nothing else behind", async () => {
    const own = await mkdtemp(join(folder, "write-"));
    const path = join(own, "a.txt");
    await writeFileAtomic(path, "first");
    await writeFileAtomic(path, Buffer.from("second"), { durable: true });
    expect(await readFile(path, "utf8")).toBe("second");
    await writeFileAtomic(path, [Buffer.from("third "), new Uint8Array(0), Buffer.from("in pieces")]);
    expect(await readFile(path, "utf8")).toBe("third in pieces");
    expect(await readdir(own)).toEqual(["a.txt"]);
  });

  it("keeps the old file and removes the temporary one when writing fails half way", async () => {
    const own = await mkdtemp(join(folder, "fail-"));
    const path = join(own, "a.txt");
    await writeFileAtomic(path, "old");
    function* broken(): Generator<Uint8Array> {
      yield Buffer.from("new");
      throw new Error("source broke");
    }
    await expect(writeFileAtomic(path, broken())).rejects.toThrow("source broke");
    expect(await readFile(path, "utf8")).toBe("old");
    expect(await readdir(own)).toEqual(["a.txt"]);
  });

  it("replaces a symbolic link instead of writing through it", async () => {
    const own = await mkdtemp(join(folder, "link-"));
    await writeFile(join(own, "target"), "kept");
    await symlink("target", join(own, "link"));
    await writeFileAtomic(join(own, "link"), "new");
    expect(await readFile(join(own, "target"), "utf8")).toBe("kept");
    expect(await readFile(join(own, "link"), "utf8")).toBe("new");
  });

  it("lets many writers of one file finish, the file being one of them whole", async () => {
    const path = join(folder, "raced");
    const texts = Array.from({ length: 8 }, (_, i) => String(i).repeat(100_000));
    await Promise.all(texts.map((text) => writeFileAtomic(path, text)));
    expect(texts).toContain(await readFile(path, "utf8"));
  });
});

describe("readRange", () => {
  it("gives exactly the bytes asked for, and says how many there were otherwise", async () => {
    const path = join(folder, "range");
    await writeFile(path, "0123456789");
    expect(Buffer.from(await readRange(path, 3, 4)).toString()).toBe("3456");
    expect(await readRange(path, 10, 0)).toHaveLength(0);
    await expect(readRange(path, 8, 4)).rejects.toThrow(`${path}: expected 4 bytes at offset 8, got 2`);
  });
});

describe("sha256", () => {
  it("agrees with the standard's example, from memory and from a file", async () => {
    const path = join(folder, "abc");
    await writeFile(path, "abc");
    const digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    expect(sha256("abc")).toBe(digest);
    expect(await sha256File(path)).toBe(digest);
  });
});
