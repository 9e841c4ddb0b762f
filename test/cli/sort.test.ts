import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { describe, expect, it, test } from "vitest";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { promptFolder } from "#laurel/library/pictures/sorted-names";
import { grey, someFolder } from "../library/pictures.js";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

const words = (text: string): string[][] => text.trimEnd().split("\n").map((line) => line.trim().split(/  +/)); // prettier-ignore

describe("laurel score on folders", () => {
  it("shows the best of all prompts, and says what could not be scored", async () => {
    const folder = await someFolder();
    const { exitCode, stdout, stderr } = await laurel(["score", folder]);
    expect(exitCode).toBe(4);
    expect(words(stdout)).toEqual([
      ["rank", "score", "prompt", "in prompt", "image"],
      ["1", "1.1373", "a cat", "1", join(folder, "2.png")],
      ["2", "-0.1176", "a cat", "2", join(folder, "10.png")],
      ["3", "-0.5882", "a dog", "1", join(folder, "dogs/1.png")],
      ["4", "-1.8431", "a cat", "3", join(folder, "1.png")],
    ]);
    expect(stderr.split("\n")).toEqual([
      expect.stringMatching(/3\.png: expected a PNG/),
      "6 images of 2 prompts: 4 scored, 1 cannot be read, 1 without a prompt",
      "",
    ]);
    const again = await laurel(["score", folder, "--quiet"]);
    expect([again.stdout, again.stderr]).toEqual([stdout, ""]);
  });

  it("writes tables, prints lines or one object; chooses; finds duplicates", async () => {
    const folder = await someFolder();
    const out = join(await temporaryFolder(), "s.parquet");
    const table = await laurel(["score", folder, "--out", out, "--duplicates"]);
    expect(table.stdout).toBe(`${out}\n`);
    expect(table.stderr).toContain("0 images have the same pixels as an earlier one, 0 look nearly as one\n");
    const rows = await parquetReadObjects({ file: await asyncBufferFromFile(out) });
    expect(rows.map((row) => row["problem"] ?? null)).toEqual([null, null, null, null, "no prompt", "broken"]);
    expect((await laurel(["score", folder, "--out", out])).stderr).toContain("or --force to replace it");
    const lines = (await laurel(["score", folder, "--prompts", "any", "--jsonl"])).stdout.trimEnd().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { prompt: string }).prompt)).toEqual(["a cat", "a cat", "a cat", "a dog", null, null]); // prettier-ignore
    const chosen = (await laurel(["score", folder, "--top-k", "1", "--min", "-1", "--jsonl"])).stdout
      .trimEnd()
      .split("\n");
    expect(chosen.map((line) => JSON.parse(line) as unknown)).toMatchObject([{ rank: 1, score: expect.closeTo(1.1373, 3) as number }, { rank: 1, prompt: "a dog" }]); // prettier-ignore
    const json = JSON.parse((await laurel(["score", folder, "--json"])).stdout) as unknown;
    expect(json).toMatchObject({ reward: "brightness", chosen: 4, summary: { pictures: 6 }, results: { length: 6 } });
  });

  it("takes one prompt for all, written in front or as an option", async () => {
    const folder = await someFolder();
    const args = ["--json", "--index", "none"];
    for (const first of [
      ["bright", folder, "--max", "9"],
      [folder, "--prompt", "bright"],
    ]) {
      const { results } = JSON.parse((await laurel(["score", ...first, ...args])).stdout) as {
        results: { prompt: string }[];
      };
      expect(results.filter(({ prompt }) => prompt === "bright").length).toBeGreaterThanOrEqual(5);
    }
    expect(await readdir(folder)).not.toContain(".laurel-scores.jsonl");
  });

  it("writes scores into metadata", async () => {
    const folder = await someFolder();
    const { stderr } = await laurel(["score", folder, "--write-metadata"]);
    expect(stderr).toContain("4 with their score written into them");
    expect((await readFile(join(folder, "2.png"))).toString("latin1")).toContain(
      "Size: 4x4, brightness: 1.1373, Scored by: laurel",
    );
  });

  it("of nothing, or with nothing chosen, says so and ends well", async () => {
    const alone = await laurel(["score", await someFolder(), "--near", "3"]);
    expect([alone.exitCode, alone.stderr]).toEqual([2, expect.stringContaining("--near: expected --duplicates beside it")]); // prettier-ignore
    const empty = await temporaryFolder();
    expect(await laurel(["score", empty])).toEqual({
      exitCode: 0,
      stdout: "",
      stderr: `no images found in ${empty}\n`,
    });
    await grey(join(empty, "1.png"), 9);
    const none = await laurel(["score", empty, "--min", "3", "--json"]);
    expect([none.exitCode, JSON.parse(none.stdout)]).toMatchObject([0, { chosen: 0, results: [] }]);
    expect(none.stderr).toContain("none of them is chosen: no score is in the range that was asked for\n");
  });

  test.each([
    [
      ["FOLDER", "FOLDER"],
      /^error: .*: expected a prompt before the images, got a folder that is there; --prompts any scores each/,
    ],
    [["nothing-here"], /^error: nothing-here: expected images after a prompt, or one image, folder or pattern alone/],
    [["FOLDER", "--prompt", "a", "--prompts", "any"], /--prompt, --prompts: expected one of them, got both/],
    [["FOLDER", "--min", "2", "--max", "1"], /--min, --max: expected the least score first, got 2 and 1/],
    [["FOLDER", "--out", "x.xlsx"], /x\.xlsx: expected the name of a file ending in \.csv, \.jsonl, \.parquet/],
    [["FOLDER", "--thresholds"], /--thresholds: expected a PROMPT and images alone/],
    [
      ["FOLDER", "--index", "FOLDER/1.png"],
      /1\.png: expected an index of scores, got something else; it is left as it is/,
    ],
  ])("%j is a usage error", async (args, message) => {
    const folder = await someFolder();
    const { exitCode, stderr } = await laurel(["score", ...args.map((arg) => arg.replace("FOLDER", folder))]);
    expect([exitCode, stderr]).toEqual([2, expect.stringMatching(message)]);
  });
});

