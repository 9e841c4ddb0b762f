import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LOCK_FILE, lockRun } from "#laurel/pipeline/lock";
import { temporaryFolder } from "../pipeline/execute/pipelines.js";
import { laurel } from "./terminal.js";

const cleanUp: (() => Promise<void>)[] = [];
let folder: string;
let file: string;
beforeAll(async () => {
  folder = await temporaryFolder(cleanUp);
  file = join(folder, "pipeline.yaml");
  await writeFile(
    file,
    `version: 1
name: two
variables: { n: 4, steps: 2 }
prompts: [one, two]
seed: 5
settings: { steps: "\${steps}" }
steps:
  - generate: { count: "\${n}" }
  - score:
  - select: { keep: 2 }
`,
  );
});
afterAll(() => Promise.all(cleanUp.map((one) => one())));

/** A folder of runs of its own, with what `commands` made in it. */
async function runsOf(name: string, ...commands: string[][]): Promise<{ out: string; ids: string[] }> {
  const out = join(folder, name);
  await mkdir(out, { recursive: true });
  for (const args of commands) {
    const { exitCode, stderr } = await laurel([...args, "--out", out, "--quiet"]);
    expect([exitCode, stderr]).toEqual([0, ""]);
  }
  return { out, ids: (await readdir(out)).sort() };
}

describe("runs list", () => {
  test("shows both kinds, killed ones and folders that cannot be read", async () => {
    const { out } = await runsOf("list", ["generate", "a circle", "-n", "3", "--seed", "1"], ["run", file]);
    const [killed = ""] = (await readdir(out)).filter((name) => name.includes("two"));
    const manifest = join(out, killed, "run.json");
    await writeFile(
      manifest,
      (await readFile(manifest, "utf8")).replace('"status": "complete"', '"status": "running"'),
    );
    await mkdir(join(out, "20250101-000000-torn-0000"));
    await mkdir(join(out, "not a run"));
    const { exitCode, stdout } = await laurel(["runs", "list", out, "--json"]);
    expect(exitCode).toBe(0);
    const { runs } = JSON.parse(stdout) as { runs: Record<string, unknown>[] };
    expect(runs).toMatchObject([
      { id: "20250101-000000-torn-0000", kind: null, status: "broken", createdAt: "2025-01-01T00:00:00.000Z" },
      { kind: "generate", status: "complete", title: "a circle", candidates: 3, items: null, problem: null },
      { kind: "pipeline", status: "interrupted", title: "two", candidates: 8, items: { total: 2, finished: 2 } },
    ]);
    expect(runs[0]?.["problem"]).toMatch(/run\.json: expected the run\.json of a run, got no such file$/);
    expect(runs.slice(1).every(({ best, bytes }) => typeof best === "number" && Number(bytes) > 1000)).toBe(true);
    const lock = await lockRun(join(out, killed));
    const busy = await laurel(["runs", "list", out]);
    await lock.release();
    expect(busy.stdout).toMatch(/two-\w{4} +pipeline +running +2\/2 +8 /);
    expect(busy.stderr).toMatch(/^3 runs, /);
  });

  test("an empty folder has none; one that is missing is an error", async () => {
    const { out } = await runsOf("none");
    expect((await laurel(["runs", "list", out, "--json"])).stdout).toBe('{\n  "schemaVersion": 1,\n  "runs": []\n}\n');
    const missing = await laurel(["runs", "list", join(out, "missing")]);
    expect([missing.exitCode, missing.stderr]).toEqual([2, expect.stringContaining("got no such folder") as string]);
  });
});

test("runs show says what was asked for, with which models, and what came of it", async () => {
  const { out, ids } = await runsOf("show", ["generate", "a circle", "-n", "3", "--seed", "1"], ["run", file]);
  for (const id of ids) {
    const text = await laurel(["runs", "show", id, "--out", out]);
    expect(text.exitCode).toBe(0);
    expect(text.stdout).toContain(`run        ${id}\nstatus     complete\n`);
    expect(text.stdout).toMatch(/backend +procedural: rectangles\nreward +brightness/);
  }
  const [generate = "", pipeline = ""] = ids.sort((a, b) => Number(a.includes("two")) - Number(b.includes("two")));
  expect((await laurel(["runs", "show", generate, "--out", out])).stdout).toMatch(/seeds +1 to 3\n[^]*rank +score/);
  expect((await laurel(["runs", "show", pipeline, "--out", out])).stdout).toMatch(
    /items +2 of 2\nseed +5, shared\n[^]*item +best/,
  );
  const json = JSON.parse((await laurel(["runs", "show", join(out, pipeline), "--json"])).stdout) as object;
  expect(json).toMatchObject({ schemaVersion: 1, kind: "pipeline", manifest: { seed: 5 }, document: { name: "two" } });
  expect(json).toMatchObject({ itemLines: [{ id: "0", candidates: 4 }, { id: "1" }] });
  const none = await laurel(["runs", "show", "nothing", "--out", out]);
  expect([none.exitCode, none.stderr]).toEqual([2, expect.stringContaining("nothing: expected a run") as string]);
});

