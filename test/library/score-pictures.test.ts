import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import {
  appendFile,
  chmod,
  copyFile,
  link,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { parse } from "csv-parse/sync";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { CancelledError } from "#laurel/errors";
import { writeTable } from "#laurel/export/table";
import { decodeImage } from "#laurel/image/decode";
import { readGenerationData } from "#laurel/image/metadata";
import { encodePng, readPngText } from "#laurel/image/png";
import { ownPrompt } from "#laurel/library/pictures/read-picture";
import { scoreColumns } from "#laurel/library/pictures/score-columns";
import { INDEX_NAME, type IndexedScore, ScoreIndex } from "#laurel/library/pictures/score-index";
import { writeScore } from "#laurel/library/pictures/write-score";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { temporaryFolder } from "../pipeline/runs.js";
import { grey, scoring, someFolder } from "./pictures.js";

const score = (value: number): number => expect.closeTo((value / 255 - 0.5) * 4, 5) as number;

describe("scoring a folder", () => {
  it("takes each picture's own prompt, in the order they are found, and says what has none", async () => {
    const folder = await someFolder();
    const { set, told, scored } = await scoring([folder]);
    expect(
      told.map(({ path, prompt, score: value, problem }) => [path.slice(folder.length + 1), prompt, value, problem]),
    ).toEqual([
      ["1.png", "a cat", score(10), undefined],
      ["2.png", "a cat", score(200), undefined],
      ["10.png", "a cat", score(120), undefined],
      ["dogs/1.png", "a dog", score(90), undefined],
      ["dogs/2.png", null, null, "no prompt"],
      ["dogs/3.png", null, null, "broken"],
    ]);
    expect(scored).toBe(4);
    expect(set.prompts).toBe(2);
    expect(set.summary()).toMatchObject({ pictures: 6, scored: 4, unchanged: 0, broken: 1, withoutPrompt: 1 });
    expect(set.summary().problems).toEqual([expect.stringMatching(/3\.png: expected a PNG/)]);
    const rows = [];
    for await (const { path, rank, rankOfAll } of set.rows())
      rows.push([path.slice(folder.length + 1), rank, rankOfAll]);
    expect(rows).toEqual([["1.png", 3, 4], ["2.png", 1, 1], ["10.png", 2, 2], ["dogs/1.png", 1, 3], ["dogs/2.png", null, null], ["dogs/3.png", null, null]]); // prettier-ignore
  });

  it("chooses by range, by the best of each prompt, and both", async () => {
    const { set } = await scoring([await someFolder()]);
    const chosen = async (choice: Parameters<typeof set.rows>[0]): Promise<string[]> => {
      const names = [];
      for await (const { path } of set.rows(choice, "chosen"))
        names.push(
          path
            .split("/")
            .slice(-2)
            .join("/")
            .replace(/^laurel-test-\w+\//, ""),
        );
      expect(set.count(choice)).toBe(names.length);
      return names;
    };
    expect(await chosen({ topK: 1 })).toEqual(["2.png", "dogs/1.png"]);
    expect(await chosen({ minimum: -1, maximum: 0 })).toEqual(["10.png", "dogs/1.png"]);
    expect(await chosen({ topK: 1, maximum: 0 })).toEqual(["10.png", "dogs/1.png"]);
    expect(await chosen({ minimum: 5 })).toEqual([]);
    const rest = [];
    for await (const { path } of set.rows({ topK: 1 }, "rest")) rest.push(path.split("/").at(-1));
    expect(rest).toEqual(["1.png", "10.png"]);
    expect((await set.best(2)).map(({ rankOfAll }) => rankOfAll)).toEqual([1, 2]);
  });

  it("takes a sidecar before metadata, one of them alone, or one prompt for all", async () => {
    const folder = await temporaryFolder();
    await grey(join(folder, "1.png"), 10);
    await grey(join(folder, "2.png"), 20);
    await grey(join(folder, "3.png"), 30, null);
    await writeFile(join(folder, "1.txt"), "a horse\n");
    await writeFile(join(folder, "2.json"), JSON.stringify({ prompt: "a cow", seed: 1 }));
    await writeFile(join(folder, "3.txt"), "a pig\nNegative prompt: no\nSteps: 1, Seed: 2, Size: 4x4");
    const prompts = async (options: Parameters<typeof scoring>[1]): Promise<unknown> =>
      (await scoring([folder], { ...options, index: null })).told.map(({ prompt, promptFrom }) => [prompt, promptFrom]);
    expect(await prompts({})).toEqual([
      ["a horse", "sidecar"],
      ["a cow", "sidecar"],
      ["a pig", "sidecar"],
    ]);
    expect(await prompts({ prompts: "metadata" })).toEqual([
      ["a cat", "infotext"],
      ["a cat", "infotext"],
      [null, null],
    ]);
    expect(await prompts({ prompt: "x" })).toEqual([
      ["x", "given"],
      ["x", "given"],
      ["x", "given"],
    ]);
    await writeFile(join(folder, "2.json"), "{broken");
    await writeFile(join(folder, "3.txt"), Buffer.from([0xff, 0xfe, 0]));
    expect(await prompts({ prompts: "sidecar" })).toEqual([
      ["a horse", "sidecar"],
      [null, null],
      [null, null],
    ]);
  });

  it("leaves the syntax of web UIs out, and takes what Laurel's rewards read for Laurel's pictures", async () => {
    const folder = await temporaryFolder();
    const weighted = "a (red:1.3) [circle],\nmasterpiece <lora:style:0.8>";
    const graph = { "1": { inputs: { seed: 1, positive: ["2", 0] } }, "2": { inputs: { text: "a (blue:1.2) cube" } } };
    const texts: Readonly<Record<string, readonly [string, string]>> = {
      "1.png": ["parameters", `${weighted}\nSteps: 1, Seed: 2, Size: 4x4`],
      "2.png": ["parameters", "a cat,\non a mat\nSteps: 1, Seed: 2, Size: 4x4"],
      "3.png": ["prompt", JSON.stringify(graph)],
      "4.png": ["laurel", JSON.stringify({ prompt: "a cat, best quality", rewardPrompt: "a cat" })],
      "5.png": ["laurel", JSON.stringify({ prompt: "a (cat)", rewardPrompt: null })],
      "6.png": ["parameters", "(a cat:1..2)\nSteps: 1, Seed: 2, Size: 4x4"],
      "7.png": ["Comment", "x"],
      "8.png": ["Comment", "x"],
    };
    const image = { width: 4, height: 4, data: new Uint8Array(48) };
    for (const [name, [keyword, value]] of Object.entries(texts))
      await writeFile(join(folder, name), await encodePng(image, [{ keyword, value }]));
    await writeFile(join(folder, "7.txt"), `${weighted}\nSteps: 1, Seed: 2, Size: 4x4`);
    await writeFile(join(folder, "8.json"), '{"caption": "half of \\ud83d (a smile)"}');
    expect((await scoring([folder])).told.map(({ prompt }) => prompt)).toEqual([
      "a red circle, masterpiece",
      "a cat,\non a mat",
      "a blue cube",
      "a cat",
      "a (cat)",
      "(a cat:1..2)",
      "a red circle, masterpiece",
      "half of \ufffd (a smile)",
    ]);
  });

  it("survives hostile files, files that vanish, and a reward without a number", async () => {
    const folder = await temporaryFolder();
    await grey(join(folder, "1\n2.png"), 10);
    await grey(join(folder, "2.png"), 20);
    await symlink(folder, join(folder, "circle"));
    const reward = createBrightnessReward((value) => (value > -1.8 ? Number.NaN : value));
    const { set, told } = await scoring([folder, join(folder, "gone.png"), "/nowhere"], {}, reward);
    expect(told.map(({ problem }) => problem)).toEqual([undefined, "no score", "broken", "broken"]);
    expect(told[2]?.error).toContain("no such file");
    expect(set.summary()).toMatchObject({ passedOver: 0, withoutScore: 1, broken: 2 });
    expect(set.summary().warnings).toEqual([expect.stringContaining("circle: passed over: a link to a folder")]);
  });

  it("of nothing is nothing", async () => {
    const { set } = await scoring([await temporaryFolder()]);
    expect([set.size, set.count(), await set.best(3)]).toEqual([0, 0, []]);
  });
});

describe("what was scored before", () => {
  it("is not scored again while file and sidecar are the same", async () => {
    const folder = await someFolder();
    await (await scoring([folder])).set.close();
    const again = await scoring([folder]);
    expect([again.scored, again.set.summary().unchanged]).toEqual([0, 6]);
    expect((await again.set.best(1))[0]).toMatchObject({ path: join(folder, "2.png"), score: score(200) });
    await again.set.close();
    // touched: the pixels are the same; changed; new; a sidecar that was not there
    await utimes(join(folder, "1.png"), 1000, 1000);
    await grey(join(folder, "2.png"), 60);
    await grey(join(folder, "3.png"), 70);
    await writeFile(join(folder, "dogs", "2.txt"), "a wolf");
    const changed = await scoring([folder]);
    expect([changed.scored, changed.set.summary()]).toMatchObject([3, { scored: 6, unchanged: 3 }]);
    expect(changed.told.find(({ path }) => path.endsWith("dogs/2.png"))).toMatchObject({ prompt: "a wolf" });
    await changed.set.close();
    // another reward or prompt is another task; the first is still known
    expect((await closing(scoring([folder], { prompt: "x" }))).scored).toBe(6);
    expect((await closing(scoring([folder]))).scored).toBe(0);
    expect((await closing(scoring([folder], { prompt: "x" }))).scored).toBe(0);
  });

  const closing = async (work: ReturnType<typeof scoring>): ReturnType<typeof scoring> => {
    const done = await work;
    await done.set.close();
    return done;
  };

  it("moves with its folder", async () => {
    const folder = await someFolder();
    await closing(scoring([folder]));
    await rename(folder, `${folder}-moved`);
    try {
      const { told, scored } = await closing(scoring([`${folder}-moved`]));
      expect(scored).toBe(0);
      expect(told.at(-1)?.error).toContain(`${folder}-moved/dogs/3.png: expected a PNG`);
    } finally {
      await rm(`${folder}-moved`, { recursive: true });
    }
  });

  it("is kept when scoring is cancelled, and the rest goes on", async () => {
    const folder = await temporaryFolder();
    for (let i = 0; i < 60; i++) await grey(join(folder, `${i}.png`), i, `prompt ${i % 3}`);
    const controller = new AbortController();
    let seen = 0;
    const reward = createBrightnessReward((value) => {
      if (++seen === 20) controller.abort();
      return value;
    });
    const cancelled = scoring([folder], { signal: controller.signal }, reward);
    await expect(cancelled).rejects.toThrow(CancelledError);
    await expect(cancelled).rejects.toThrow(/^cancelled with \d+ pictures done; they are remembered$/);
    const { scored, set } = await closing(scoring([folder]));
    expect(scored).toBeLessThan(60);
    expect(set.size).toBe(60);
  });

  it("outlives a line that was cut short, lines of nonsense, and is written anew when most of it is old", async () => {
    const folder = await someFolder();
    const index = join(folder, INDEX_NAME);
    await closing(scoring([folder]));
    const lines = (await readFile(index, "utf8")).split("\n");
    await writeFile(
      index,
      `${lines.join("\n")}nonsense\n{"key":"0000000000000001","path":5}\n${lines[2]!.slice(0, 60)}`,
    );
    expect((await closing(scoring([folder]))).scored).toBe(0);
    for (let i = 0; i < 1100; i++) await appendFile(index, `${lines[2]!}\n`);
    expect((await closing(scoring([folder]))).scored).toBe(0);
    expect((await readFile(index, "utf8")).split("\n").length).toBeLessThan(20);
  });

  it("has every line that is added while others are written, or are asked for", async () => {
    const index = await ScoreIndex.temporary();
    const line = (bytes: number): IndexedScore => ({ bytes, modified: 1, width: 1, height: 1, side: null, prompt: "x", promptFrom: "given", score: 1, digest: null, look: null }); // prettier-ignore
    index.append("task", "/a.png", line(1));
    const flushed = index.flush();
    index.append("task", "/b.png", line(2));
    const found = index.find("task", "/b.png");
    const third = index.append("task", "/c.png", line(3));
    await Promise.all([flushed, found, index.flush()]);
    expect([(await index.find("task", "/a.png"))?.bytes, (await found)?.bytes, (await index.read(third))?.bytes]).toEqual([1, 2, 3]); // prettier-ignore
    await index.close();
  });

  it("lies in a file that is its own: another is left as it is, and a second process is refused", async () => {
    const folder = await someFolder();
    const other = join(folder, "diary.txt");
    for (const text of ["Dear diary\n", "no line break at all, and longer than the header"]) {
      await writeFile(other, text);
      await expect(scoring([folder], { index: other })).rejects.toThrow(
        /diary\.txt: expected an index of scores, got something else/,
      );
      expect(await readFile(other, "utf8")).toBe(text);
    }
    const index = await ScoreIndex.open(join(folder, INDEX_NAME));
    await expect(scoring([folder])).rejects.toThrow(
      /expected an index of scores that no other process works on, got process \d+/,
    );
    await index.close();
    await expect(scoring([folder], { index: join(folder, "none", "x.jsonl") })).rejects.toThrow(
      /expected a place for the index/,
    );
  });

  test.skipIf(process.getuid?.() === 0)(
    "is not remembered in a folder that cannot be written to, with a warning",
    async () => {
      const folder = await someFolder();
      await chmod(folder, 0o500);
      const { set } = await scoring([folder]);
      expect(set.summary().warnings[0]).toMatch(/scores are not remembered/);
      await chmod(folder, 0o700);
    },
  );
});

describe("duplicates", () => {
  it("are those with the same pixels, whatever their texts, and those that look nearly the same", async () => {
    const folder = await temporaryFolder();
    const grid = new URL("../../docs/images/img2img.png", import.meta.url);
    const { default: sharp } = await import("sharp");
    await copyFile(grid, join(folder, "1.png"));
    await sharp(await readFile(grid))
      .resize(200)
      .jpeg({ quality: 60 })
      .toFile(join(folder, "2.jpg"));
    await copyFile(grid, join(folder, "3.png"));
    await writeScore(join(folder, "3.png"), { score: 1, prompt: null, promptFrom: null, width: 1, height: 1 }, REWARD);
    await grey(join(folder, "4.png"), 90);
    await grey(join(folder, "5.png"), 91);
    await grey(join(folder, "6.png"), 90, "another prompt");
    const { set } = await scoring([folder], { prompt: "x" });
    expect(await set.findDuplicates()).toEqual({ exact: 2, near: 1 });
    const rows = [];
    for await (const { duplicateOf, duplicateDistance } of set.rows())
      rows.push([duplicateOf?.slice(folder.length + 1), duplicateDistance !== null]);
    expect(rows).toEqual([[undefined, false], ["1.png", true], ["1.png", true], [undefined, false], [undefined, false], ["4.png", true]]); // prettier-ignore
    expect(set.count({ unique: true })).toBe(3);
  });
});

const REWARD = { name: "image-reward", model: "ImageReward.pt", path: null, digest: "0123456789abcdef".repeat(4) };

describe("a score in metadata", () => {
  const fixtures = new URL("../fixtures/pictures/", import.meta.url);

  test("is what AUTOMATIC1111, ComfyUI and Pillow have read, byte for byte (test/reference/pictures.py)", async () => {
    const { pictures } = JSON.parse(await readFile(new URL("pictures.json", fixtures), "utf8")) as {
      pictures: { file: string; written: string; prompt: string; negative: string }[];
    };
    const folder = await temporaryFolder();
    expect(pictures.length).toBe(10);
    for (const { file, written, prompt } of pictures) {
      const path = join(folder, file);
      const bytes = await readFile(new URL(file, fixtures));
      await writeFile(path, bytes);
      const { width, height } = await decodeImage(bytes, file);
      const own = await ownPrompt(bytes, file, null, "metadata");
      const note = {
        score: 0.8312,
        prompt: own.prompt,
        promptFrom: own.prompt === null ? null : own.promptFrom,
        width,
        height,
      };
      await writeScore(path, note, REWARD);
      const after = await readFile(path);
      expect([file, createHash("sha256").update(after).digest("hex")]).toEqual([file, written]);
      expect([file, (await readGenerationData(after, file))?.prompt ?? ""]).toEqual([file, prompt]);
    }
  });

  test("keeps Laurel's record, the file's times and rights; it is written once, and replaced", async () => {
    const folder = await temporaryFolder();
    const path = join(folder, "a.png");
    await grey(path, 50);
    await chmod(path, 0o640);
    await utimes(path, 1_600_000_000, 1_600_000_000);
    const { set } = await scoring([folder], { writeMetadata: true });
    expect(set.summary()).toMatchObject({ written: 1, notWritten: 0 });
    await set.close();
    const { mode, mtimeMs } = await stat(path);
    expect([mode & 0o777, mtimeMs]).toEqual([0o640, 1_600_000_000_000]);
    const once = await readFile(path);
    const again = await scoring([folder], { writeMetadata: true });
    expect([again.scored, again.set.summary().written, again.set.summary().unchanged]).toEqual([0, 0, 1]);
    await again.set.close();
    const texts = new Map(readPngText(once).map(({ keyword, value }) => [keyword, value]));
    expect(texts.get("parameters")).toMatch(
      /^a cat\nSteps: 1, Seed: 2, Size: 4x4, brightness: -1\.2157, Scored by: laurel$/,
    );
    await writeScore(path, { score: 1, prompt: "x", promptFrom: "given", width: 4, height: 4 }, REWARD);
    await writeScore(path, { score: 2, prompt: "x", promptFrom: "given", width: 4, height: 4 }, REWARD);
    const record = JSON.parse(
      new Map(readPngText(await readFile(path)).map(({ keyword, value }) => [keyword, value])).get("laurel")!,
    ) as unknown;
    expect(record).toEqual({
      scores: [
        { reward: "brightness", digest: null, prompt: "a cat", score: score(50) },
        { reward: "image-reward", digest: REWARD.digest, prompt: "x", score: 2 },
      ],
    });
    // its own prompt is still its own
    expect(await readGenerationData(await readFile(path), path)).toMatchObject({ prompt: "a cat", source: "infotext" });
  });

  test("leaves the size alone that a picture was drawn at before it was enlarged", async () => {
    const path = join(await temporaryFolder(), "a.png");
    const parameters = "a cat\nSteps: 1, Seed: 2, Size: 512x512, Hires upscale: 2";
    const image = { width: 4, height: 4, data: new Uint8Array(48) };
    await writeFile(path, await encodePng(image, [{ keyword: "parameters", value: parameters }]));
    await writeScore(path, { score: 1, prompt: "x", promptFrom: "infotext", width: 4, height: 4 }, REWARD);
    expect(readPngText(await readFile(path))[0]!.value).toBe(
      `${parameters}, ImageReward: 1, Reward hash: 0123456789, Scored by: laurel`,
    );
  });

  test("is not written into a picture that takes the place of the scored one, however long its name", async () => {
    const folder = await temporaryFolder();
    const [path, long] = [join(folder, "1.png"), join(folder, `${"ü".repeat(125)}.png`)];
    await grey(path, 10);
    await grey(long, 10);
    const other = join(folder, "other", "1.png");
    await grey(other, 250);
    const bright = await readFile(other);
    const reward = createBrightnessReward((value) => {
      writeFileSync(path, bright);
      return value;
    });
    const { set } = await scoring([folder], { writeMetadata: true, prompts: "metadata" }, reward);
    expect(set.summary().problems).toEqual([
      expect.stringMatching(/1\.png: expected the picture that was scored, got another/),
    ]);
    await set.close();
    expect(await readFile(path)).toEqual(bright);
    expect(readPngText(await readFile(long)).at(-1)?.keyword).toBe("laurel");
    const again = await scoring([folder], { prompts: "metadata" });
    expect([again.scored, again.told[0]?.score]).toEqual([1, score(250)]);
  });

  test("is none of a JPEG's pixels: the file keeps its digest, and its score when it is touched", async () => {
    const folder = await temporaryFolder();
    const { default: sharp } = await import("sharp");
    const path = join(folder, "1.jpg");
    await sharp({ create: { width: 8, height: 8, channels: 3, background: "red" } }).toFile(path);
    const first = await scoring([folder], { prompt: "x" });
    await first.set.close();
    await (await scoring([folder], { prompt: "x", writeMetadata: true })).set.close();
    await utimes(path, 1_600_000_000, 1_600_000_000);
    const { scored, told, set } = await scoring([folder], { prompt: "x" });
    await set.close();
    expect([scored, told[0]!.digest]).toEqual([0, first.told[0]!.digest]);
  });

  test("is refused for what cannot take it; links are followed, and a failure changes nothing", async () => {
    const folder = await temporaryFolder();
    const { default: sharp } = await import("sharp");
    const picture = sharp({ create: { width: 8, height: 8, channels: 3, background: "red" } });
    await picture.clone().gif().toFile(join(folder, "1.gif"));
    await picture
      .clone()
      .webp()
      .withExif({ IFD0: { Make: 'workflow:{"a":1}' } })
      .toFile(join(folder, "2.webp"));
    await grey(join(folder, "3.png"), 10);
    await symlink("3.png", join(folder, "4.png"));
    await link(join(folder, "3.png"), join(folder, "5.png"));
    const before = await readFile(join(folder, "2.webp"));
    const { set } = await scoring([folder], { writeMetadata: true, prompt: "x" });
    expect(set.summary()).toMatchObject({ written: 3, notWritten: 2 });
    expect(set.summary().problems).toEqual([
      expect.stringMatching(/1\.gif: expected a PNG, JPEG or WebP file to write its score to/),
      expect.stringMatching(/2\.webp: expected EXIF data that ComfyUI still reads/),
    ]);
    expect(await readFile(join(folder, "2.webp"))).toEqual(before);
    expect(readPngText(await readFile(join(folder, "4.png"))).map(({ keyword }) => keyword)).toEqual([
      "parameters",
      "laurel",
    ]);
    await expect(
      writeScore(join(folder, "gone.png"), { score: 1, prompt: null, promptFrom: null, width: 1, height: 1 }, REWARD),
    ).rejects.toThrow(/gone\.png: expected a picture/);
  });
});

describe("a table", () => {
  test("holds every picture, however it is called, in CSV, JSON lines and parquet alike", async () => {
    const folder = await someFolder();
    await rename(join(folder, "1.png"), join(folder, 'a "b",\nc.png'));
    const { set } = await scoring([folder]);
    const columns = scoreColumns(set.records);
    const out = await temporaryFolder();
    for (const ending of ["csv", "jsonl", "parquet"]) {
      const { rows } = await writeTable(join(out, `t.${ending}`), set.rows(), columns);
      expect(rows).toBe(6);
    }
    const lines = (await readFile(join(out, "t.jsonl"), "utf8")).trimEnd().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>); // prettier-ignore
    const csv = parse(await readFile(join(out, "t.csv")), { columns: true }) as Record<string, string>[];
    const file = await asyncBufferFromFile(join(out, "t.parquet"));
    const parquet = await parquetReadObjects({ file });
    expect(csv.map((row) => row["path"])).toEqual(lines.map(({ path }) => path));
    expect(csv.map((row) => (row["score"] === "" ? null : Number(row["score"])))).toEqual(
      lines.map((line) => line["score"]),
    );
    expect(parquet.map((row) => ({ ...row, rank: toNumber(row["rank"]) }))).toMatchObject(
      lines.map(({ path, score: value, rank, prompt, problem }) => ({ path, score: value, rank, prompt, problem })),
    );
    await expect(writeTable(join(out, "t.csv"), set.rows(), columns)).rejects.toThrow(
      /expected no such file yet, or --force/,
    );
    await expect(writeTable(join(out, "t.txt"), set.rows(), columns)).rejects.toThrow(
      /ending in \.csv, \.jsonl, \.parquet/,
    );
  });

  const toNumber = (value: unknown): number | null => (value === null || value === undefined ? null : Number(value));
});
