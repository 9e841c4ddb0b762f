import { lstat, mkdir, readdir, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { isPlaced, placeFile } from "#laurel/library/pictures/place-file";
import {
  deleteRest,
  scoreBucket,
  sortPictures,
  type SortPicturesOptions,
} from "#laurel/library/pictures/sort-pictures";
import { promptFolder } from "#laurel/library/pictures/sorted-names";
import type { ScoredPictures } from "#laurel/library/pictures/scored-pictures";
import { temporaryFolder } from "../pipeline/runs.js";
import { grey, scoring, someFolder } from "./pictures.js";

/** All files below a folder, hidden ones left out. */
async function filesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  return names
    .filter((one) => !one.isDirectory() && !one.name.startsWith("."))
    .map((one) => join(one.parentPath, one.name).slice(folder.length + 1))
    .sort();
}

async function sorted(set: ScoredPictures, options: SortPicturesOptions): Promise<string[]> {
  const done: string[] = [];
  for await (const one of sortPictures(set, options))
    done.push(`${one.done}${one.error === undefined ? "" : `: ${one.error}`}`);
  return done;
}

const CATS = promptFolder("a cat");
const DOGS = promptFolder("a dog");

describe("sorting", () => {
  it("copies the chosen into a folder for each prompt, ranks before their names, sidecars with them", async () => {
    const folder = await someFolder();
    await writeFile(join(folder, "2.txt"), "a cat");
    await writeFile(join(folder, "10.png.txt"), "a cat");
    const to = join(await temporaryFolder(), "best");
    const { set } = await scoring([folder]);
    expect(await sorted(set, { to, choice: { topK: 2 } })).toEqual(["copied", "copied", "copied"]);
    expect(await filesIn(to)).toEqual([`${CATS}/0001-2.png`, `${CATS}/0001-2.txt`, `${CATS}/0002-10.png`, `${CATS}/0002-10.png.txt`, `${DOGS}/0001-1.png`]); // prettier-ignore
    expect(await readFile(join(to, CATS, "0001-2.png"))).toEqual(await readFile(join(folder, "2.png")));
    expect((await stat(join(to, CATS, "0001-2.png"))).mtimeMs).toBeCloseTo(
      (await stat(join(folder, "2.png"))).mtimeMs,
      -1,
    );
    // the same again does nothing; one that is new comes in
    expect(await sorted(set, { to, choice: { topK: 2 } })).toEqual(["before", "before", "before"]);
    await set.close();
    await grey(join(folder, "11.png"), 250);
    const again = await scoring([folder]);
    expect((await sorted(again.set, { to, choice: { topK: 2 } })).sort()).toEqual(["before", "before", "copied"]);
  });

  it("never overwrites: a taken name gets a number, and what a killed sorting had placed is taken as it is", async () => {
    const folder = await someFolder();
    const to = await temporaryFolder();
    await mkdir(join(to, CATS));
    await writeFile(join(to, CATS, "0001-2.png"), "mine");
    await writeFile(join(to, CATS, "0002-10.png"), await readFile(join(folder, "10.png")));
    const { set } = await scoring([folder]);
    await sorted(set, { to, choice: { topK: 2 } });
    expect(await filesIn(to)).toEqual([`${CATS}/0001-2-2.png`, `${CATS}/0001-2.png`, `${CATS}/0002-10.png`, `${DOGS}/0001-1.png`]); // prettier-ignore
    expect(await readFile(join(to, CATS, "0001-2.png"), "utf8")).toBe("mine");
  });

  it("moves, links, lists, and puts into folders by score or none", async () => {
    const folder = await someFolder();
    const out = await temporaryFolder();
    const { set } = await scoring([folder]);
    expect(await sorted(set, { mode: "list" })).toEqual(["listed", "listed", "listed", "listed"]);
    expect(await sorted(set, { to: join(out, "dry"), mode: "move", dryRun: true })).toEqual([
      "moved",
      "moved",
      "moved",
      "moved",
    ]);
    expect(await readdir(out)).toEqual([]);
    await sorted(set, { to: join(out, "link"), mode: "link", by: "score", bucket: 0.5 });
    expect(await filesIn(join(out, "link"))).toEqual(["score_-0.50/0002-10.png", "score_-1.00/0003-1.png", "score_-2.00/0004-1.png", "score_1.00/0001-2.png"]); // prettier-ignore
    expect(await readlink(join(out, "link", "score_1.00", "0001-2.png"))).toBe(join(folder, "2.png"));
    await writeFile(join(folder, "2.txt"), "a cat");
    await writeFile(join(folder, "10.txt"), "a cat");
    await grey(join(folder, "10.webp"), 1);
    const move = { to: join(out, "move"), mode: "move", by: "none", choice: { minimum: -0.5 } } as const;
    expect(await sorted(set, move)).toEqual(["moved", "moved"]);
    expect(await filesIn(join(out, "move"))).toEqual(["0001-2.png", "0001-2.txt", "0002-10.png", "0002-10.txt"]);
    // 10.webp still needs its text
    expect(await filesIn(folder)).toEqual(["1.png", "10.txt", "10.webp", "dogs/1.png", "dogs/2.png", "dogs/3.png"]);
  });

  it("leaves alone what was changed or is gone since it was scored", async () => {
    const folder = await someFolder();
    const to = await temporaryFolder();
    const { set } = await scoring([folder]);
    await grey(join(folder, "1.png"), 255);
    await rm(join(folder, "2.png"));
    const done = await sorted(set, { to, mode: "move", by: "none" });
    expect(done).toEqual([
      expect.stringMatching(
        /^failed: .*1\.png: expected the picture that was scored, got a file that was changed since$/,
      ),
      expect.stringMatching(/^failed: .*2\.png: expected the picture that was scored, got no such file$/),
      "moved",
      "moved",
    ]);
    expect(await filesIn(folder)).toContain("1.png");
  });

  it("deletes what is not chosen, with its sidecars, and nothing without a score", async () => {
    const folder = await someFolder();
    await writeFile(join(folder, "1.txt"), "a cat");
    await writeFile(join(folder, "2.txt"), "a cat");
    const { set } = await scoring([folder]);
    const deleted = [];
    for await (const { done } of deleteRest(set, { choice: { topK: 1 } })) deleted.push(done);
    expect(deleted).toEqual(["deleted", "deleted"]);
    expect(await filesIn(folder)).toEqual(["2.png", "2.txt", "dogs/1.png", "dogs/2.png", "dogs/3.png"]);
  });

  it("goes on with a move as it was chosen, not with the best of what is left", async () => {
    const folder = await temporaryFolder();
    for (let i = 1; i <= 6; i++) await grey(join(folder, `${i}.png`), 20 * i);
    const to = await temporaryFolder();
    const options = { to, by: "none", mode: "move", choice: { topK: 3 } } as const;
    const first = await scoring([folder]);
    const controller = new AbortController();
    const work = sortPictures(first.set, { ...options, signal: controller.signal });
    await work.next();
    controller.abort();
    await expect(work.next()).rejects.toThrow("sorting was cancelled");
    await first.set.close();
    const second = await scoring([folder]);
    expect(await sorted(second.set, options)).toEqual(["moved", "moved"]);
    await second.set.close();
    expect(await filesIn(to)).toEqual(["0001-6.png", "0002-5.png", "0003-4.png"]);
    expect(await readdir(to)).not.toContain(".laurel-move.jsonl");
    // done: the next move chooses among what is left
    const third = await scoring([folder]);
    expect(await sorted(third.set, options)).toEqual(["moved", "moved", "moved"]);
  });

  it("neither moves nor deletes a picture that another of them is a link to", async () => {
    const folder = await temporaryFolder();
    await grey(join(folder, "2.png"), 10);
    await symlink("2.png", join(folder, "1.png"));
    const to = await temporaryFolder();
    const { set } = await scoring([folder]);
    const stays = expect.stringMatching(/2\.png: expected a picture that no other of them is a link to/) as string;
    expect(await sorted(set, { to, by: "none", mode: "move" })).toEqual(["moved", stays]);
    expect(await readFile(join(to, "0001-1.png"))).toEqual(await readFile(join(folder, "2.png")));
    const deleted = [];
    for await (const { done, error } of deleteRest(set, { choice: { topK: 1 } })) deleted.push(done, error);
    expect(deleted).toEqual(["failed", stays]);
  });

  it("is refused while another process sorts into the folder, or where there is none", async () => {
    const { set } = await scoring([await someFolder()]);
    const to = await temporaryFolder();
    const first = sortPictures(set, { to });
    await first.next();
    await expect(sorted(set, { to })).rejects.toThrow(
      /expected a folder that no other process sorts into, got process \d+/,
    );
    await first.return();
    await writeFile(join(to, "file"), "x");
    await expect(sorted(set, { to: join(to, "file", "in") })).rejects.toThrow(
      /expected a folder to sort pictures into/,
    );
  });

  it("ends where it is cancelled, and goes on", async () => {
    const { set } = await scoring([await someFolder()]);
    const to = await temporaryFolder();
    const controller = new AbortController();
    const work = sortPictures(set, { to, by: "none", signal: controller.signal });
    await work.next();
    controller.abort();
    await expect(work.next()).rejects.toThrow("sorting was cancelled");
    expect((await filesIn(to)).length).toBe(1);
    expect(await sorted(set, { to, by: "none" })).toEqual(["before", "copied", "copied", "copied"]);
  });
});

