/** @file A shared folder: links, half-written files, file systems that fail, processes that are killed. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openFileStorage } from "#laurel/storage/file";
import { fileFault } from "#laurel/storage/file-fault";
import { openStorage } from "#laurel/storage/open";
import { collect, storageConformance } from "./conformance.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-storage-"));
});
afterAll(() => rm(folder, { recursive: true }));

const fresh = async (): Promise<string> => mkdtemp(join(folder, "store-"));
const bytes = Buffer.from("content");
/** For child processes. */
const OPEN = new URL("../../dist/storage/open.js", import.meta.url).href;

describe("a folder", () => {
  storageConformance({
    async open(name) {
      const path = join(folder, name);
      await mkdir(path, { recursive: true });
      return openStorage(path);
    },
  });

  test("is named by a path, relative or not, or by file://", async () => {
    const path = await fresh();
    await (await openStorage(path)).put("a/b.txt", bytes);
    expect(await readFile(join(path, "a/b.txt"), "utf8")).toBe("content");
    const byUrl = await openStorage(`${pathToFileURL(path).href}/`);
    expect(byUrl.address).toBe(path);
    expect(await byUrl.has("a/b.txt")).toBe(true);
    expect((await openStorage("some/folder")).address).toBe(join(process.cwd(), "some/folder"));
  });

  test("that is not there, became another or is a file cannot be used, and nothing is made in its place", async () => {
    const path = join(folder, "mounted");
    const storage = openFileStorage(path);
    const unavailable = {
      fault: "unavailable",
      message: `${path}: expected a folder, got no such folder; is it mounted?`,
    };
    await expect(storage.get("a")).rejects.toMatchObject(unavailable);
    await expect(storage.put("a", bytes)).rejects.toMatchObject(unavailable);
    await expect(collect(storage.list(""))).rejects.toMatchObject(unavailable);
    await mkdir(path);
    await storage.put("a", bytes);
    // a share that drops out leaves an empty mount point
    await rename(path, `${path}-away`);
    await mkdir(path);
    await expect(storage.has("a")).rejects.toMatchObject({
      fault: "unavailable",
      message: /another one than at first/,
    });
    await expect(storage.put("b", bytes)).rejects.toMatchObject({ fault: "unavailable" });
    expect(await readdir(path)).toEqual([]);
    await rm(path, { recursive: true });
    await rename(`${path}-away`, path);
    expect(await storage.has("a")).toBe(true);
    const file = join(folder, "file");
    await writeFile(file, "");
    await expect(openFileStorage(file).probe()).rejects.toMatchObject({
      fault: "invalid",
      message: /expected a folder, got a file/,
    });
  });

  test("is never left through a symbolic link", async () => {
    const path = await fresh();
    const outside = await fresh();
    await writeFile(join(outside, "secret"), "secret");
    await symlink(outside, join(path, "link"));
    await symlink(join(outside, "secret"), join(path, "file"));
    const storage = openFileStorage(path);
    const refused = { fault: "invalid", message: /got a symbolic link/ };
    await expect(storage.get("link/secret")).rejects.toMatchObject(refused);
    await expect(storage.has("link/secret")).rejects.toMatchObject(refused);
    await expect(storage.put("link/new/deep", bytes)).rejects.toMatchObject(refused);
    await expect(storage.delete("link/secret")).rejects.toMatchObject(refused);
    await expect(storage.get("file")).rejects.toMatchObject(refused);
    await expect(storage.has("file")).rejects.toMatchObject(refused);
    expect(await collect(storage.list(""))).toEqual([]);
    await storage.put("file", bytes);
    expect(await readFile(join(outside, "secret"), "utf8")).toBe("secret");
    expect(await readdir(outside)).toEqual(["secret"]);
    // the folder itself may be one
    await symlink(path, `${path}-link`);
    expect(await openFileStorage(`${path}-link`).has("file")).toBe(true);
    await rm(join(path, ".partial"), { recursive: true });
    await symlink(outside, join(path, ".partial"));
    await expect(storage.put("x", bytes)).rejects.toMatchObject(refused);
  });

  test("tells a key that is the beginning of another, a pipe and a file that is too large", async () => {
    const path = await fresh();
    const storage = openFileStorage(path);
    await storage.put("a/b", bytes);
    await expect(storage.put("a", bytes)).rejects.toMatchObject({
      fault: "invalid",
      message: /other keys begin with this one/,
    });
    await expect(storage.put("a/b/c", bytes)).rejects.toMatchObject({
      fault: "invalid",
      message: /the beginning of another/,
    });
    expect([await storage.get("a"), await storage.has("a"), await storage.get("a/b/c")]).toEqual([
      undefined,
      false,
      undefined,
    ]);
    await storage.delete("a");
    expect(await storage.has("a/b")).toBe(true);
    expect(await readdir(join(path, ".partial"))).toEqual([]);
    const [code] = (await once(spawn("mkfifo", [join(path, "pipe")]), "exit")) as [number];
    expect(code).toBe(0);
    await expect(storage.get("pipe")).rejects.toMatchObject({ fault: "invalid", message: /a special file/ });
    await expect(storage.put("big", new Uint8Array((256 << 20) + 1))).rejects.toThrow(
      /expected at most 268435456 bytes/,
    );
  });

  test("does not show what is half-written, and removes it when it is old", async () => {
    const path = await fresh();
    const partial = join(path, ".partial");
    await mkdir(partial);
    const [old, young] = [".x.1.ab.tmp", ".y.2.cd.tmp"].map((name) => join(partial, name));
    for (const file of [old!, young!]) await writeFile(file, "half");
    await utimes(old!, new Date(Date.now() - 25 * 3600_000), new Date(Date.now() - 25 * 3600_000));
    await writeFile(join(path, ".x.1.ab.tmp"), "half");
    const storage = openFileStorage(path);
    expect(await collect(storage.list(""))).toEqual([]);
    await storage.put("x", bytes);
    expect(await readdir(partial)).toEqual([".y.2.cd.tmp"]);
    expect(await collect(storage.list(""))).toEqual([{ key: "x", bytes: 7 }]);
  });

  test("tells its errors apart: what may pass, what takes a person, what is no storage", () => {
    const faultOf = (code: string): string => fileFault(Object.assign(new Error("x"), { code }))[0];
    expect(["ENOSPC", "EDQUOT", "EIO", "ESTALE", "ENOTCONN"].map(faultOf)).toEqual(Array(5).fill("unavailable"));
    expect(["EACCES", "EROFS", "EPERM"].map(faultOf)).toEqual(Array(3).fill("denied"));
    expect(["EISDIR", "EXDEV", "EFBIG"].map(faultOf)).toEqual(Array(3).fill("invalid"));
  });

  test("that is full or read-only says so, and keeps what it had", async ({ skip }) => {
    // a small file system in a namespace of its own, gone when the process ends
    const script = `
      import { execFileSync } from "node:child_process";
      import { readdirSync } from "node:fs";
      import { openStorage } from ${JSON.stringify(OPEN)};
      const [path] = process.argv.slice(1);
      const storage = await openStorage(path);
      const outcome = (work) => work.then(() => "done", ({ fault, message }) => fault + ": " + message);
      await storage.put("first", Buffer.alloc(60_000, 1));
      const full = await outcome(storage.put("second", Buffer.alloc(400_000)));
      const partial = readdirSync(path + "/.partial");
      execFileSync("mount", ["-o", "remount,ro", path]);
      const readOnly = await outcome(storage.put("third", Buffer.alloc(1)));
      const probe = await outcome(storage.probe());
      const kept = (await storage.get("first")).length;
      console.log(JSON.stringify({ full, partial, readOnly, probe, kept }));`;
    const mount = 'mount -t tmpfs -o size=200k tmpfs "$1" && exec "$2" --input-type=module -e "$3" "$1"';
    const path = await fresh();
    const child = spawn("unshare", ["-rm", "sh", "-c", mount, "sh", path, process.execPath, script]);
    let out = "";
    let err = "";
    child.stdout.on("data", (piece: Buffer) => (out += piece.toString()));
    child.stderr.on("data", (piece: Buffer) => (err += piece.toString()));
    const code = await new Promise<number | null>((resolve) => {
      child.on("error", () => resolve(null));
      child.on("close", resolve);
    });
    if (/unshare:|mount:/.test(err) || (code === null && out === ""))
      skip(`a small file system cannot be mounted: ${err}`);
    expect(err).toBe("");
    expect(JSON.parse(out)).toEqual({
      full: `unavailable: ${path}/second: expected to write it, got a full disk`,
      partial: [],
      readOnly: `denied: ${path}/third: expected to write it, got a read-only file system`,
      probe: expect.stringMatching(/^denied: .*a read-only file system/) as string,
      kept: 60_000,
    });
  });
});

