/** @file Scores over HTTP are those of the library, and the model's memory goes back. */

import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FileScores, openDevice, openRewards, type ScoreServer, scoreFiles, serveScores } from "#laurel/index";
import { ask, picture, post } from "./ask.js";

const PROMPT = "a red circle above a blue square";
const pids: number[] = [];
let folder: string;
let server: ScoreServer;
let pictures: readonly Buffer[];
let expected: FileScores;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-test-"));
  pictures = await Promise.all([picture(1), picture(2), picture(3), picture(4), picture(5)]);
  const paths = await Promise.all(
    pictures.map(async (bytes, i) => {
      await writeFile(join(folder, `${i}.png`), bytes);
      return join(folder, `${i}.png`);
    }),
  );
  const choice = { rewards: [], heldOut: ["clip-score"] };
  const device = openDevice({ threads: 1 });
  expected = await scoreFiles(await openRewards(device, choice), PROMPT, paths);
  await device.close();
  server = await serveScores(
    async () => {
      const own = openDevice({ threads: 1 });
      const reward = await openRewards(own, choice);
      own.start();
      pids.push(own.pid!);
      return { reward, close: () => own.close() };
    },
    { port: 0 },
  );
});
afterAll(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

const base64 = (bytes: Buffer): string => bytes.toString("base64");
const told = (results: readonly { score: number; rank: number; heldOut: object }[]): object[] =>
  results.map(({ score, rank, heldOut }) => ({ score, rank, heldOut }));

describe("scores are the library's", () => {
  it("for pictures in JSON, in a form, and one as it is", async () => {
    const json = await post(server.url, "/v1/score", { prompt: PROMPT, images: pictures.map(base64) });
    expect(json.status).toBe(200);
    expect(told(json.json.results)).toEqual(
      expected.results.map(({ score, rank, heldOut }) => ({ score, rank, heldOut })),
    );
    expect(json.json).toMatchObject({ reward: "image-reward", key: "ImageReward", warnings: expected.warnings });
    expect(json.json.results[0].words).toMatch(/^better than .+ % of the pictures the demo model draws$/);

    const form = new FormData();
    form.append("prompt", PROMPT);
    for (const bytes of pictures) form.append("image", new Blob([new Uint8Array(bytes)]), "x.png");
    const sent = await fetch(`${server.url}/v1/score`, { method: "POST", body: form });
    expect(await sent.json()).toEqual(json.json);

    const one = await ask(server.url, `/v1/score?prompt=${encodeURIComponent(PROMPT)}`, {
      body: pictures[0]!,
      headers: { "content-type": "image/png" },
    });
    expect(one.json.results).toMatchObject([{ score: expected.results[0]!.score, rank: 1 }]);
  });

  it("for pairs, ranked among the pictures of their prompt, and for a web UI's prompt", async () => {
    const items = pictures.map((bytes, i) => ({ prompt: i < 3 ? PROMPT : "a cat", image: base64(bytes) }));
    const { json } = await post(server.url, "/v1/score", { items });
    const scores = expected.results.map(({ score }) => score);
    expect(json.results.slice(0, 3).map((one: { score: number }) => one.score)).toEqual(scores.slice(0, 3));
    expect(json.results.slice(3).map((one: { score: number }) => one.score)).not.toEqual(scores.slice(3));
    expect(json.results.map((one: { rank: number }) => one.rank).slice(3).sort()).toEqual([1, 2]); // prettier-ignore
    const marked = { prompt: "a (red:1.3) circle above a [blue] square <lora:shapes:1>", promptSyntax: "a1111" };
    const read = await post(server.url, "/v1/score", { ...marked, images: pictures.map(base64) });
    expect(read.json.results.map((one: { score: number }) => one.score)).toEqual(scores);
  });

  it("keeps the best, and the best one where none is good enough", async () => {
    const images = pictures.map(base64);
    const order = [...expected.results.keys()].sort((a, b) => expected.results[a]!.rank! - expected.results[b]!.rank!);
    const rank = async (more: object) => (await post(server.url, "/v1/rank", { prompt: PROMPT, images, ...more })).json;
    expect(await rank({ keep: 2 })).toMatchObject({ kept: order.slice(0, 2), messages: [] });
    const min = expected.results[order[2]!]!.score!;
    expect((await rank({ min })).kept).toEqual(order.slice(0, 3));
    const none = await rank({ min: 99 });
    expect(none.kept).toEqual(order.slice(0, 1));
    expect(none.messages).toEqual([expect.stringMatching(/scores 99 or more, got .+; the best one is kept/)]);
    expect(await rank({ min: 99, ifNone: "none" })).toMatchObject({ kept: [] });
  });

  it("answers as its description says", async () => {
    const { json: description } = await ask(server.url, "/openapi.json");
    expect(description).toEqual(
      JSON.parse(await readFile(new URL("../../schema/serve-v1.json", import.meta.url), "utf8")),
    );
    expect(Object.keys(description.paths)).toEqual(["/healthz", "/metrics", "/v1/info", "/v1/score", "/v1/rank", "/v1/unload"]); // prettier-ignore
    const ajv = new Ajv2020({ strict: false });
    ajv.addSchema({ $id: "laurel:api", ...description });
    const matches = (name: string, value: unknown): void => {
      const check = ajv.getSchema(`laurel:api#/components/schemas/${name}`)!;
      expect(check(value), JSON.stringify(check.errors)).toBe(true);
    };
    const request = { prompt: PROMPT, images: [base64(pictures[0]!), base64(Buffer.from("no picture"))] };
    matches("ScoreRequest", request);
    matches("Scores", (await post(server.url, "/v1/score", request)).json);
    matches("Ranks", (await post(server.url, "/v1/rank", { ...request, keep: 1 })).json);
    matches("Info", (await ask(server.url, "/v1/info")).json);
    matches("Problem", (await post(server.url, "/v1/score", {})).json);
  });
});

describe("the model", () => {
  /** Processes that this one has started. */
  const children = (): number[] =>
    execFileSync("ps", ["-axo", "pid=,ppid="], { encoding: "utf8" })
      .split("\n")
      .map((line) => line.trim().split(/\s+/).map(Number))
      .flatMap(([pid = 0, parent]) => (parent === process.pid ? [pid] : []));

  it("leaves the list of processes on request, and the next request loads it again", async () => {
    const [first] = pids;
    expect(children()).toContain(first);
    expect((await post(server.url, "/v1/unload", {})).json).toEqual({ schemaVersion: 1, unloaded: true });
    await expect.poll(children).not.toContain(first);
    expect((await ask(server.url, "/v1/info")).json).toMatchObject({ loaded: false, reward: { name: "image-reward" } });
    expect((await ask(server.url, "/metrics")).text).toMatch(/^laurel_reward_loaded 0$/m);
    expect((await post(server.url, "/v1/unload", {})).json.unloaded).toBe(false);
    const again = await post(server.url, "/v1/score", { prompt: PROMPT, images: [base64(pictures[0]!)] });
    expect(again.json.results[0].score).toBe(expected.results[0]!.score);
    expect(pids).toHaveLength(2);
    expect(children()).toContain(pids[1]);
  });

  it("that dies is an answer, and the next request finds another", async () => {
    const request = { prompt: PROMPT, images: pictures.map(base64) };
    process.kill(
      children().find((pid) => pid === pids[1])!,
      "SIGKILL",
    );
    const answers = [await post(server.url, "/v1/score", request), await post(server.url, "/v1/score", request)];
    for (const { status } of answers) expect([200, 503]).toContain(status);
    expect(told(answers[1]!.json.results)).toEqual(told(expected.results as never));
  });
});
