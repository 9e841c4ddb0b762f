import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { compareNames, walkPictures } from "#laurel/image/walk-pictures";
import { temporaryFolder } from "../pipeline/runs.js";

/** A folder with these files; a name that ends in `/` is a folder. */
async function folderWith(...names: readonly string[]): Promise<string> {
  const folder = await temporaryFolder();
  for (const name of names) {
    await mkdir(join(folder, name.endsWith("/") ? name : join(name, "..")), { recursive: true });
    if (!name.endsWith("/")) await writeFile(join(folder, name), "x");
  }
  return folder;
}

async function walked(names: readonly string[], folder: string, exclude: readonly string[] = []): Promise<string[]> {
  const found: string[] = [];
  for await (const one of walkPictures(names, { exclude })) {
    const path = one.path.slice(folder.length + 1);
    const sidecar = one.kind === "picture" && one.sidecar !== null ? ` + ${one.sidecar.slice(folder.length + 1)}` : "";
    found.push(one.kind === "picture" ? path + sidecar : `${path}: ${one.reason}`);
  }
  return found;
}

test("pictures come by the numbers in their names, folders in their place, hidden ones and other files left out", async () => {
  const folder = await folderWith("10.png", "2.PNG", "b/1.jpg", "a.webp", ".hidden/1.png", ".h.png", "notes.txt", "c/");
  expect(await walked([folder], folder)).toEqual(["2.PNG", "10.png", "a.webp", "b/1.jpg"]);
});

test("a sidecar is found beside its picture, in a folder and alone", async () => {
  const folder = await folderWith("1.png", "1.txt", "2.png", "2.png.txt", "3.jpg", "3.json", "4.png");
  const expected = ["1.png + 1.txt", "2.png + 2.png.txt", "3.jpg + 3.json", "4.png"];
  expect(await walked([folder], folder)).toEqual(expected);
  const files = ["1.png", "2.png", "3.jpg", "4.png"].map((name) => join(folder, name));
  expect(await walked(files, folder)).toEqual(expected);
});

test("links to files are followed; circles, links to folders and to nothing are passed over", async () => {
  const folder = await folderWith("in/1.png", "2.png");
  await symlink(folder, join(folder, "in", "circle"));
  await symlink(join(folder, "2.png"), join(folder, "3.png"));
  await symlink(join(folder, "gone.png"), join(folder, "4.png"));
  await symlink("5.png", join(folder, "5.png"));
  expect(await walked([folder], folder)).toEqual([
    "2.png",
    "3.png",
    "4.png: a link that leads to no such file",
    "5.png: a link that leads to symbolic links in a circle",
    "in/1.png",
    "in/circle: a link to a folder; name it to have it walked",
  ]);
  // a link that is named is walked
  await symlink(join(folder, "in"), join(folder, "named"));
  expect(await walked([join(folder, "named")], folder)).toContain("named/1.png");
});

test("names with line breaks are names, names that are no UTF-8 are passed over", async () => {
  const folder = await folderWith("a\nb.png", "\ufffd.png");
  await writeFile(Buffer.concat([Buffer.from(`${folder}/bad-`), Buffer.from([0xff, 0xfe]), Buffer.from(".png")]), "x");
  expect(await walked([folder], folder)).toEqual([
    "a\nb.png",
    "bad-\ufffd\ufffd.png: a name that is no UTF-8; rename it",
    "\ufffd.png",
  ]);
});

test("what is named twice, or inside another, is found once; a folder that is left out is not entered", async () => {
  const folder = await folderWith("1.png", "in/2.png", "out/3.png");
  const inside = join(folder, "in");
  expect(await walked([join(folder, "1.png"), inside, folder, inside], folder)).toEqual([
    "1.png",
    "in/2.png",
    "out/3.png",
  ]);
  expect(await walked([folder], folder, [join(folder, "out")])).toEqual(["1.png", "in/2.png"]);
  expect(await walked([folder, join(folder, "*.png")], folder)).toEqual(["1.png", "in/2.png", "out/3.png"]);
});

test("patterns are walked like folders, as deep as they say, and find what nothing before them has", async () => {
  const folder = await folderWith("10.png", "2.png", "b/1.jpg", "b/c/3.png", "b/.h/4.png", "out/5.png", "notes.txt");
  const pattern = (text: string): string => join(folder, text);
  expect(await walked([pattern("*.png")], folder)).toEqual(["2.png", "10.png"]);
  expect(await walked([pattern("*/*")], folder)).toEqual(["b/1.jpg", "out/5.png"]);
  expect(await walked([pattern("**/*.png")], folder, [pattern("out")])).toEqual(["2.png", "10.png", "b/c/3.png"]);
  expect(await walked([pattern("2*"), pattern("**/*.png"), pattern("b"), pattern("b/c/*")], folder)).toEqual([
    "2.png",
    "10.png",
    "b/c/3.png",
    "out/5.png",
    "b/1.jpg",
  ]);
  expect(await walked([pattern("b/.h/*.png"), pattern("b/**/4.*")].slice(0, 1), folder)).toEqual(["b/.h/4.png"]);
  await expect(walked([pattern("*.gif")], folder)).rejects.toThrow(
    /expected a pattern that matches images, got no match/,
  );
});

test("a file is found once, whatever link leads to its folder, and a link says where it leads", async () => {
  const folder = await folderWith("in/1.png", "in/2.png");
  await symlink(join(folder, "in"), join(folder, "named"));
  await symlink("1.png", join(folder, "in", "3.png"));
  const [inside, named] = [join(folder, "in"), join(folder, "named")];
  expect(await walked([named, join(named, "1.png"), inside, join(inside, "2.png")], folder)).toEqual([
    "named/1.png",
    "named/2.png",
    "named/3.png",
  ]);
  expect(await walked([join(inside, "2.png"), named], folder)).toEqual(["in/2.png", "named/1.png", "named/3.png"]);
  const targets: unknown[] = [];
  for await (const one of walkPictures([join(named, "2.png"), inside, join(inside, "3.png")]))
    targets.push(one.kind === "picture" && one.target);
  expect(targets).toEqual([null, null, join(inside, "1.png")]);
});

test("a missing file is found, to be reported in its place; a folder that vanished is passed over", async () => {
  expect(await walked(["/nowhere/x.png"], "/nowhere")).toEqual(["x.png"]);
});

describe("the order of names", () => {
  test.each([
    ["2", "10"],
    ["a2b", "a10"],
    ["A", "a"],
    ["a", "ab"],
    ["a01", "a1"],
    ["9", "a"],
    ["1-2", "1-10"],
  ])("%s before %s", (a, b) => {
    expect(compareNames(a, b)).toBeLessThan(0);
    expect(compareNames(b, a)).toBeGreaterThan(0);
  });

  test("is one order: sorting any shuffle gives the same", () => {
    const names = Array.from(
      { length: 200 },
      (_, i) => `${["a", "", "x0", "b00"][i % 4]!}${i % 37}${["", "z", "07"][i % 3]!}`,
    );
    const unique = [...new Set(names)];
    const sorted = [...unique].sort(compareNames);
    expect([...unique].reverse().sort(compareNames)).toEqual(sorted);
    for (let i = 1; i < sorted.length; i++) expect(compareNames(sorted[i - 1]!, sorted[i]!)).toBeLessThan(0);
  });
});
