import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { encodePng } from "#laurel/image/png";
import type { Reward } from "#laurel/rewards/contract";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

async function grey(path: string, value: number): Promise<void> {
  await writeFile(path, await encodePng({ width: 4, height: 4, data: new Uint8Array(48).fill(value) }));
}

/** What the brightness reward gives. */
const near = (value: number): number => expect.closeTo((value / 255 - 0.5) * 4, 5) as number;

/** Two prompts; brightness gets 4 of the first one's 5 strict pairs right and none of the second's 3. */
const ENTRIES = [
  { id: "a-1", prompt: "four", generations: ["200.png", "240.png", "120.png", "40.png"], ranking: [1, 2, 2, 5] },
  { id: "a-2", prompt: "three", generations: ["more/200.png", "240.png", "40.png"], ranking: [3, 4, 1] },
];

/** The entries as a file, with their pictures. */
async function material(entries: unknown = ENTRIES): Promise<{ folder: string; file: string; images: string }> {
  const folder = await temporaryFolder();
  const images = join(folder, "images");
  await mkdir(join(images, "more"), { recursive: true });
  for (const value of [40, 120, 200, 240]) await grey(join(images, `${value}.png`), value);
  await grey(join(images, "more/200.png"), 200);
  const file = join(folder, "test.json");
  await writeFile(file, JSON.stringify(entries));
  return { folder, file, images };
}

/** Brightness, counting the pictures it is asked for. */
function counting(onScore: () => void = () => undefined): { reward: Reward; asked: () => number } {
  let asked = 0;
  const reward = createBrightnessReward((score) => {
    asked++;
    onScore();
    return score;
  });
  return { reward, asked: () => asked };
}

interface Figures {
  accuracy: { estimate: number; low: number };
  recall: Record<string, { estimate: number; prompts: number }>;
  filter: Record<string, { estimate: number; prompts: number }>;
}

test("rewards stand beside each other with the figures worked out by hand, and their scores are kept", async () => {
  const { folder, file, images } = await material();
  const keep = join(folder, "kept");
  const dark = { ...createBrightnessReward((score) => -score), name: "darkness" };
  const args = ["eval", "preferences", file, "--images", images, "--keep", keep, "--json"];
  const { exitCode, stdout, stderr } = await laurel([...args, "--reward", "bright", "--reward", "dark"], {
    rewards: { dark },
  });
  expect([exitCode, stderr.split("\n").length]).toEqual([0, 3]);
  const result = JSON.parse(stdout) as {
    rewards: { name: string; scores: string; figures: Figures }[];
    chance: Figures;
  };
  const shown = result.rewards.map(({ name, figures: { accuracy, recall, filter } }) => [
    name,
    accuracy.estimate,
    [recall["1"]!, recall["2"]!].map((one) => one.estimate),
    [filter["1"]!, filter["2"]!].map((one) => one.estimate),
  ]);
  // strict pairs of "four": 200>240 no, 200>120, 200>40, 240>40, 120>40 yes; of "three": 40>200, 40>240, 200>240 no
  expect(shown).toEqual([
    ["bright", 4 / 8, [0, 1 / 2], [1 / 2, 1 / 2]],
    ["dark", 4 / 8, [1 / 2, 1 / 2], [1 / 2, 1 / 2]],
  ]);
  expect(result.rewards[0]!.figures.recall["4"]).toEqual({ estimate: null, low: null, high: null, prompts: 0 });
  expect(result.chance.recall["1"]!.estimate).toBeCloseTo((1 / 4 + 1 / 3) / 2, 10);
  const kept = (await readFile(result.rewards[0]!.scores, "utf8")).trimEnd().split("\n");
  expect(JSON.parse(kept[1]!)).toEqual({ id: "a-2", prompt: "three", rewards: [near(200), near(240), near(40)] });
});