describe("laurel sort", () => {
  it("copies the best of each prompt, goes on with what is new, and says what it did", async () => {
    const folder = await someFolder();
    // inside the folder that is sorted: it is not entered
    const to = join(folder, "best");
    const first = await laurel(["sort", folder, "--to", to, "--top-k", "1"]);
    expect(first.exitCode).toBe(4);
    expect(first.stderr).toContain("2 of them chosen\n2 copied in ");
    expect((await readdir(to)).sort()).toEqual(
      [".laurel-sorted.jsonl", promptFolder("a cat"), promptFolder("a dog")].sort(),
    );
    const again = await laurel(["sort", folder, "--to", to, "--top-k", "1", "--json"]);
    expect(JSON.parse(again.stdout)).toMatchObject({ chosen: 2, done: { copied: 0, before: 2 }, summary: { pictures: 6, unchanged: 6 } }); // prettier-ignore
  });

  it("lists and tries without doing anything", async () => {
    const folder = await someFolder();
    const list = await laurel(["sort", folder, "--mode", "list", "--min", "0", "-q"]);
    expect(list.stdout).toBe(`1.1373  ${join(folder, "2.png")}\n`);
    const dry = await laurel([
      "sort",
      folder,
      "--to",
      join(folder, "best"),
      "--by",
      "none",
      "--top-k",
      "1",
      "--dry-run",
    ]);
    expect(words(dry.stdout)[0]).toEqual([
      "1.1373",
      `${join(folder, "2.png")} -> ${join(folder, "best", "0001-2.png")}`,
    ]);
    expect(dry.stderr).toContain("nothing was done; otherwise: 2 copied in ");
    expect(await readdir(folder)).not.toContain("best");
  });

  it("deletes nothing without --yes, asks where somebody can answer, and never deletes everything", async () => {
    const folder = await someFolder();
    const args = ["sort", folder, "--mode", "list", "--top-k", "1", "--reject", "delete"];
    const refused = await laurel(args);
    expect([refused.exitCode, refused.stderr]).toEqual([2, "error: --reject delete: expected --yes beside it, got none; nothing was done\n"]); // prettier-ignore
    const stdin = Object.assign(new PassThrough(), { isTTY: true });
    stdin.end("n\n");
    const asked = await laurel([...args, "--yes"], { stdin });
    expect(asked.stderr).toContain("delete 2 images that are not chosen? [y/N] ");
    expect(asked.stderr).toContain("nothing was deleted");
    const none = await laurel([...args.slice(0, 4), "--min", "9", "--reject", "delete", "--yes"]);
    expect(none.stderr).toContain("nothing is deleted, because nothing is chosen");
    expect((await readdir(folder)).filter((name) => name.endsWith(".png"))).toHaveLength(3);
    expect((await laurel([...args, "--yes"])).stderr).toContain("2 deleted");
    expect((await readdir(folder)).filter((name) => name.endsWith(".png"))).toEqual(["2.png"]);
  });

  it("is a usage error without a folder to go to, into itself, or into a file", async () => {
    const folder = await someFolder();
    await writeFile(join(folder, "file"), "x");
    await mkdir(join(folder, "sub"));
    for (const [args, message] of [
      [[], /--to: expected the folder to copy images into, or --mode list, got none/],
      [["--to", folder], /--to: expected another folder than .*, whose images are sorted/],
      [["--to", join(folder, "file")], /--to: expected a folder, got the file/],
      [["--mode", "list", "--near", "3"], /--near: expected --unique beside it, got none/],
      [["--mode", "list", "--json", "--jsonl"], /--json, --jsonl: expected one of them, got both/],
    ] as const) {
      const { exitCode, stderr } = await laurel(["sort", folder, ...args]);
      expect([exitCode, stderr]).toEqual([2, expect.stringMatching(message)]);
    }
  });

  it.skipIf(process.getuid?.() === 0)(
    "says that the folder cannot be written to before it scores anything",
    async () => {
      const folder = await someFolder();
      const place = join(folder, "sub");
      await mkdir(place, { mode: 0o500 });
      const { exitCode, stderr } = await laurel(["sort", folder, "--to", join(place, "a", "b")]);
      expect([exitCode, stderr]).toEqual([
        2,
        expect.stringMatching(
          /--to: expected a folder that can be written to, got no permission to write there for .*sub/,
        ),
      ]);
      expect(await readdir(folder)).not.toContain(".laurel-scores.jsonl");
    },
  );
});
