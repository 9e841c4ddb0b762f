/** @file `laurel train` as processes on the demo models: each method, what it prints, what it refuses, kill and resume, a full disk. */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { resumeTraining, trainModel } from "#laurel/library/train";
import type { Reward } from "#laurel/rewards/contract";
import { openWeights } from "#laurel/weights/open";
import { type Ended, finish, start } from "./processes.js";
import { laurel as inProcess } from "./terminal.js";

// a training starts two processes and compiles its programs; a busy machine takes its time
vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-train-"));
  await writeFile(join(folder, "prompts.txt"), "a red circle above a blue square\ntwo green triangles\n");
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const COMMON = {
  steps: 3,
  batchSize: 2,
  checkpointEvery: 1,
  "train.rank": 2,
  "train.targets": "[attn2.to_k]",
  "guards.every": 3,
  "guards.prompts": 2,
  "guards.imagesPerPrompt": 1,
  heldOut: "[]",
} as const;
const METHODS = {
  refl: { "sampling.steps": 2, pretrain: "null" },
  draft: { "sampling.steps": 2, lastSteps: 1, lowVariance: 0, pretrain: "null" },
  dpo: { drawn: "{ prompts: 2, imagesPerPrompt: 3 }", margin: 0 },
  sft: { drawn: "{ prompts: 2, imagesPerPrompt: 2 }", select: "plain" },
} as const;
type Method = keyof typeof METHODS;

const settings = (method: Method, changes: object = {}): string[] =>
  Object.entries({ ...COMMON, ...METHODS[method], ...changes }).flatMap(([key, value]) => ["--set", `${key}=${value}`]);

const args = (method: Method, out: string, changes: object = {}): string[] =>
  ["train", method, "--prompts", "prompts.txt", "--threads", "1", "--out", out, ...settings(method, changes)]; // prettier-ignore

const laurel = (given: readonly string[]): Promise<Ended> => finish(start(given, { cwd: folder }));

const onlyRun = async (out: string): Promise<string> => join(folder, out, (await readdir(join(folder, out)))[0]!);

const manifestOf = async (run: string): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(join(run, "training.json"), "utf8")) as Record<string, unknown>;

test.each(Object.keys(METHODS) as Method[])("%s leaves a LoRA, a page, and one JSON object", async (method) => {
  const { code, stdout, stderr } = await laurel([...args(method, method), "--json", "--quiet"]);
  // no reward is held out, which is said
  expect({ code, stderr }).toEqual({
    code: 0,
    stderr: expect.stringMatching(/^warning: without the held-out reward, /),
  });
  const result = JSON.parse(stdout) as Record<string, never> & { result: { path: string }; directory: string };
  expect(result).toMatchObject({
    schemaVersion: 1,
    method,
    status: "finished",
    step: 3,
    steps: 3,
    reason: null,
    result: { kind: "lora" },
    rewards: [{ name: "image-reward", heldOut: false }],
    diversity: null,
  });
  const { entries } = await openWeights(result.result.path);
  expect([...entries.keys()].filter((name) => name.endsWith("attn2.to_k.lora_A.weight")).length).toBeGreaterThan(0);
  expect(existsSync(join(result.directory, "report.html"))).toBe(true);
  expect(await manifestOf(result.directory)).toMatchObject({
    kind: "training",
    status: "finished",
    sessions: 1,
    step: 3,
  });
  expect((await readFile(join(result.directory, "log.jsonl"), "utf8")).trimEnd().split("\n")).toHaveLength(3);
});