test("an interrupted evaluation goes on where it was", async () => {
  const { folder, file, images } = await material();
  const args = ["eval", "preferences", file, "--images", images, "--reward", "bright", "--keep", join(folder, "kept")];
  const controller = new AbortController();
  const first = counting(() => controller.abort());
  const stopped = await laurel(args, { reward: first.reward, signal: controller.signal });
  expect([stopped.exitCode, stopped.stdout]).toEqual([130, ""]);
  expect(stopped.stderr).toMatch(/^cancelled with \d of 7 pictures scored; the same command goes on from there\n$/);
  const second = counting();
  const whole = await laurel(args, { reward: second.reward });
  expect(whole.exitCode).toBe(0);
  expect(second.asked()).toBeLessThanOrEqual(7);
  const third = counting();
  const again = await laurel(args, { reward: third.reward });
  expect(third.asked()).toBe(0);
  expect(again.stdout).toBe(whole.stdout);
  expect(whole.stdout).toMatch(/^ +bright +chance\naccuracy +50\.0 \(0\.0 to 80\.0\) +50\.0\nrecall@1 +0\.0 /);
  // a torn last line is scored again, the others are not
  const [name] = await readdir(join(folder, "kept"));
  const text = await readFile(join(folder, "kept", name!), "utf8");
  await writeFile(join(folder, "kept", name!), text.slice(0, -20));
  const fourth = counting();
  expect((await laurel(args, { reward: fourth.reward })).stdout).toBe(whole.stdout);
  expect(fourth.asked()).toBe(3);
});

test("given scores need no model and no pictures; both forms of file are read", async () => {
  const { folder, file } = await material();
  const rewards = [{ id: "a-1", prompt: "four", ranking: [1, 2, 4, 3], rewards: [3, 2, 0, 1] }, { id: "a-2", rewards: [2, 1, null] }]; // prettier-ignore
  await writeFile(join(folder, "test_Model.json"), JSON.stringify(rewards));
  await writeFile(join(folder, "lines.jsonl"), rewards.map((one) => JSON.stringify(one)).join("\n"));
  const scores = (name: string): string[] => ["--scores", join(folder, name)];
  const both = [...scores("test_Model.json"), ...scores("lines.jsonl")];
  const { exitCode, stdout } = await laurel(["eval", "preferences", file, ...both, "--json"]);
  expect(exitCode).toBe(0);
  const result = JSON.parse(stdout) as { rewards: { name: string; figures: Figures }[] };
  expect(result.rewards.map(({ name, figures }) => [name, figures.accuracy.estimate])).toEqual([
    ["test_Model", 5 / 8],
    ["lines", 5 / 8],
  ]);
  await writeFile(join(folder, "short.json"), JSON.stringify([{ id: "a-1", rewards: [1, 2] }]));
  const short = await laurel(["eval", "preferences", file, ...scores("short.json")]);
  expect([short.exitCode, short.stderr]).toEqual([
    2,
    `error: ${join(folder, "short.json")}: expected 4 rewards of a-1, got 2\nerror: ${join(folder, "short.json")}: expected 3 rewards of a-2, got none\n`,
  ]);
});

test("what is missing or wrong is said before a model is opened", async () => {
  const { file, images } = await material();
  const none = await laurel(["eval", "preferences", file]);
  expect([none.exitCode, none.stderr]).toEqual([2, "error: --reward, --scores: expected at least one reward, or a file of scores, got none\n"]); // prettier-ignore
  const evaluate = (path: string): ReturnType<typeof laurel> =>
    laurel(["eval", "preferences", path, "--images", images, "--reward", "missing"]);
  await rm(join(images, "240.png"));
  const gone = await evaluate(file);
  expect([gone.exitCode, gone.stderr]).toEqual([2, `error: preferences: expected 5 pictures, got 1 of them missing, the first ${join(images, "240.png")}\n`]); // prettier-ignore
  const broken = await material([{ id: "x", prompt: "p", generations: ["1.png", "2.png"], ranking: [1] }, { ...ENTRIES[0], id: 7 }]); // prettier-ignore
  const faults = await evaluate(broken.file);
  expect(faults.exitCode).toBe(2);
  expect(faults.stderr).toMatch(/entry 0: ranking: expected a rank for each of the generations\n.*entry 1: id: /);
  const twice = await material([ENTRIES[0], ENTRIES[0]]);
  expect((await evaluate(twice.file)).stderr).toMatch(/entry 1: id: expected each once, got "a-1" again/);
});