test("runs diff tells settings, images and scores apart", async () => {
  const { out, ids } = await runsOf("diff", ["run", file], ["run", file]);
  const [first = "", second = ""] = ids;
  const same = await laurel(["runs", "diff", first, second, "--out", out]);
  expect(same.stdout).toMatch(/^the settings are the same\n\n8 of 8 images are identical, 8 of 8 scores are equal\n$/);
  const { ids: more } = await runsOf("diff", ["run", file, "--set", "steps=3", "--set", "n=5"]);
  const third = more.find((id) => !ids.includes(id)) ?? "";
  const { stdout } = await laurel(["runs", "diff", first, third, "--out", out, "--json"]);
  const { settings, candidates } = JSON.parse(stdout) as {
    settings: { path: string; before: unknown; after: unknown }[];
    candidates: { different: string[]; scores: unknown[] };
  };
  expect(settings).toContainEqual({ path: "document.settings.steps", before: 2, after: 3 });
  expect(settings).toContainEqual({ path: "document.steps.0.generate.count", before: 4, after: 5 });
  expect(candidates).toMatchObject({ compared: 8, onlyBefore: 0, onlyAfter: 2 });
  expect(candidates.different).toHaveLength(8);
  expect(candidates.different).toContain("1#3");
});

describe("runs rm", () => {
  test("asks, and removes when it is told to", async () => {
    const { out, ids } = await runsOf("rm", ["run", file], ["run", file]);
    const [first = "", second = ""] = ids;
    const mute = await laurel(["runs", "rm", first, "--out", out]);
    expect([mute.exitCode, mute.stderr]).toEqual([2, expect.stringContaining("or --yes") as string]);
    const answered = (text: string): Promise<unknown> =>
      laurel(["runs", "rm", first, second, "--out", out], {
        stdin: Object.assign(new PassThrough(), { isTTY: true }).end(`${text}\n`),
      });
    await answered("");
    await answered("no");
    expect((await readdir(out)).sort()).toEqual(ids);
    await answered("y");
    expect(await readdir(out)).toEqual([]);
  });

  test("refuses a run in use and then removes none", async () => {
    const { out, ids } = await runsOf("rm-busy", ["run", file], ["run", file]);
    const lock = await lockRun(join(out, ids[1] ?? ""));
    const { exitCode, stderr } = await laurel(["runs", "rm", ...ids, "--out", out, "--yes"]);
    await lock.release();
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining(`held by process ${process.pid}`) as string]);
    expect((await readdir(out)).sort()).toEqual(ids);
    expect(await readdir(join(out, ids[0] ?? ""))).not.toContain(LOCK_FILE);
  });

  test("takes the old ones, damaged ones among them, and nothing that is no run", async () => {
    const { out } = await runsOf("rm-old", ["run", file]);
    await mkdir(join(out, "20250101-000000-torn-0000"));
    await mkdir(join(out, "notes"));
    expect((await laurel(["runs", "rm", "--older-than", "8w", "--out", out, "--yes"])).exitCode).toBe(0);
    expect((await readdir(out)).map((name) => name.replace(/^\d.*/, "run")).sort()).toEqual(["notes", "run"]);
    const refused = await laurel(["runs", "rm", "notes", "--out", out, "--yes"]);
    expect([refused.exitCode, refused.stderr]).toEqual([2, expect.stringContaining("notes: expected a run") as string]);
    expect((await laurel(["runs", "rm", "--older-than", "soon", "--out", out])).exitCode).toBe(2);
    expect((await laurel(["runs", "rm", "--out", out, "--yes"])).exitCode).toBe(2);
  });
});

describe("rerun and resume of a pipeline", () => {
  test("rerun gives the same images, and code 6 when one differs", async () => {
    const { out, ids } = await runsOf("rerun", ["run", file]);
    const [old = ""] = ids;
    const again = await laurel(["rerun", join(out, old), "--out", out, "--json"]);
    expect(again.exitCode).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({ reproduced: { compared: 8, different: [], scores: [] } });
    const list = join(out, old, "candidates.jsonl");
    const text = await readFile(list, "utf8");
    const { sha256 } = JSON.parse(text.split("\n")[0] ?? "") as { sha256: string };
    await writeFile(list, text.replace(sha256, createHash("sha256").update("other").digest("hex")));
    const differs = await laurel(["rerun", join(out, old, "run.json"), "--out", out]);
    expect([differs.exitCode, differs.stderr]).toEqual([
      6,
      expect.stringContaining(`7 of 8 images are identical to ${old}`) as string,
    ]);
  });

  test("another model than the run's is refused", async () => {
    const { out, ids } = await runsOf("models", ["run", file]);
    const weights = join(folder, "weights");
    await writeFile(weights, "other weights");
    for (const args of [
      ["resume", join(out, ids[0] ?? "")],
      ["rerun", join(out, ids[0] ?? ""), "--out", out],
    ]) {
      const { exitCode, stderr } = await laurel(args, { backend: { weights } });
      expect([exitCode, stderr]).toEqual([
        5,
        expect.stringMatching(/expected the generator of the run, procedural rectangles \(no digest\), got /) as string,
      ]);
    }
    expect(await readdir(out)).toEqual(ids);
  });

  test("resume completes what lost its pictures", async () => {
    const { out, ids } = await runsOf("resume", ["run", file]);
    const directory = join(out, ids[0] ?? "");
    await rm(join(directory, "images/00/0005-6.png"));
    // another picture of the same size in bytes
    const other = join(directory, "images/00/0001-6.png");
    const whole = await readFile(other);
    await writeFile(other, Uint8Array.from(whole).fill(0, whole.byteLength - 40, whole.byteLength - 20));
    const { exitCode, stdout } = await laurel(["resume", directory, "--json"]);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ status: "complete", candidates: 8, items: [{ id: "0" }, { id: "1" }] });
    expect(await readdir(join(directory, "images/00"))).toContain("0005-6.png");
    expect(await readFile(other)).toEqual(whole);
  });
});
