import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, describe, it } from "vitest";
import { writeImageFolder, writePreferenceFolder } from "#laurel/export/datasets/imagefolder";
import { writeImageLines, writePreferenceLines } from "#laurel/export/datasets/jsonl";
import { writePickapic } from "#laurel/export/datasets/parquet";
import { encodePng } from "#laurel/image/png";
import { readImageSet } from "#laurel/training/data/image-set";
import { readPreferencePairs } from "#laurel/training/data/preference-pairs";
import type { PreferencePair } from "#laurel/training/data/contract";
import { allPairs, pictures } from "../../export/datasets/pictures.js";
import { temporaryFolder } from "../../pipeline/runs.js";

/** Made by test/reference/pickapic.py, as its metadata say. */
const FIXTURES = fileURLToPath(new URL("../../fixtures/datasets/", import.meta.url));

/** Grey levels of a pair of grey pictures, better and worse. */
function levels({ better, worse }: PreferencePair): [number, number] {
  return [better.data[0]!, worse.data[0]!];
}

describe("readPreferencePairs", () => {
  it("reads the same pairs out of each format that the export writes", async () => {
    const folder = await temporaryFolder();
    const pairs = allPairs(await pictures(folder, "a red circle", 4));
    await writePickapic(pairs, join(folder, "pairs.parquet"));
    await writePreferenceLines(pairs, join(folder, "pairs.jsonl"));
    await writePreferenceFolder(pairs, join(folder, "set"), "train");
    const expected = [
      [0, 10],
      [0, 20],
      [0, 30],
      [10, 20],
      [10, 30],
      [20, 30],
    ];
    for (const name of ["pairs.parquet", "pairs.jsonl", "set", "set/train", "set/train/metadata.jsonl"]) {
      const read = await readPreferencePairs(join(folder, name));
      expect([name, read.length, read.warnings]).toEqual([name, 6, []]);
      const all = await Promise.all(Array.from({ length: 6 }, (_, i) => read.at(i)));
      expect([name, all.map(levels)]).toEqual([name, expected]);
      expect(all[5]).toMatchObject({ prompt: "a red circle", better: { width: 8, height: 6 } });
    }
  });

  it("reads a row out of a parquet file of several row groups and pages", async () => {
    const folder = await temporaryFolder();
    const pairs = allPairs(await pictures(folder, "many", 16));
    const many = [...pairs, ...pairs];
    await writePickapic(many, join(folder, "pairs.parquet"));
    const read = await readPreferencePairs(join(folder, "pairs.parquet"));
    expect(read.length).toBe(240);
    for (const index of [239, 0, 99, 100, 201]) {
      const { better, worse } = many[index]!;
      expect(levels(await read.at(index))).toEqual([10 * better.index, 10 * worse.index]);
    }
  });

  it("reads Pick-a-Pic as pyarrow writes it, in PNG, JPEG and WebP, and leaves out ties and rows without a label", async () => {
    const path = join(FIXTURES, "pickapic.parquet");
    const read = await readPreferencePairs(path);
    expect(read.warnings).toEqual([
      `${path}: 1 pairs without a preference (label_0 is 0.5) were left out`,
      `${path}: 1 pairs whose label_0 is not 0, 0.5 or 1 were left out`,
    ]);
    const all = await Promise.all(Array.from({ length: read.length }, (_, i) => read.at(i)));
    expect(all.map(({ prompt }) => prompt)).toEqual([0, 1, 3, 5].map((row) => `ein grauer Würfel ${row}`));
    // rows 0 and 3 prefer jpg_0 (20 row + 10), rows 1 and 5 jpg_1 (20 row + 15)
    expect(all.map(levels)).toEqual([
      [10, 15],
      [35, 30],
      [70, 75],
      [115, 110],
    ]);
  });

  it("reads all parquet files of a folder, in the order of their names", async () => {
    const folder = await temporaryFolder();
    for (const name of ["train-00001.parquet", "train-00000.parquet"])
      await copyFile(join(FIXTURES, "pickapic.parquet"), join(folder, name));
    const read = await readPreferencePairs(folder);
    expect([read.length, read.warnings.length]).toEqual([8, 4]);
    expect(levels(await read.at(7))).toEqual([115, 110]);
  });

  it.each<[string, (folder: string) => Promise<string>, string]>([
    [
      "a path that is not there",
      async (folder) => join(folder, "absent"),
      "absent: expected preference pairs, got no such file",
    ],
    [
      "an empty folder",
      async (folder) => folder,
      "expected preference pairs (metadata.jsonl, metadata.csv or parquet files), got none",
    ],
    [
      "compression that it does not know",
      async () => join(FIXTURES, "pickapic-zstd.parquet"),
      "pickapic-zstd.parquet: expected a sound parquet file, got parquet unsupported compression codec: ZSTD",
    ],
    [
      "a parquet file that is none",
      (folder) => put(folder, "x.parquet", "PAR1 not"),
      "x.parquet: expected a sound parquet file, got",
    ],
    [
      "an empty parquet file",
      (folder) => put(folder, "x.parquet", ""),
      "x.parquet: expected a sound parquet file, got",
    ],
    [
      "JSON lines without pictures",
      (folder) => put(folder, "x.jsonl", '{"prompt":"a"}'),
      "x.jsonl:1:1: expected the name of a picture under chosen_file_name, chosen, got none",
    ],
    [
      "a picture that is gone",
      (folder) => put(folder, "x.jsonl", '\n{"prompt":"a","chosen":"b.png","rejected":"c.png"}'),
      "x.jsonl:2:1: chosen: expected a picture, got no such file: b.png",
    ],
    [
      "a row without a prompt",
      (folder) => put(folder, "metadata.csv", "chosen_file_name,rejected_file_name\na.png,b.png\n"),
      "metadata.csv:2:1: expected a text under prompt, text, caption, got chosen_file_name, rejected_file_name",
    ],
    ["a line that is no JSON", (folder) => put(folder, "x.jsonl", "{"), "x.jsonl:1:1: expected JSON, got"],
    ["no rows", (folder) => put(folder, "x.jsonl", ""), "x.jsonl: expected pictures with prompts, got none"],
    ["a file of another kind", (folder) => put(folder, "x.bin", "x"), "x.bin: expected a file ending in"],
  ])("refuses %s", async (_, make, message) => {
    await expect(readPreferencePairs(await make(await temporaryFolder()))).rejects.toThrow(message);
  });

  it("names the row of a picture that cannot be decoded, and the numbers that samples have", async () => {
    const folder = await temporaryFolder();
    const pairs = allPairs(await pictures(folder, "x", 2));
    const path = join(folder, "pairs.parquet");
    await writePickapic(pairs, path);
    const bytes = await readFile(path);
    bytes.fill(0, bytes.indexOf("IHDR"), bytes.indexOf("IHDR") + 8);
    await writeFile(path, bytes);
    const read = await readPreferencePairs(path);
    await expect(read.at(0)).rejects.toThrow(/pairs\.parquet: row 0: jpg_[01]: expected/);
    await expect(read.at(1)).rejects.toThrow("expected a sample from 0 to 0, got 1");
  });

  it("names the columns that a parquet file lacks", async () => {
    const folder = await temporaryFolder();
    const { parquetWriteBuffer } = await import("hyparquet-writer");
    const data = parquetWriteBuffer({ columnData: [{ name: "caption", data: ["a"], type: "STRING" }] });
    const path = join(folder, "x.parquet");
    await writeFile(path, Buffer.from(data));
    await expect(readPreferencePairs(path)).rejects.toThrow(
      "x.parquet: expected the columns jpg_0, jpg_1, label_0, got caption",
    );
  });
});