test("a link to a picture is no place for it: moving there keeps the picture", async () => {
  const folder = await temporaryFolder();
  const [from, to] = [join(folder, "a.png"), join(folder, "b.png")];
  await grey(from, 1);
  await symlink(from, to);
  expect(await isPlaced("move", from, to)).toBe(false);
  expect(await isPlaced("copy", from, to)).toBe(false);
  expect(await isPlaced("link", from, to)).toBe(true);
  expect(await placeFile("move", from, to)).toBe(false);
  // a link that is moved leads to the same picture
  await symlink("a.png", join(folder, "c.png"));
  await mkdir(join(folder, "in"));
  expect(await placeFile("move", join(folder, "c.png"), join(folder, "in", "c.png"))).toBe(true);
  expect(await readFile(join(folder, "in", "c.png"))).toEqual(await readFile(from));
  await expect(lstat(join(folder, "c.png"))).rejects.toThrow();
});

test("folders of prompts have names that every file system takes, and differ", () => {
  expect(promptFolder("A red circle, (above:1.2) / a blue\nsquare")).toMatch(
    /^a-red-circle-above-1-2-a-blue-square-[0-9a-f]{8}$/,
  );
  expect(promptFolder("猫".repeat(300)).length).toBe(57);
  expect(promptFolder("../..")).toMatch(/^[0-9a-f]{8}$/);
  expect(promptFolder("a b")).not.toBe(promptFolder("a,b"));
  expect([scoreBucket([-2.5, 2.5]), scoreBucket([0, 0.5]), scoreBucket([1, 1])]).toEqual([0.5, 0.05, 1]);
});
