import { mkdir, readdir, readFile, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readPreferencePairs } from "#laurel/training/data/preference-pairs";
import { temporaryFolder } from "../pipeline/execute/pipelines.js";
import { laurel } from "./terminal.js";

const cleanUp: (() => Promise<void>)[] = [];
let folder: string;
beforeAll(async () => {
  folder = await temporaryFolder(cleanUp);
});
afterAll(() => Promise.all(cleanUp.map((one) => one())));

/** A picture's facts in JSON lines, or a line of metadata.jsonl. */
interface ImageLine {
  run_id: string;
  item: string | null;
  drawn: string;
  scores: Record<string, number>;
  text: string;
  rank: number;
  score: number;
  file_name: string;
}

interface PairLine {
  prompt: string;
  margin: number;
  chosen: ImageLine;
  rejected: ImageLine;
}

interface Exported {
  rows: number;
  prompts: number;
  candidates: number;
  files: string[];
  warnings: string[];
}

/** A folder of runs with what `commands` made in it. */
async function runsOf(name: string, ...commands: string[][]): Promise<{ out: string; ids: string[] }> {
  const out = join(folder, name);
  await mkdir(out, { recursive: true });
  for (const args of commands) {
    const { exitCode, stderr } = await laurel([...args, "--out", out, "--quiet"]);
    expect([exitCode, stderr]).toEqual([0, ""]);
  }
  return { out, ids: (await readdir(out)).sort() };
}

async function exported(args: readonly string[], out: string): Promise<Exported> {
  const { exitCode, stdout, stderr } = await laurel(["export", ...args, "--runs", out, "--json"]);
  expect([exitCode, stderr.replaceAll(/^warning: .*\n/gm, "")]).toEqual([0, ""]);
  return JSON.parse(stdout) as Exported;
}

