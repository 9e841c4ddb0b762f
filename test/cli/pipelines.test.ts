import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, vi } from "vitest";
import { STARTERS } from "#laurel/cli/commands/init.entry";
import { withFiles } from "../pipeline/document/bad-document.js";
import { finish, start } from "./processes.js";
import { laurel } from "./terminal.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PLAIN =
  "version: 1\nvariables: { n: 3 }\nprompts: [a, b]\nseed: 1\nsteps: [{ generate: { count: '${n}' } }, score:, export:]\n";
const BAD = "version: 1\nprompts: [a]\nseed: -1\nsteps: [generte:]\n";

describe("laurel check", () => {
  it("says what is right, and every fault of what is not", async () => {
    await withFiles({ "good.yaml": PLAIN, "bad.yaml": BAD }, async (folder) => {
      const [good, bad] = [join(folder, "good.yaml"), join(folder, "bad.yaml")];
      expect(await laurel(["check", good, "--set", "n=5"])).toEqual({
        exitCode: 0,
        stdout: `ok ${good}: 2 items, at most 10 candidates\n`,
        stderr: "",
      });
      const faults = [
        `${bad}:3:7: seed: expected at least 0, got -1`,
        `${bad}:4:9: steps.0: unknown key generte; did you mean generate?`,
      ];
      const { exitCode, stdout } = await laurel(["check", good, bad, "--quiet"]);
      expect({ exitCode, lines: stdout.trimEnd().split("\n") }).toEqual({ exitCode: 2, lines: faults });
      const json = await laurel(["check", bad, good, join(folder, "none.yaml"), "--json"]);
      expect(json.exitCode).toBe(2);
      expect(JSON.parse(json.stdout)).toEqual({
        schemaVersion: 1,
        ok: false,
        results: [
          { file: bad, ok: false, faults, items: null, candidates: null },
          { file: good, ok: true, faults: [], items: 2, candidates: 6 },
          {
            file: join(folder, "none.yaml"),
            ok: false,
            faults: [`${join(folder, "none.yaml")}: expected a YAML file, got no such file`],
            items: null,
            candidates: null,
          },
        ],
      });
    });
  });
});

it("an error report has a line for every fault", async () => {
  await withFiles({ "bad.yaml": BAD }, async (folder) => {
    const { exitCode, stderr } = await laurel(["run", join(folder, "bad.yaml"), "--out", folder]);
    expect(exitCode).toBe(2);
    expect(stderr.trimEnd().split("\n")).toEqual([
      `error: ${folder}/bad.yaml:3:7: seed: expected at least 0, got -1`,
      `error: ${folder}/bad.yaml:4:9: steps.0: unknown key generte; did you mean generate?`,
    ]);
    expect(await readdir(folder)).toEqual(["bad.yaml"]);
  });
});

it("laurel schema prints the schemas that ship", async () => {
  for (const [args, file] of [
    [[], "pipeline-v1.json"],
    [["pipeline"], "pipeline-v1.json"],
    [["backend"], "backend-v1.json"],
    [["training"], "training-v1.json"],
  ] as const) {
    const { exitCode, stdout } = await laurel(["schema", ...args]);
    expect(exitCode).toBe(0);
    expect(stdout).toBe(await readFile(join(ROOT, "schema", file), "utf8"));
  }
  expect((await laurel(["schema", "pipelin"])).exitCode).toBe(2);
});

