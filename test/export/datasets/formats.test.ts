import { mkdir, readdir, readFile, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parquetMetadata, parquetReadObjects } from "hyparquet";
import { unpackTar } from "modern-tar";
import { describe, expect, it } from "vitest";
import { CancelledError, UsageError } from "#laurel/errors";
import { writeImageFolder, writePreferenceFolder } from "#laurel/export/datasets/imagefolder";
import { writeImageLines, writePreferenceLines } from "#laurel/export/datasets/jsonl";
import { writePickapic } from "#laurel/export/datasets/parquet";
import type { DatasetImage, PreferenceRow, WriteOptions, WrittenDataset } from "#laurel/export/datasets/rows";
import { writeImageShards, writePreferenceShards } from "#laurel/export/datasets/webdataset";
import { sha256 } from "#laurel/util/files";
import { temporaryFolder } from "../../pipeline/runs.js";
import { allPairs, pictures } from "./pictures.js";

/** The key of a WebDataset sample and its field: https://github.com/webdataset/webdataset, `base_plus_ext`. */
const KEY_AND_FIELD = /^((?:.*\/|)[^.]+)[.]([^/]*)$/;

async function arrayBuffer(path: string): Promise<ArrayBuffer> {
  const bytes = await readFile(path);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}

async function material(count = 5): Promise<{ folder: string; images: DatasetImage[]; pairs: PreferenceRow[] }> {
  const folder = await temporaryFolder();
  await mkdir(join(folder, "run"));
  const images = await pictures(join(folder, "run"), "a red circle, größer", count);
  return { folder, images, pairs: allPairs(images) };
}

function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe("parquet as Pick-a-Pic has it", () => {
  it("reads back with the pictures' bytes as they are, and each label on the side of the higher score", async () => {
    const { folder, images, pairs } = await material();
    const path = join(folder, "pairs.parquet");
    const written = await writePickapic(pairs, path);
    expect(written).toEqual({ files: [path], rows: 10, pictures: 20, bytes: (await stat(path)).size });
    const rows = await parquetReadObjects({ file: await arrayBuffer(path), utf8: false });
    expect(rows).toHaveLength(10);
    const bySha = new Map(images.map((image) => [image.sha256, image]));
    for (const [i, row] of rows.entries()) {
      const [zero, one] = [
        bySha.get(sha256(row["jpg_0"] as Uint8Array))!,
        bySha.get(sha256(row["jpg_1"] as Uint8Array))!,
      ];
      expect(row).toMatchObject({
        caption: "a red circle, größer",
        label_0: zero.score > one.score ? 1 : 0,
        label_1: zero.score > one.score ? 0 : 1,
        image_0_uid: zero.sha256,
        score_0: zero.score,
        seed_1: BigInt(one.seed),
        model_0: "demo",
        are_different: true,
        has_label: true,
      });
      expect(new Set([zero, one])).toEqual(new Set([pairs[i]!.better, pairs[i]!.worse]));
    }
    const better = rows.filter((row) => row["label_0"] === 1).length;
    expect(better).toBeGreaterThan(0);
    expect(better).toBeLessThan(10);
  });

  it("ends a row group after a hundred rows, so that memory does not grow with the file", async () => {
    const { folder, pairs } = await material(16);
    const path = join(folder, "pairs.parquet");
    const many = [...pairs, ...pairs].slice(0, 230);
    await writePickapic(many, path);
    const { row_groups, schema } = parquetMetadata(await arrayBuffer(path));
    expect(row_groups.map(({ num_rows }) => Number(num_rows))).toEqual([100, 100, 30]);
    expect(schema.find(({ name }) => name === "jpg_0")).toMatchObject({
      type: "BYTE_ARRAY",
      repetition_type: "REQUIRED",
    });
    expect(schema.find(({ name }) => name === "label_0")).toMatchObject({ type: "DOUBLE" });
  });
});