test("a picture that cannot be read leaves its prompt out, with exit code 4", async () => {
  const { folder, file, images } = await material();
  await writeFile(join(images, "more/200.png"), "not a picture");
  const args = ["eval", "preferences", file, "--images", images, "--reward", "bright", "--keep", join(folder, "kept")];
  const { exitCode, stdout, stderr } = await laurel([...args, "--json"]);
  expect(exitCode).toBe(4);
  const result = JSON.parse(stdout) as { leftOut: string[]; rewards: { figures: Figures }[] };
  expect([result.leftOut, result.rewards[0]!.figures.accuracy.estimate]).toEqual([["a-2"], 4 / 5]);
  expect(stderr).toMatch(/unreadable: .*more\/200\.png: expected a PNG.*\n[^]*1 of 2 prompts are left out/);
});

/** Three generators of two prompts: by brightness their order is bright, middle, dark. */
async function generators(): Promise<{ folder: string; images: string; prompts: string }> {
  const folder = await temporaryFolder();
  const images = join(folder, "images");
  const values = { bright: [250, 230, 210], middle: [150, 120, 110], dark: [10, 20, 30] };
  for (const [name, [first, second, third]] of Object.entries(values)) {
    await mkdir(join(images, name), { recursive: true });
    await grey(join(images, name, "p-1_0.png"), first!);
    await grey(join(images, name, "p-1_1.png"), second!);
    await grey(join(images, name, "p-2.png"), third!);
  }
  const prompts = join(folder, "prompts.json");
  await writeFile(prompts, JSON.stringify([{ id: "p-1", prompt: "one" }, { id: "p-2", prompt: "two" }])); // prettier-ignore
  return { folder, images, prompts };
}

test("generators are scored prompt by prompt and compared with people's ranks", async () => {
  const { folder, images, prompts } = await generators();
  await writeFile(join(folder, "people.csv"), "generator,rank\nmiddle,1\nbright,2\ndark,3\n");
  const args = ["eval", "models", join(folder, "people.csv"), "--prompts", prompts, "--images", images];
  const run = (...more: string[]): ReturnType<typeof laurel> =>
    laurel([...args, "--reward", "bright", "--keep", join(folder, "kept"), ...more]);
  const { exitCode, stdout } = await run("--json");
  expect(exitCode).toBe(0);
  const [reward] = (JSON.parse(stdout) as { rewards: { generators: unknown; spearman: { estimate: number }; prompts: number }[] }).rewards; // prettier-ignore
  const score = (value: number): unknown => expect.objectContaining({ estimate: near(value) });
  // the mean of a prompt's pictures first, then over prompts
  expect(reward!.generators).toEqual([
    { name: "middle", humanRank: 1, rank: 2, score: score((135 + 110) / 2) },
    { name: "bright", humanRank: 2, rank: 1, score: score((240 + 210) / 2) },
    { name: "dark", humanRank: 3, rank: 3, score: score((15 + 30) / 2) },
  ]);
  expect([reward!.spearman.estimate, reward!.prompts]).toEqual([0.5, 2]);
  const shown = (await run()).stdout;
  expect(shown.split("\n")[0]).toMatch(/^generator +people +rank +bright$/);
  expect(shown).toMatch(/\nSpearman +0\.50\n$/);
});