describe("laurel init", () => {
  const init = (folder: string, ...args: string[]): Promise<Awaited<ReturnType<typeof laurel>>> =>
    laurel(["init", ...args, "--out", join(folder, "mine.yaml")]);
  const modeline = async (path: string): Promise<string> =>
    /^# yaml-language-server: \$schema=(.*)$/m.exec(await readFile(path, "utf8"))?.[1] ?? "";

  it("lists every pipeline that ships", async () => {
    const { stdout } = await laurel(["init", "--list", "--json"]);
    const { pipelines } = JSON.parse(stdout) as { pipelines: { name: string }[] };
    const shipped = (await readdir(join(ROOT, "pipelines"))).filter((name) => name.endsWith(".yaml"));
    expect(pipelines.map(({ name }) => `${name}.yaml`).sort()).toEqual(shipped.sort());
    expect((await laurel(["init", "--list"])).stdout).toContain("best-of-n");
  });

  it.each(Object.keys(STARTERS))("writes %s, which is sound and names a schema that is there", async (name) => {
    await withFiles({}, async (folder) => {
      const { exitCode, stdout, stderr } = await init(folder, name);
      const path = join(folder, "mine.yaml");
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: `Run it with: laurel run ${path}\n` });
      expect(stdout.split("\n")[0]).toBe(path);
      const schema = await modeline(path);
      expect(schema).toBe("laurel-pipeline-v1.json");
      expect(await readFile(join(folder, schema), "utf8")).toBe(
        await readFile(join(ROOT, "schema/pipeline-v1.json"), "utf8"),
      );
      expect((await laurel(["check", path])).exitCode).toBe(0);
      expect((await readdir(folder)).includes("pictures")).toBe(name === "score-folder");
    });
  });

  it("names the schema of the Laurel that is installed", async () => {
    const installed = "project/node_modules/laurel/schema/pipeline-v1.json";
    await withFiles({ [installed]: "{}" }, async (folder) => {
      await mkdir(join(folder, "project/jobs/deep"), { recursive: true });
      const path = join(folder, "project/jobs/deep/mine.yaml");
      await laurel(["init", "--out", path]);
      expect(resolve(dirname(path), await modeline(path))).toBe(join(folder, installed));
      expect(await readdir(dirname(path))).toEqual(["mine.yaml"]);
    });
  });

  it("overwrites nothing unless it is told to", async () => {
    await withFiles({ "mine.yaml": "mine" }, async (folder) => {
      const refused = await init(folder);
      expect(refused.exitCode).toBe(2);
      expect(refused.stderr).toBe(`error: ${folder}/mine.yaml: expected no file yet, got one; --force overwrites it\n`);
      expect(await readdir(folder)).toEqual(["mine.yaml"]);
      expect(await readFile(join(folder, "mine.yaml"), "utf8")).toBe("mine");
      expect((await init(folder, "--force")).exitCode).toBe(0);
      expect(await readFile(join(folder, "mine.yaml"), "utf8")).toContain("name: best-of-n");
    });
  });

  it("knows the names", async () => {
    const { exitCode, stderr } = await laurel(["init", "best-of"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("best-of-n");
  });
});