async function jsonLines<Line>(path: string): Promise<Line[]> {
  return (await readFile(path, "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

/** A pipeline of two prompts, one of them filled into a template. */
async function pipeline(): Promise<string> {
  const file = join(folder, "pipeline.yaml");
  await writeFile(
    file,
    `version: 1
prompts: [{ id: one, prompt: a circle }, { id: two, prompt: a square }]
template: \${prompt}, in oil
seed: 50
steps: [{ generate: { count: 3 } }, score: ]
`,
  );
  return file;
}

const GENERATE = ["generate", "a circle", "-n", "4", "--seed"];

describe("export preferences", () => {
  test("pairs candidates of the same prompt across runs of both kinds, under the prompt that was scored", async () => {
    const { out, ids } = await runsOf("both", [...GENERATE, "1"], ["run", await pipeline()]);
    const path = join(folder, "both.jsonl");
    const result = await exported(["preferences", ...ids, "--format", "jsonl", "--out", path], out);
    expect(result).toMatchObject({ prompts: 2, candidates: 10, files: [path], warnings: [] });
    const rows = await jsonLines<PairLine>(path);
    const sides = rows.flatMap(({ chosen, rejected }) => [chosen, rejected]);
    const circles = rows.filter(({ prompt }) => prompt === "a circle");
    expect(circles.some(({ chosen, rejected }) => chosen.run_id !== rejected.run_id)).toBe(true);
    // 4 generated and 3 of the pipeline's item; fewer where scores are equal
    expect(circles.length).toBeLessThanOrEqual(21);
    expect(rows.length - circles.length).toBeLessThanOrEqual(3);
    for (const side of sides) expect(["a circle", "a circle, in oil", "a square, in oil"]).toContain(side.drawn);
    expect(sides.filter(({ item }) => item === "two").every(({ drawn }) => drawn === "a square, in oil")).toBe(true);
    for (const { margin } of rows) expect(margin).toBeGreaterThan(0);
    const read = await readPreferencePairs(path);
    expect(read.length).toBe(rows.length);
  });

  test("keeps to margin, ranks and the number of pairs, and says on the terminal what it wrote", async () => {
    const { out, ids } = await runsOf("limits", [...GENERATE, "1"]);
    const all = await exported(["preferences", ids[0]!, "--format", "jsonl", "--out", join(folder, "all.jsonl")], out);
    const margins = (await jsonLines<PairLine>(all.files[0]!)).map(({ margin }) => margin);
    const widest = Math.max(...margins);
    const one = join(folder, "one.parquet");
    const options = ["--margin", String(widest), "--max-pairs-per-prompt", "1", "--rank-margin", "3"];
    const { exitCode, stdout, stderr } = await laurel([
      "export",
      "preferences",
      join(out, ids[0]!),
      ...options,
      "--out",
      one,
    ]);
    expect([exitCode, stdout]).toEqual([0, `${one}\n`]);
    expect(stderr).toMatch(/^1 pairs of 1 prompt, out of 4 candidates scored by brightness; .*B\n$/);
    expect((await readPreferencePairs(one)).length).toBe(1);
    const again = await laurel(["export", "preferences", join(out, ids[0]!), "--out", one]);
    expect([again.exitCode, again.stderr]).toEqual([
      2,
      `error: ${one}: expected no such file yet, or --force to replace it, got a file\n`,
    ]);
    const none = [
      "export",
      "preferences",
      ids[0]!,
      "--runs",
      out,
      "--margin",
      String(widest + 1),
      "--out",
      `${one}.parquet`,
    ];
    expect((await laurel(none)).stderr).toContain(
      "expected candidates of one prompt that differ enough, got no pair among 4",
    );
  });

  test("a run given twice counts once; pictures that are gone are left out with a warning", async () => {
    const { out, ids } = await runsOf("damaged", [...GENERATE, "1"]);
    const run = join(out, ids[0]!);
    const [picture = ""] = (await readdir(join(run, "images", "00"))).sort();
    await unlink(join(run, "images", "00", picture));
    const path = join(folder, "damaged.jsonl");
    const result = await exported(["preferences", run, run, ids[0]!, "--format", "jsonl", "--out", path], out);
    expect(result).toMatchObject({
      candidates: 3,
      warnings: [`${ids[0]}: 1 candidates whose picture is gone or damaged were left out`],
    });
  });

  test("scores of several rewards are not mixed; --by chooses one", async () => {
    const { out, ids } = await runsOf("rewards", [...GENERATE, "1"], [...GENERATE, "9"]);
    const [first = "", second = ""] = ids.map((id) => join(out, id));
    const list = join(second, "candidates.jsonl");
    await writeFile(
      list,
      (await readFile(list, "utf8")).replaceAll('"reward":{"name":"brightness"', '"reward":{"name":"darkness"'),
    );
    const path = join(folder, "rewards.jsonl");
    const mixed = await laurel(["export", "preferences", first, second, "--format", "jsonl", "--out", path]);
    expect(mixed.exitCode).toBe(2);
    expect(mixed.stderr).toMatch(/expected scores of one reward, or --by to choose one, got .*brightness.*darkness/);
    const { candidates, warnings } = await exported(
      ["preferences", first, second, "--by", "darkness", "--format", "jsonl", "--out", path],
      out,
    );
    expect([candidates, warnings.length]).toEqual([4, 1]);
    const absent = await laurel(["export", "preferences", first, "--by", "beauty", "--out", join(folder, "x.parquet")]);
    expect(absent.stderr).toContain("expected candidates with a score by beauty, got none");
  });
});

describe("export images", () => {
  test("writes the best of each prompt, or those that score enough", async () => {
    const { out, ids } = await runsOf("images", ["run", await pipeline()]);
    const set = join(folder, "set");
    const best = await exported(["images", ids[0]!, "--top-k", "1", "--out", set], out);
    expect(best).toMatchObject({ rows: 2, prompts: 2, candidates: 6 });
    const rows = await jsonLines<ImageLine>(join(set, "train", "metadata.jsonl"));
    expect(rows.map(({ text, rank, file_name: name }) => [text, rank, name])).toEqual([
      ["a circle", 1, "000000.png"],
      ["a square", 1, "000001.png"],
    ]);
    const least = Math.max(...rows.map(({ score }) => score));
    const lines = join(folder, "enough.jsonl");
    await exported(["images", ids[0]!, "--min-score", String(least), "--format", "jsonl", "--out", lines], out);
    expect((await jsonLines<ImageLine>(lines)).every(({ scores }) => scores["brightness"]! >= least)).toBe(true);
    const none = await laurel([
      "export",
      "images",
      ids[0]!,
      "--runs",
      out,
      "--min-score",
      "1e5",
      "--out",
      join(folder, "no"),
    ]);
    expect([none.exitCode, none.stderr]).toEqual([
      2,
      "error: runs: expected candidates that score enough, got none among 6\n",
    ]);
  });

  test("adds a split beside another, and writes shards", async () => {
    const { out, ids } = await runsOf("splits", [...GENERATE, "1"]);
    const set = join(folder, "splits-set");
    for (const split of ["train", "validation"])
      await exported(["images", ids[0]!, "--out", set, "--split", split], out);
    expect((await readdir(set)).sort()).toEqual(["train", "validation"]);
    const shards = ["images", ids[0]!, "--format", "webdataset", "--shard-size", "1", "--out", join(folder, "tars")];
    expect((await exported(shards, out)).files).toEqual([join(folder, "tars", "train-000000.tar")]);
  });
});

test.each([
  [["preferences"], "missing required argument 'run'"],
  [["preferences", "absent", "--out", "x.parquet"], "absent: expected a run, or the name of one in"],
  [["preferences", "RUN"], "--out: expected the file or folder to write, got none"],
  [
    ["preferences", "RUN", "--out", "pairs"],
    "pairs: expected the name of a file ending in .parquet for pickapic, got another",
  ],
  [
    ["images", "RUN", "--format", "jsonl", "--out", "x.json"],
    "x.json: expected the name of a file ending in .jsonl for jsonl",
  ],
  [["images", "RUN", "--format", "pickapic", "--out", "x"], "Expected imagefolder or jsonl or webdataset"],
  [["images", "RUN", "--out", "x", "--split", "../up"], 'split: expected letters, digits, - and _, got "../up"'],
  [["images", "RUN", "--out", "x", "--top-k", "0"], "Expected a whole number from 1"],
  [["preferences", "RUN", "--out", "x.parquet", "--margin", "-1"], "Expected a number from 0"],
])("refuses export %j", async (args, message) => {
  const out = join(folder, "bad");
  await mkdir(out, { recursive: true });
  if ((await readdir(out)).length === 0) await runsOf("bad", ["generate", "a circle", "-n", "2", "--seed", "1"]);
  const [id = ""] = await readdir(out);
  const { exitCode, stderr } = await laurel([
    "export",
    ...args.map((one) => (one === "RUN" ? id : one)),
    "--runs",
    out,
  ]);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(message)]);
});