describe("image folders", () => {
  it("name each picture with its prompt in metadata.jsonl beside them", async () => {
    const { folder, images } = await material();
    const written = await writeImageFolder(images.slice(0, 3), join(folder, "set"), "train");
    expect((await readdir(join(folder, "set"))).sort()).toEqual(["train"]);
    const split = join(folder, "set", "train");
    expect((await readdir(split)).sort()).toEqual(["000000.png", "000001.png", "000002.png", "metadata.jsonl"]);
    const rows = jsonLines(await readFile(join(split, "metadata.jsonl"), "utf8"));
    for (const [i, row] of rows.entries()) {
      const { score, seed, sha256: digest } = images[i]!;
      expect(row).toMatchObject({ text: "a red circle, größer", score, seed, sha256: digest, reward: "image-reward" });
      expect(sha256(await readFile(join(split, row["file_name"] as string)))).toBe(digest);
    }
    expect(written).toMatchObject({ rows: 3, pictures: 3 });
  });

  it("hold a picture of several pairs once, under the columns that become chosen and rejected", async () => {
    const { folder, images, pairs } = await material();
    const written = await writePreferenceFolder(pairs, join(folder, "set"), "validation");
    expect(written).toMatchObject({ rows: 10, pictures: 5 });
    const split = join(folder, "set", "validation");
    const rows = jsonLines(await readFile(join(split, "metadata.jsonl"), "utf8"));
    for (const [i, row] of rows.entries()) {
      for (const [side, image] of [["chosen", pairs[i]!.better] as const, ["rejected", pairs[i]!.worse] as const]) {
        expect(sha256(await readFile(join(split, row[`${side}_file_name`] as string)))).toBe(image.sha256);
        expect(row[`${side}_score`]).toBe(image.score);
      }
      expect(row["prompt"]).toBe(images[0]!.prompt);
    }
    expect(await readdir(split)).toHaveLength(6);
  });
});

describe("shards", () => {
  it("group the fields of a sample under keys without a dot, and stay within the size they may have", async () => {
    const { folder, pairs } = await material();
    const written = await writePreferenceShards(pairs, folder, "train", { shardBytes: 30_000 });
    expect(written.files.map((path) => path.slice(folder.length + 1))).toEqual(
      written.files.map((_, i) => `train-00000${i}.tar`),
    );
    expect(written.files.length).toBeGreaterThan(1);
    const keys: string[] = [];
    for (const path of written.files) {
      expect((await stat(path)).size).toBeLessThanOrEqual(30_000);
      const entries = await unpackTar(await readFile(path), { strict: true });
      for (let i = 0; i < entries.length; i += 4) {
        const sample = entries.slice(i, i + 4).map(({ header }) => KEY_AND_FIELD.exec(header.name)!);
        expect(new Set(sample.map(([, key]) => key)).size).toBe(1);
        expect(sample.map(([, , field]) => field)).toEqual(["jpg_0.png", "jpg_1.png", "json", "txt"]);
        const row = pairs[keys.length]!;
        const [zero, one, json, text] = entries.slice(i, i + 4).map(({ data }) => Buffer.from(data!));
        const facts = JSON.parse(json!.toString()) as { label_0: number; caption: string };
        const [better, worse] = facts.label_0 === 1 ? [zero!, one!] : [one!, zero!];
        expect([sha256(better), sha256(worse)]).toEqual([row.better.sha256, row.worse.sha256]);
        expect([facts.caption, text!.toString()]).toEqual([row.prompt, row.prompt]);
        keys.push(sample[0]![1]!);
      }
    }
    expect(keys).toEqual(pairs.map((_, i) => String(i).padStart(9, "0")));
  });

  it("of pictures hold png, json and txt, and the same pictures give the same bytes", async () => {
    const { folder, images } = await material();
    const { files } = await writeImageShards(images, join(folder, "a"), "train");
    const again = await writeImageShards(images, join(folder, "b"), "train");
    expect(await readFile(files[0]!)).toEqual(await readFile(again.files[0]!));
    const entries = await unpackTar(await readFile(files[0]!), { strict: true });
    expect(entries.slice(0, 3).map(({ header }) => header.name)).toEqual([
      "000000000.json",
      "000000000.png",
      "000000000.txt",
    ]);
    expect(entries).toHaveLength(15);
  });
});