describe("pipelines that ship, on the demo models", () => {
  const counts: Readonly<Record<string, readonly string[]>> = {
    "best-of-n": ["n=3", "keep=2"],
    threshold: ["budget=6", "images=1", "score=-10"],
    search: ["n=4", "strategy=neighbours:perRound=2"],
    "prompt-sweep": ["n=1", "prompts=a red circle above a blue square"],
    "score-folder": ["keep=3"],
  };
  it.each(Object.entries(counts))("%s", async (name, set) => {
    await withFiles({}, async (folder) => {
      const changes = set.flatMap((one) => ["--set", one]);
      const args = ["run", join(ROOT, "pipelines", `${name}.yaml`), ...changes, "--out", "runs", "--json", "--quiet"];
      const { code, stdout, stderr } = await finish(start(args, { cwd: folder }));
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      const run = JSON.parse(stdout) as {
        directory: string;
        status: string;
        candidates: number;
        items: { id: string; selected: { path: string; score: number }[]; candidates: number }[];
      };
      expect(run.status).toBe("complete");
      const exported = (path: string): Promise<string[]> => readdir(join(run.directory, path));
      const csv = async (path: string): Promise<string[]> =>
        (await readFile(join(run.directory, path, "candidates.csv"), "utf8")).trimEnd().split("\r\n");
      const selected = run.items.map((item) => item.selected.length);
      if (name === "best-of-n") {
        expect([run.candidates, selected, (await exported("best")).length]).toEqual([6, [2, 2], 4]);
      } else if (name === "threshold") {
        // every picture passes: one group is drawn, which holds more than one
        expect(selected).toEqual([1, 1]);
        expect(run.candidates).toBeLessThanOrEqual(12);
        expect(await exported("passed")).toHaveLength(2);
      } else if (name === "search") {
        expect([run.candidates, selected, (await exported("best")).length]).toEqual([8, [1, 1], 2]);
        const stored = (await readFile(join(run.directory, "candidates.jsonl"), "utf8")).trimEnd().split("\n");
        type Line = { readonly index: number; readonly lineage: { readonly round: number; readonly parent: number } };
        const found = stored.map((line) => JSON.parse(line) as Line).sort((a, b) => a.index - b.index);
        // three of each item from seeds, one near the best of them
        expect(found.map(({ lineage }) => lineage.round)).toEqual([0, 0, 0, 1, 0, 0, 0, 1]);
        expect([4, 5, 6].includes(found.at(-1)!.lineage.parent)).toBe(true);
        // as if it had been killed after one candidate of each item
        const file = (base: string): string => join(run.directory, base);
        const manifest = JSON.parse(await readFile(file("run.json"), "utf8")) as { readonly items: object };
        const killed = { ...manifest, status: "running", items: { ...manifest.items, finished: 0 } };
        await writeFile(file("run.json"), JSON.stringify(killed));
        const lines = [...stored].sort();
        const kept = found.filter(({ index }) => index === 1 || index === 7).map((one) => JSON.stringify(one));
        await writeFile(file("candidates.jsonl"), `${kept.join("\n")}\n`);
        const items = (await readFile(file("items.jsonl"), "utf8")).split("\n").sort();
        await writeFile(file("items.jsonl"), "");
        expect(await finish(start(["resume", run.directory, "--quiet"], { cwd: folder }))).toMatchObject({ code: 0 });
        expect((await readFile(file("candidates.jsonl"), "utf8")).trimEnd().split("\n").sort()).toEqual(lines);
        expect((await readFile(file("items.jsonl"), "utf8")).split("\n").sort()).toEqual(items);
      } else if (name === "prompt-sweep") {
        expect([run.candidates, selected]).toEqual([6, [1, 1, 1, 1, 1, 1]]);
        const [head, ...rows] = await csv("best");
        expect(head).toBe("item,prompt,drawn,rank,index,seed,score,image,matrix.background,matrix.guidance");
        expect(rows).toHaveLength(6);
      } else {
        expect([run.candidates, selected, (await exported("best")).length]).toEqual([8, [3, 3], 6]);
        const [, ...rows] = await csv("scores");
        expect(rows).toHaveLength(8);
        // as the pictures' own metadata has it: the same reward gave the score when they were drawn
        expect(run.items[0]?.selected[0]?.score).toBeCloseTo(0.9428, 3);
      }
    });
  });
});

const TRAINING = [
  "updates=2",
  "every=2",
  "validated=2",
  "n=2",
  "prompts=[a red circle]",
  "train.settings.batchSize=2",
  "train.settings.sampling.steps=4",
  "train.settings.pretrain.drawn=4",
  "train.settings.train.targets=[attn2.to_q]",
].flatMap((one) => ["--set", one]);

it("refl trains, and draws from the same seeds without and with what came of it", { timeout: 180_000 }, async () => {
  await withFiles({}, async (folder) => {
    const file = join(ROOT, "pipelines/refl.yaml");
    const args = ["run", file, ...TRAINING, "--out", "runs", "--json", "--quiet"];
    const { code, stdout, stderr } = await finish(start(args, { cwd: folder }));
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { training, items, directory } = JSON.parse(stdout) as {
      directory: string;
      training: { step: number; result: { kind: string; path: string } };
      items: { id: string; selected: { seed: number }[] }[];
    };
    expect(training).toMatchObject({ step: 2, result: { kind: "lora" } });
    expect(items.map(({ id }) => id)).toEqual(["0.0", "0.1"]);
    const text = await readFile(join(directory, "plan.json"), "utf8");
    expect(text).toContain(JSON.stringify(training.result.path));
    expect((await readdir(join(folder, "runs"))).length).toBe(2);
  });
});