test("killed at any moment, a run goes on to the same bytes; another method, other settings and a second process are refused", async () => {
  const result = async (run: string): Promise<Buffer> => readFile(join(run, "pytorch_lora_weights.safetensors"));
  const changes = { steps: 5, pretrain: "{ batchSize: 2, drawn: 2 }", "optimizer.averageDecay": 0.9 };
  await laurel([...args("refl", "whole", changes), "--quiet"]);
  const child = start(args("refl", "killed", changes), { cwd: folder });
  const ended = finish(child);
  const logged = async (run: string): Promise<string> => readFile(join(run, "log.jsonl"), "utf8").catch(() => "");
  while ((await readdir(join(folder, "killed")).catch(() => [])).length === 0) await sleep(20);
  const run = await onlyRun("killed");
  while ((await logged(run)) === "") await sleep(5);
  await sleep(Math.random() * 300);
  const second = await laurel(["train", "refl", "--resume", run]);
  expect(second.code).toBe(2);
  expect(second.stderr).toContain("expected a run that no process works on");
  child.kill("SIGKILL");
  await ended;
  const refused = async (method: string, ...more: string[]): Promise<string> =>
    (await laurel(["train", method, "--resume", run, ...more])).stderr;
  expect(await refused("refl", "--steps", "7", "--rank", "3")).toContain(
    `${run}/training.json: expected the settings that the run began with, got steps 7 instead of 5, train.rank 3 instead of 2`,
  );
  expect(await refused("draft")).toContain(`${run}/training.json: expected a run of draft, got one of refl`);
  expect(await refused("refl", "--prompts", "prompts.txt")).toContain(
    "expected a run with what it began with, got prompts",
  );
  const { code } = await laurel(["resume", run, "--quiet"]);
  expect(code).toBe(0);
  expect((await result(run)).equals(await result(await onlyRun("whole")))).toBe(true);
  expect(await manifestOf(run)).toMatchObject({ status: "finished", step: 5, sessions: 2 });
});

