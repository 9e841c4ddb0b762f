import { appendFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { condensed, lineChart } from "#laurel/report/line-chart";
import { writeTrainingReport } from "#laurel/report/training-report";
import { temporaryFolder } from "../pipeline/execute/pipelines.js";
import { inventTraining } from "./training-folder.js";

const cleanUp: (() => Promise<void>)[] = [];
let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder(cleanUp);
});
afterEach(async () => {
  await Promise.all(cleanUp.splice(0).map((one) => one()));
});

const page = async (): Promise<string> => readFile(await writeTrainingReport(folder), "utf8");
const HACKED = { updates: 100, steps: 120, every: 20, hackedFrom: 30, status: "stopped" } as const;

test("the page says what the guards said and which checkpoint was kept, and is self-contained", async () => {
  await inventTraining(folder, HACKED);
  const text = await page();
  expect(text).toContain("The guards raised an alarm");
  expect(text).toMatch(/Kept: step (40|60): the highest guide \(image-reward \+0\.\d+\) of the checkpoints that pass/);
  expect(text).toMatch(/reward hacking: held-out clip-score fell from 0\.\d+ to 0\.\d+ \(-0\.\d+, \d+\.\d standard errors of 16 pairs\) while image-reward rose/); // prettier-ignore
  expect(text).toMatch(/stopped, 100 of 120/);
  expect(text).toMatch(/<text\s+class="alarm"/);
  expect(text).not.toMatch(/https?:|<script|@import|url\(|NaN|undefined|Infinity/);
  expect(text.match(/(?:src|href)="(?!data:)/g)).toBeNull();
  expect(text).toMatch(/laurel generate .* --lora .*pytorch_lora_weights\.safetensors:0\.5/);
});

test("before and after stand side by side: the base, two steps between, the kept one and the last, for the same seeds", async () => {
  await inventTraining(folder, HACKED);
  const text = await page();
  const heads = [...text.matchAll(/<b(?: class="kept")?>([^<]*(?:base|step)[^<]*)<\/b>/g)].map(([, name]) => name);
  expect(heads[0]).toBe("base");
  expect(heads.at(-1)).toBe("step 100, last");
  expect(heads.filter((name) => name?.endsWith("kept"))).toHaveLength(1);
  expect(heads).toHaveLength(5);
  // eight prompts with a picture in every column, the files' own bytes
  expect(text.match(/data:image\/png/g)).toHaveLength(40);
  const png = await readFile(join(folder, "validation", "100", "4.png"));
  expect(text).toContain(png.toString("base64"));
});

test("twenty thousand updates make a page as small as three hundred do", async () => {
  await inventTraining(folder, { updates: 20_000, steps: 20_000, every: 10_000, hackedFrom: 50_000 });
  const text = await page();
  expect(text).toContain("The guards raised no alarm");
  const longest = Math.max(...[...text.matchAll(/ d="([^"]*)"/g)].map(([, path = ""]) => path.split("L").length));
  expect(longest).toBeLessThanOrEqual(320); // a band: there and back over 160 stretches
  expect(text.length).toBeLessThan(300_000);
});

test("a training that was just begun, or keeps no validations, has a page that says so", async () => {
  await inventTraining(folder, { updates: 10, steps: 400, every: 25, hackedFrom: 500, status: "running" });
  const begun = await page();
  expect(begun).toMatch(/Not validated[^]*Kept so far: the base model: nothing was validated after it/);
  expect(begun).toContain("laurel train refl --resume 20261130-101500-refl-a1b2");
  await rm(join(folder, "validation.jsonl"));
  await rm(join(folder, "validation"), { recursive: true });
  const manifest = JSON.parse(await readFile(join(folder, "training.json"), "utf8")) as { config: { guards: unknown } };
  manifest.config.guards = null;
  await writeFile(join(folder, "training.json"), JSON.stringify(manifest));
  const unguarded = await page();
  expect(unguarded).toContain("step 10, the last one: nothing was validated");
  expect(unguarded).toContain("without the held-out reward, reward hacking is not noticed");
});

test("steps that a resumption repeats replace the earlier ones; a torn last line is left out; hostile prompts stay text", async () => {
  await inventTraining(folder, { updates: 20, steps: 400, every: 10, hackedFrom: 500, status: "running" });
  const line = { step: 15, loss: 123456, learningRate: 1, gradientNorm: 1, seconds: 1 };
  await appendFile(join(folder, "log.jsonl"), `${JSON.stringify(line)}\n{"step": 16, "lo`);
  const places = [{ index: 0, prompt: `</p><script>alert("1")</script>`, seed: 1 }];
  await writeFile(join(folder, "validation", "prompts.json"), JSON.stringify(places));
  const text = await page();
  expect(text).not.toContain("<script");
  expect(text).toMatch(/loss from 0\.00\d+ to 1\.23e5/);
});

test("a folder that holds no training, or a damaged one, is refused by file and line", async () => {
  await mkdir(join(folder, "empty"));
  await expect(writeTrainingReport(join(folder, "empty"))).rejects.toThrow(/training\.json: expected a training, got no such file/); // prettier-ignore
  await inventTraining(folder, { updates: 3, steps: 3, every: 1, hackedFrom: 9 });
  await writeFile(join(folder, "log.jsonl"), `{"step":1,"loss":1,"learningRate":1,"gradientNorm":1,"seconds":1}\n{"step":"two"}\n`); // prettier-ignore
  await expect(writeTrainingReport(folder)).rejects.toThrow(/log\.jsonl:2: expected an update, got/);
});

test("many points become means of stretches with their spread; gaps are left out", () => {
  const points = Array.from({ length: 8000 }, (_, i) => ({ x: i, y: i % 2 === 0 ? 0 : 1 }));
  const drawn = condensed(points);
  expect(drawn).toHaveLength(160);
  for (const point of drawn) {
    expect(point.y).toBeCloseTo(0.5, 1);
    expect([point.low, point.high]).toEqual([0, 1]);
  }
  expect(condensed([{ x: 1, y: Number.NaN }, { x: 2, y: 3 }])).toEqual([{ x: 2, y: 3 }]); // prettier-ignore
  expect(lineChart({ title: "none", note: "", last: 3, curves: [] })).toBeNull();
});

test("a curve goes through its values: half the height for half the value, on a logarithmic axis for its root", () => {
  const chart = (logarithmic: boolean, values: number[]): number[] => {
    const points = values.map((y, x) => ({ x, y }));
    const curves = [{ name: "a", tone: "plain" as const, points, dots: true }];
    const { markup = "" } = lineChart({ title: "t", note: "n", last: 2, logarithmic, curves }) ?? {};
    return [...markup.matchAll(/cy="([\d.]+)"/g)].map(([, y]) => Number(y));
  };
  for (const heights of [chart(false, [0, 5, 10]), chart(true, [0.001, 0.1, 10])]) {
    const [low = 0, middle = 0, high = 0] = heights;
    expect((low - middle) / (low - high)).toBeCloseTo(0.5, 2);
  }
});