test("processes killed in the middle of puts leave whole objects and nothing else", async () => {
  const path = await fresh();
  const size = 4 << 20;
  const script = `
    import { openStorage } from ${JSON.stringify(OPEN)};
    const storage = await openStorage(${JSON.stringify(path)});
    const fill = Number(process.argv[1]);
    for (let i = 0; ; i++) {
      await storage.put("object-" + (i % 3), Buffer.alloc(${size}, fill));
      if (i === 0) process.stdout.write("begun");
    }`;
  for (let round = 1; round <= 3; round++) {
    const children = [1, 2].map((i) =>
      spawn(process.execPath, ["--input-type=module", "-e", script, String(round * 10 + i)]),
    );
    await Promise.all(children.map(({ stdout }) => once(stdout, "data")));
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(children.map((child) => once(child, "exit")));
  }
  const storage = openFileStorage(path);
  const objects = await collect(storage.list(""));
  expect(objects.length).toBeGreaterThan(0);
  for (const { key, bytes: length } of objects) {
    const content = Buffer.from((await storage.get(key))!);
    expect([length, content.length]).toEqual([size, size]);
    expect(content.equals(Buffer.alloc(size, content[0]!))).toBe(true);
  }
  expect((await readdir(path)).filter((name) => !name.startsWith("object-"))).toEqual([".partial"]);
});