describe("JSON lines", () => {
  it("name pictures by path and digest, one object a picture or pair", async () => {
    const { folder, images, pairs } = await material();
    await writeImageLines(images, join(folder, "images.jsonl"));
    await writePreferenceLines(pairs, join(folder, "pairs.jsonl"));
    const rows = jsonLines(await readFile(join(folder, "images.jsonl"), "utf8"));
    expect(rows[1]).toMatchObject({
      run_id: images[1]!.runId,
      prompt_id: images[1]!.promptId,
      prompt: images[1]!.prompt,
      image: images[1]!.path,
      sha256: images[1]!.sha256,
      seed: images[1]!.seed,
      scores: { "image-reward": 0.75 },
      rank: 2,
    });
    const [pair] = jsonLines(await readFile(join(folder, "pairs.jsonl"), "utf8"));
    expect(pair).toMatchObject({
      margin: 0.25,
      chosen: { image: images[0]!.path, sha256: images[0]!.sha256 },
      rejected: { image: images[1]!.path, sha256: images[1]!.sha256 },
    });
  });
});

const WRITERS: Record<
  string,
  (pairs: PreferenceRow[], out: string, options?: WriteOptions) => Promise<WrittenDataset>
> = {
  "pairs.parquet": writePickapic,
  "pairs.jsonl": writePreferenceLines,
  folder: (pairs, out, options) => writePreferenceFolder(pairs, out, "train", options),
  shards: (pairs, out, options) => writePreferenceShards(pairs, out, "train", options),
};

describe.each(Object.entries(WRITERS))("%s", (name, write) => {
  it("is not replaced without force, and with it as a whole", async () => {
    const { folder, pairs } = await material();
    const out = join(folder, "new", name);
    const first = await write(pairs, out);
    await expect(write(pairs.slice(0, 2), out)).rejects.toThrow("or --force to replace it");
    const second = await write(pairs.slice(0, 2), out, { force: true });
    expect([first.rows, second.rows]).toEqual([10, 2]);
    const sizes = await Promise.all(second.files.map(async (path) => (await stat(path)).size));
    expect(sizes.reduce((sum, size) => sum + size)).toBe(second.bytes);
    const hidden = (await readdir(join(folder, "new"), { recursive: true })).filter((one) => one.includes(".tmp"));
    expect(hidden).toEqual([]);
  });

  it("leaves nothing behind when it is cancelled half-way, or a picture is not what it was", async () => {
    const { folder, pairs } = await material();
    const out = join(folder, "deep", "new", name);
    const controller = new AbortController();
    const onRow = (written: number): void => {
      if (written === 4) controller.abort();
    };
    await expect(write(pairs, out, { signal: controller.signal, onRow })).rejects.toBeInstanceOf(CancelledError);
    expect(await readdir(folder)).toEqual(["run"]);
    if (name === "pairs.jsonl") return;
    const { path, bytes } = pairs[3]!.worse;
    await writeFile(path, new Uint8Array(bytes));
    await expect(write(pairs, out)).rejects.toThrow(/-4\.png: expected the picture that the run recorded/);
    await unlink(path);
    await expect(write(pairs, out)).rejects.toThrow(/-4\.png: expected a picture of the run, got no such file/);
    expect(await readdir(folder)).toEqual(["run"]);
  });
});

it("force replaces datasets alone, no other folders or files of another kind", async () => {
  const { folder, pairs } = await material();
  await mkdir(join(folder, "home", "train"), { recursive: true });
  await writeFile(join(folder, "home", "train", "letters.txt"), "x");
  await expect(writePreferenceFolder(pairs, join(folder, "home"), "train", { force: true })).rejects.toThrow(
    "expected a dataset (a folder with metadata.jsonl) to replace, got something else",
  );
  await mkdir(join(folder, "pairs.parquet"));
  await expect(writePickapic(pairs, join(folder, "pairs.parquet"), { force: true })).rejects.toThrow(
    "expected the name of a file to write, got a folder",
  );
  await writeFile(join(folder, "file"), "x");
  await expect(writePreferenceFolder(pairs, join(folder, "file"), "train")).rejects.toThrow(/ENOTDIR|EEXIST/);
  await expect(writePreferenceShards(pairs, join(folder, "file"), "train")).rejects.toBeInstanceOf(UsageError);
  expect(await readFile(join(folder, "home", "train", "letters.txt"), "utf8")).toBe("x");
});
