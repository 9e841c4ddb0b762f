import type * as files from "node:fs/promises";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { INDEX_NAME } from "#laurel/library/pictures/score-index";
import { sortPictures } from "#laurel/library/pictures/sort-pictures";
import { temporaryFolder } from "../pipeline/runs.js";
import { scoring, someFolder } from "./pictures.js";

const refused = vi.hoisted(() => ({ count: 0 }));

// a memory stick: its file system has no hard links
vi.mock("node:fs/promises", async (original) => ({
  ...(await original<typeof files>()),
  link: () => {
    refused.count++;
    return Promise.reject(Object.assign(new Error("EPERM"), { code: "EPERM" }));
  },
}));

test("pictures on a disk without hard links are remembered, copied and moved, by one process at a time", async () => {
  const folder = await someFolder();
  const { set } = await scoring([folder]);
  expect(set.summary().warnings).toEqual([]);
  await expect(scoring([folder])).rejects.toThrow(/an index of scores that no other process works on, got process \d+/);
  const to = await temporaryFolder();
  const before = await readFile(join(folder, "2.png"));
  const done: string[] = [];
  for await (const one of sortPictures(set, { to, by: "none", mode: "move", choice: { topK: 1 } })) done.push(one.done);
  expect(done).toEqual(["moved", "moved"]);
  expect(await readFile(join(to, "0001-2.png"))).toEqual(before);
  await set.close();
  expect((await readdir(folder)).filter((name) => name.startsWith("."))).toEqual([INDEX_NAME]);
  expect((await scoring([folder])).set.summary().unchanged).toBe(4);
  expect(refused.count).toBeGreaterThan(5);
});