it("refl goes on after kill -9 in the middle of its training, to the same weights", { timeout: 240_000 }, async () => {
  await withFiles({}, async (folder) => {
    const more = ["--set", "updates=4", "--set", "every=4", "--set", "train.settings.checkpointEvery=1"];
    const args = (out: string): string[] => ["run", join(ROOT, "pipelines/refl.yaml"), ...TRAINING, ...more, "--out", out, "--json", "--quiet"]; // prettier-ignore
    const weights = async (stdout: string): Promise<Buffer> =>
      readFile((JSON.parse(stdout) as { training: { result: { path: string } } }).training.result.path);
    const whole = await finish(start(args("whole"), { cwd: folder }));
    expect(whole).toMatchObject({ code: 0, stderr: "" });

    const killed = start(args("killed"), { cwd: folder });
    const runs = join(folder, "killed");
    const found = async (file: string): Promise<string | undefined> => {
      const names = await readdir(runs).catch(() => []);
      return names.map((name) => join(runs, name, file)).find((path) => existsSync(path));
    };
    await vi.waitUntil(() => found("checkpoint.safetensors"), { timeout: 120_000, interval: 20 });
    killed.kill("SIGKILL");
    await finish(killed);
    const training = dirname((await found("checkpoint.safetensors"))!);
    const resumed = await finish(start(["resume", training, "--json", "--quiet"], { cwd: folder }));
    expect(resumed).toMatchObject({ code: 0, stderr: "" });
    expect((await weights(resumed.stdout)).equals(await weights(whole.stdout))).toBe(true);
    expect((await readdir(runs)).length).toBe(2);
  });
});

it("says what a training of a pipeline takes, and where its settings are wrong", async () => {
  const file = join(ROOT, "pipelines/refl.yaml");
  const set = ["updates=40", "every=20", "validated=16", "train.settings.guards.imagesPerPrompt=2", "train.settings.pretrain.drawn=128", "train.settings.batchSize=16"]; // prettier-ignore
  const changes = set.flatMap((one) => ["--set", one]);
  const { stdout } = await laurel(["run", file, "--dry-run", "--json", ...changes]);
  const { training } = JSON.parse(stdout) as { training: { estimate: unknown } };
  // the base's validation and those at 20 and 40, 16 prompts of 2 pictures each, and 128 to learn from
  expect(training.estimate).toEqual({ updates: 40, samples: 16, validations: 3, pictures: 3 * 32 + 128 });
  const bad = [
    "version: 1",
    "prompts: a",
    "backend: webui",
    "train:",
    "  settings: { method: refl, stepz: 3, steps: 1, optimizer: { schedule: { learningRate: 1 } } }",
    "steps: [generate:]",
  ].join("\n");
  await withFiles({ "bad.yaml": bad, "remote.yaml": bad.replace("stepz: 3, ", "") }, async (folder) => {
    const fault = await laurel(["check", join(folder, "bad.yaml")]);
    expect(fault.stdout).toContain("bad.yaml:5:29: settings: unknown key stepz; did you mean steps?");
    const remote = await laurel(["check", join(folder, "remote.yaml")]);
    expect(remote.stdout).toContain(
      "remote.yaml:3:10: backend: expected local, which draws with what is trained, got webui",
    );
  });
});

it("export-reward writes the reward into the folder of runs, and says before what it would be", async () => {
  await withFiles({}, async (folder) => {
    const file = join(ROOT, "pipelines/export-reward.yaml");
    const planned = await finish(start(["run", file, "--dry-run"], { cwd: folder }));
    expect(planned.stdout).toBe("export     1 * image-reward from image of 64 x 64\nfolder     outputs/reward\n");
    const { code, stdout } = await finish(start(["run", file, "--out", "here", "--json", "--quiet"], { cwd: folder }));
    expect(code).toBe(0);
    expect((JSON.parse(stdout) as { manifest: { from: string } }).manifest.from).toBe("image");
    expect(await readdir(join(folder, "here/reward"))).toContain("reward_grad.onnx");
  });
}, 120_000);

it("a folder of pictures is relative to where the command runs", async () => {
  await withFiles({}, async (folder) => {
    await cp(join(ROOT, "pipelines/pictures"), join(folder, "own"), { recursive: true });
    await writeFile(join(folder, "own/circle-square-21.txt"), "a prompt from a sidecar");
    const args = ["run", join(ROOT, "pipelines/score-folder.yaml"), "--set", "folder=own", "--out", "runs", "--json"];
    const { code, stdout } = await finish(start(args, { cwd: folder }));
    expect(code).toBe(0);
    const { items } = JSON.parse(stdout) as { items: { prompt: string; candidates: number }[] };
    expect(items.map(({ prompt, candidates }) => [prompt, candidates])).toEqual([
      ["a prompt from a sidecar", 1],
      ["a red circle above a blue square", 3],
      ["a small green triangle left of a large yellow circle", 4],
    ]);
  });
});