test("a generator's pictures may be a run, found by its prompts", async () => {
  const { folder, images } = await generators();
  const drawn = await laurel(["generate", "one", "-n", "2", "--out", join(folder, "runs"), "--json"]);
  const { directory, candidates } = JSON.parse(drawn.stdout) as { directory: string; candidates: { score: number }[] };
  await writeFile(join(folder, "prompts.txt"), "one\n");
  const rows = [
    { generator: "run", wins: 5, images: directory },
    { generator: "dark", wins: 1, images: "dark-one" },
  ];
  await mkdir(join(folder, "dark-one"));
  await writeFile(join(folder, "dark-one", "0.png"), await readFile(join(images, "dark", "p-1_0.png")));
  await writeFile(join(folder, "people.json"), JSON.stringify(rows));
  const args = ["eval", "models", join(folder, "people.json"), "--prompts", join(folder, "prompts.txt")];
  const { stdout } = await laurel([...args, "--reward", "bright", "--keep", join(folder, "kept"), "--json"]);
  const [reward] = (JSON.parse(stdout) as { rewards: { generators: { name: string; score: { estimate: number } }[] }[] }).rewards; // prettier-ignore
  const mean = (candidates[0]!.score + candidates[1]!.score) / 2;
  expect(reward!.generators.map(({ name, score }) => [name, score.estimate])).toEqual([
    ["run", expect.closeTo(mean, 5)],
    ["dark", near(10)],
  ]);
});

test.each([
  ["generator,rank\na,1\na,2\n", /expected a once, got it again/],
  ["generator,rank,wins\na,1,\nb,,3\n", /expected rank or wins in every row, got both/],
  ["generator,rank,wins\na,1,2\nb,1,3\n", /expected one of rank, wins, win_rate, got rank and wins/],
  ["generator,rank\na,first\nb,2\n", /:2:1: rank: /],
  ["generator,rank\na,1\n", /expected at least two generators, got 1/],
])("people's opinion %j is refused", async (text, message) => {
  const { folder, images, prompts } = await generators();
  const people = join(folder, "people.csv");
  await writeFile(people, text);
  const { exitCode, stderr } = await laurel(["eval", "models", people, "--prompts", prompts, "--images", images, "--reward", "bright"]); // prettier-ignore
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(message);
});

test("a generator without pictures of a prompt is named", async () => {
  const { folder, images, prompts } = await generators();
  const people = join(folder, "people.csv");
  await writeFile(people, "generator,rank\nbright,1\ndark,2\n");
  await rm(join(images, "dark", "p-2.png"));
  const { stderr } = await laurel(["eval", "models", people, "--prompts", prompts, "--images", images, "--reward", "bright"]); // prettier-ignore
  expect(stderr).toBe(
    `error: ${join(images, "dark")}: expected pictures of 2 prompts, got none of 1, the first "p-2"\n`,
  );
});

test("of many warnings the first are shown, with how many more there are", async () => {
  const entries = Array.from({ length: 9 }, (_, i) => ({ ...ENTRIES[0], id: `e-${i}`, prompt: `prompt ${i}` }));
  const { folder, file, images } = await material(entries);
  const plain = createBrightnessReward();
  const reward: Reward = {
    ...plain,
    score: async (prompt, pictures) => ({ ...(await plain.score(prompt, pictures)), warnings: [`${prompt} was cut`] }),
  };
  const args = ["eval", "preferences", file, "--images", images, "--reward", "bright", "--keep", join(folder, "kept")];
  const { stderr } = await laurel(args, { reward });
  expect(stderr.match(/^warning: .*$/gm)).toEqual([
    ...[0, 1, 2, 3, 4].map((i) => `warning: prompt ${i} was cut`),
    "warning: and 4 more (--json has them all)",
  ]);
});

test("on a terminal a bar counts the pictures of all rewards", async () => {
  const { folder, file, images } = await material();
  const args = ["eval", "preferences", file, "--images", images, "--keep", join(folder, "kept"), "--reward", "bright"];
  const { stderr } = await laurel([...args, "--reward", "dark"], { tty: true });
  expect(stderr).toContain("14/14 pictures");
});