describe("readImageSet", () => {
  it("reads what the export writes, with scores", async () => {
    const folder = await temporaryFolder();
    const images = await pictures(folder, "a red circle", 3);
    await writeImageFolder(images, join(folder, "set"), "train");
    await writeImageLines(images, join(folder, "images.jsonl"));
    for (const name of ["set", "set/train", "images.jsonl"]) {
      const read = await readImageSet(join(folder, name));
      expect(read.length).toBe(3);
      const { image, ...facts } = await read.at(2);
      expect(facts).toEqual({ prompt: "a red circle", score: 0.5 });
      expect(read.facts(2)).toEqual(facts);
      expect(image).toEqual({ width: 8, height: 6, data: new Uint8Array(8 * 6 * 3).fill(20) });
    }
  });

  it("reads metadata in CSV, and texts beside pictures", async () => {
    const folder = await temporaryFolder();
    const sidecars = join(folder, "sidecars");
    await mkdir(join(sidecars, "deep"), { recursive: true });
    const grey = (level: number) => encodePng({ width: 2, height: 2, data: new Uint8Array(12).fill(level) });
    await writeFile(join(sidecars, "2.png"), await grey(2));
    await writeFile(join(sidecars, "2.txt"), "two\n");
    await writeFile(join(sidecars, "deep", "10.png"), await grey(10));
    await writeFile(join(sidecars, "deep", "10.txt"), "ten");
    const beside = await readImageSet(sidecars);
    expect([beside.facts(0), beside.facts(1)]).toEqual([
      { prompt: "two", score: null },
      { prompt: "ten", score: null },
    ]);
    expect((await beside.at(1)).image.data[0]).toBe(10);
    await writeFile(join(sidecars, "metadata.csv"), "file_name,text,score\ndeep/10.png,other,1.5\n2.png,two,\n");
    const listed = await readImageSet(sidecars);
    expect([listed.facts(0), listed.facts(1)]).toEqual([
      { prompt: "other", score: 1.5 },
      { prompt: "two", score: null },
    ]);
  });

  it("names every picture without a text, every bad score, and a picture that is none", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "a.png"), "no picture");
    await writeFile(join(folder, "b.png"), "no picture");
    await writeFile(join(folder, "b.txt"), " \n");
    const error = (await readImageSet(folder).catch((cause: unknown) => cause)) as { faults: string[] };
    expect(error.faults).toEqual([
      `${join(folder, "a.txt")}: expected the prompt of the picture beside it, got no such file`,
      `${join(folder, "b.txt")}: expected a prompt, got an empty text`,
    ]);
    const lines = await put(folder, "x.jsonl", '{"text":"a","image":"a.png","score":"high"}\n{"text":"b","image":"."}');
    const faults = (await readImageSet(lines).catch((cause: unknown) => cause)) as { faults: string[] };
    expect(faults.faults).toEqual([
      `${lines}:1:1: score: expected a number, got "high"`,
      `${lines}:2:1: image: expected a picture, got a folder: .`,
    ]);
    const read = await readImageSet(await put(folder, "y.jsonl", '{"text":"a","image":"a.png"}'));
    await expect(read.at(0)).rejects.toThrow("a.png: expected a PNG, JPEG, WebP, GIF, TIFF or AVIF image");
    await expect(readImageSet(join(folder, "absent"))).rejects.toThrow(
      "absent: expected pictures with prompts, got no such file",
    );
    await mkdir(join(folder, "empty"));
    await expect(readImageSet(join(folder, "empty"))).rejects.toThrow(
      "empty: expected a folder with images, got none in it",
    );
  });
});

async function put(folder: string, name: string, content: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}