test("Ctrl-C leaves a checkpoint and says how to go on", async () => {
  const child = start(args("sft", "stopped", { steps: 100_000, guards: "null" }), { cwd: folder });
  const ended = finish(child);
  for (;;) {
    const [name] = await readdir(join(folder, "stopped")).catch(() => []);
    if (name !== undefined && existsSync(join(folder, "stopped", name, "log.jsonl"))) break;
    await sleep(50);
  }
  child.kill("SIGINT");
  const { code, stderr } = await ended;
  const run = await onlyRun("stopped");
  expect(code).toBe(130);
  expect(stderr).toMatch(/stopped after step \d+ of 100000; go on with: laurel train sft --resume stopped\//);
  expect(stderr.match(/warning: without/g)).toHaveLength(4);
  expect(await manifestOf(run)).toMatchObject({ status: "stopped", stop: { reason: "interrupted" } });
  expect(existsSync(join(run, "checkpoint.safetensors"))).toBe(true);
});

describe("what cannot be trained is refused before there is a folder", () => {
  const refl = (...more: string[]): string[] => ["train", "refl", "--out", join(folder, "none"), ...more];
  const files = {
    "bad.csv": "prompt,weight\na red circle,1\n,2\na blue square,x\n",
    "empty.txt": "",
    "unknown.yaml": "use: configs/training/refl.yaml\noptimizer: { schedule: { learningrate: 1 } }\n",
    "other.yaml": "method: draft\n",
  };
  beforeAll(async () => {
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  });
  const at = (name: string): string => join(folder, name);
  test.each<[string, () => string[], () => string]>([
    ["a row without a prompt", () => ["--prompts", at("bad.csv")], () => `${at("bad.csv")}:3:1: expected a prompt, got an empty text`],
    ["no prompt", () => ["--prompts", at("empty.txt")], () => `${at("empty.txt")}: expected prompts, got none`],
    ["an unknown key", () => ["--config", at("unknown.yaml")], () => `${at("unknown.yaml")}:2:26: optimizer.schedule: unknown key learningrate; did you mean learningRate?`],
    ["another method's settings", () => ["--config", at("other.yaml")], () => `${at("other.yaml")}:1:9: method: expected refl, got "draft"`],
    ["an unknown place", () => ["--set", "stepz=3"], () => "--set stepz: expected a declared variable or a key of the document, got stepz; did you mean steps?"],
    ["a model of one's own without prompts", () => ["--model", at("none")], () => `prompts: expected a file of prompts to train ${at("none")} on, got none`],
    ["a weight that is none", () => ["--reward", "image-reward=x"], () => '--reward image-reward=x: expected a weight above 0 behind the =, got "x"'],
    ["targets that the model lacks", () => ["--set", "train.targets=[to_x]"], () => "unet: targets: expected endings of its modules ("],
    ["a reward that is guide and held out", () => ["--held-out", "image-reward"], () => "rewards and heldOut: expected rewards of different names, got two named image-reward (guide image-reward; held out image-reward)"],
    ["a reward that is none", () => ["--reward", at("bad.csv")], () => `${at("bad.csv")}: expected`],
  ])("%s", async (_, more, message) => {
    const { exitCode, stderr } = await inProcess(refl(...more()));
    expect(stderr).toContain(`error: ${message()}`);
    expect([2, 5]).toContain(exitCode);
    expect(existsSync(join(folder, "none"))).toBe(false);
  }); // prettier-ignore
});

test("a reward without a gradient may be held out, not followed; one that is open goes with a resumed run", async () => {
  const brightness: Reward = {
    name: "brightness",
    model: { name: "brightness", path: undefined },
    range: [0, 1],
    score: (_, images) => Promise.resolve({ scores: images.map(() => 0.5), warnings: [] }),
    dispose: () => Promise.resolve(),
  };
  const set = Object.fromEntries(Object.entries({ ...COMMON, ...METHODS.sft, steps: 1 }).map(([key, value]) => [key, String(value)])); // prettier-ignore
  const options = { method: "sft", set, threads: 1, out: join(folder, "custom"), prompts: ["a red circle"] } as const;
  await expect(trainModel({ ...options, rewards: [{ reward: brightness }] })).rejects.toThrow(
    "rewards: expected a differentiable reward, with a network that graphs can contain, got brightness",
  );
  const { directory, rewards } = await trainModel({ ...options, heldOut: [brightness] });
  expect(rewards.at(-1)).toEqual({ name: "brightness", heldOut: true, base: 0.5, kept: 0.5, last: 0.5 });
  await expect(resumeTraining(directory)).rejects.toThrow(/brightness: expected an ImageReward/);
  expect((await resumeTraining(directory, { rewards: [brightness] })).status).toBe("finished");
});

describe("a disk that is full", () => {
  const mounted = join(tmpdir(), `laurel-train-disk-${process.pid}`);
  const mount = (...given: string[]): boolean => spawnSync("mount", given, { stdio: "ignore" }).status === 0;
  let small = false;
  beforeAll(async () => {
    await mkdir(mounted);
    small = mount("-t", "tmpfs", "-o", "size=300k", "tmpfs", mounted);
  });
  afterAll(async () => {
    if (small) spawnSync("umount", [mounted]);
    await rm(mounted, { recursive: true, force: true });
  });

  test("ends the run with code 1 and says how to go on; with room again, it is completed", async ({ skip }) => {
    if (!small) skip("this user cannot mount a small file system");
    // the parameters and their moments are more than what is free
    const given = args("sft", mounted, {
      "train.rank": 8,
      "train.targets": "[conv1, conv2]",
      steps: 1,
      guards: "null",
    });
    const { code, stderr } = await laurel(given);
    expect(code).toBe(1);
    expect(stderr).toMatch(/the run stopped; go on with: laurel train sft --resume \S+/);
    expect(stderr).toMatch(
      /error: \S+: expected room for the run, got a full disk \(ENOSPC\); what was written before is whole/,
    );
    expect(mount("-o", "remount,size=50m", mounted)).toBe(true);
    const run = join(mounted, (await readdir(mounted))[0]!);
    expect((await laurel(["train", "sft", "--resume", run, "--quiet"])).code).toBe(0);
    expect(await manifestOf(run)).toMatchObject({ status: "finished", step: 1 });
  });
});
