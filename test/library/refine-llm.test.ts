import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ImageBackend } from "#laurel/backends/contract";
import { finishPipeline, startPipeline } from "#laurel/library/pipelines";
import { readRefinement } from "#laurel/library/refine";
import type { PipelineManifest } from "#laurel/pipeline/execute/manifest";
import { openPipelineRun } from "#laurel/pipeline/execute/pipeline-run";
import { truncationWarning } from "#laurel/prompts/truncation";
import type { Reward } from "#laurel/rewards/contract";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { type ChatBehaviour, startChat } from "../backends/servers/chat-server.js";
import { contentOf, planOf, temporaryFolder } from "../pipeline/execute/pipelines.js";

const ORIGINAL = "a red circle";
const cleanUp: (() => Promise<void>)[] = [];
let folder = "";
beforeEach(async () => {
  folder = await temporaryFolder(cleanUp);
});
afterEach(async () => {
  for (const one of cleanUp.splice(0)) await one();
});

/** Paints brighter what is asked for as bright, and darker what is asked for as dark. */
function paintingBackend(): ImageBackend {
  const backend = createProceduralBackend();
  return {
    ...backend,
    async *generate(request, options) {
      const shift = request.prompt.includes("bright") ? 90 : request.prompt.includes("dark") ? -90 : 0;
      for await (const { images, warnings } of backend.generate(request, options)) {
        const shifted = images.map(({ image, ...rest }) => {
          const data = image.data.map((value) => Math.min(255, Math.max(0, value + shift)));
          return { ...rest, image: { ...image, data } };
        });
        yield { images: shifted, warnings };
      }
    },
  };
}

/** The brighter the better; it reads 40 characters of a prompt. */
function shortSightedReward(): Reward {
  const reward = createBrightnessReward();
  return {
    ...reward,
    async score(prompt, images, options) {
      const { scores } = await reward.score(prompt, images, options);
      const lost = prompt.slice(40);
      return { scores, warnings: lost === "" ? [] : [truncationWarning("reward: the prompt is long", lost)] };
    },
  };
}

type Server = Awaited<ReturnType<typeof startChat>>;

async function serve(answer: ChatBehaviour["answer"], behaviour: Partial<ChatBehaviour> = {}): Promise<Server> {
  const server = await startChat({ answer, ...behaviour });
  cleanUp.push(() => server.close());
  return server;
}

function answer(...prompts: string[]): string {
  return JSON.stringify({ prompts: prompts.map((prompt) => ({ prompt, edit: `says ${prompt}` })) });
}

async function start(url: string, more = ""): Promise<string> {
  await writeFile(
    join(folder, "model.yaml"),
    `chat: openai-compatible\nurl: ${url}/v1\nmodel: tiny\nretries: 0\nkey: { env: LAUREL_NO_SUCH_KEY }\n`,
  );
  const plan = await planOf(
    folder,
    `version: 1\nseed: 7\nprompts: [${ORIGINAL}]\nsteps:\n  - refine: { refiner: llm, chat: model.yaml, budget: 48${more} }\n`,
  );
  const run = await startPipeline(folder, plan, { backend: paintingBackend(), reward: shortSightedReward() });
  await run.close();
  return run.directory;
}

async function finish(directory: string, signal?: AbortSignal, onProgress?: () => void): Promise<PipelineManifest> {
  const run = await openPipelineRun(directory);
  return finishPipeline(run, { backend: paintingBackend(), reward: shortSightedReward() }, { signal, onProgress });
}

async function found(directory: string): ReturnType<typeof readRefinement> {
  const run = await openPipelineRun(directory);
  await run.close();
  return readRefinement(directory, run.plan);
}

interface ProposalLine {
  readonly item: number;
  readonly step: number;
  readonly round: number;
  readonly tokens: number;
  readonly proposals: readonly unknown[];
}

async function proposalsOf(directory: string): Promise<ProposalLine[]> {
  const text = await readFile(join(directory, "proposals.jsonl"), "utf8");
  return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as ProposalLine]));
}

/** Proposes something else in every round, one of them good. */
const mixed: ChatBehaviour["answer"] = (_, n) =>
  answer(`a dark red circle ${n}`, `a bright red circle ${n}`, `a red disc ${n}`, `dark ${n}`);

describe("refining with a language model", () => {
  it("finds the better prompt, and says what it gained", async () => {
    const server = await serve(mixed);
    const directory = await start(server.url);
    const { status, warnings } = await finish(directory);
    expect(status).toBe("complete");
    expect(warnings).toEqual([]);
    const { winner, confirmed, prompts, best, baseline } = await found(directory);
    expect(winner).toMatch(/^a bright red circle \d$/);
    expect(confirmed?.low).toBeGreaterThan(0);
    expect(best?.score).toBeGreaterThan(baseline?.score ?? Infinity);
    expect(prompts.find(({ prompt }) => prompt === winner)).toMatchObject({
      parent: ORIGINAL,
      edit: `says ${winner}`,
    });
    // the history it is shown later holds what was drawn before, the best first
    const shown = JSON.parse(server.asked[1]?.messages[1]?.content ?? "") as { tried: { prompt: string }[] };
    expect(shown.tried[0]?.prompt).toBe("a bright red circle 0");
    expect(shown.tried.map(({ prompt }) => prompt)).toContain(ORIGINAL);
    const recorded = await proposalsOf(directory);
    expect(recorded.map(({ item, step, round }) => [item, step, round])).toEqual(server.asked.map((_, n) => [0, 0, n]));
    expect(recorded[0]?.tokens).toBe(150);
  });

  it("keeps the original prompt when all others are worse, and says so", async () => {
    const server = await serve((_, n) => answer(`dark ${n}`, `darker ${n}`, `a dark circle ${n}`));
    const directory = await start(server.url);
    const { warnings } = await finish(directory);
    expect((await found(directory)).winner).toBe(ORIGINAL);
    expect(warnings).toEqual([expect.stringMatching(/nothing beats the original prompt, which is kept/)]);
  });

  it("goes on after a kill as if nothing had happened, whatever the model would say now", async () => {
    const server = await serve(mixed);
    const undisturbed = await start(server.url);
    await finish(undisturbed);
    const expected = await contentOf(undisturbed);
    const line = ({ index, prompt, seed, score, sha256 }: (typeof expected.candidates)[number]): unknown[] => [
      index,
      prompt,
      seed,
      score,
      sha256,
    ];
    for (const most of [1, 9, 20, 33]) {
      let candidates = 0;
      const other = await serve(mixed);
      const killed = await start(other.url);
      const stop = new AbortController();
      const tick = (): void => {
        if (++candidates > most) stop.abort();
      };
      await expect(finish(killed, stop.signal, tick)).rejects.toMatchObject({ name: "CancelledError" });
      // half of a line, as a kill leaves it
      await appendFile(join(killed, "proposals.jsonl"), '{"schemaVersion":1,"item":0,"ro');
      await finish(killed);
      const { candidates: all } = await contentOf(killed);
      expect(all.map(line)).toEqual(expected.candidates.map(line));
      expect(await proposalsOf(killed)).toEqual(await proposalsOf(undisturbed));
      expect(other.asked).toHaveLength(server.asked.length);
    }
  });

  it("leaves out prompts that the reward would not read whole, before they are drawn", async () => {
    const long = `a bright red circle ${"on a very wide white plain ".repeat(3)}`.trim();
    const server = await serve((_, n) => answer(long, `a bright circle ${n}`));
    const directory = await start(server.url);
    const { warnings } = await finish(directory);
    expect(warnings).toEqual([
      expect.stringMatching(/^refiner llm: a proposed prompt was left out: reward: .*; not read: /),
    ]);
    expect((await found(directory)).prompts.map(({ prompt }) => prompt)).not.toContain(long);
  });

  it("ends proposing at the tokens of the step, and the search goes on", async () => {
    const server = await serve(mixed, { usage: { prompt_tokens: 900, completion_tokens: 100 } });
    const directory = await start(server.url, ", tokens: 1500");
    const { status, warnings } = await finish(directory);
    expect([status, server.asked.length]).toEqual(["complete", 1]);
    expect(warnings).toEqual([
      expect.stringMatching(/too little is left of its budget of 1500 tokens; the search goes on/),
    ]);
    expect((await found(directory)).winner).toBe("a bright red circle 0");
  });
});

describe("a language model that fails", () => {
  it("pauses the run when nothing was proposed yet; resumed, it is whole", async () => {
    const server = await serve(mixed);
    const directory = await start(server.url);
    server.fail([{ kind: "status", status: 401, body: '{"error":{"message":"no key"}}' }]);
    await expect(finish(directory)).rejects.toMatchObject({ fault: "unauthorised", exitCode: 3 });
    const run = await openPipelineRun(directory);
    await run.close();
    expect(run.manifest).toMatchObject({ status: "paused", error: expect.stringMatching(/401: no key/) });
    expect((await finish(directory)).status).toBe("complete");
    expect((await found(directory)).winner).toMatch(/bright/);
  });

  it("is done without once something was proposed", async () => {
    const server: Server = await serve((request, n) => {
      server.fail(Array.from({ length: 20 }, () => ({ kind: "drop" }) as const));
      return mixed(request, n);
    });
    const directory = await start(server.url);
    const { status, warnings } = await finish(directory);
    expect(status).toBe("complete");
    expect(
      warnings.every((message) => /connection closed.*; the search goes on with the prompts it has/.test(message)),
    ).toBe(true);
    expect(warnings.length).toBeGreaterThan(0);
    expect((await found(directory)).winner).toBe("a bright red circle 0");
  });

  it.each([
    ["refiner: llm", /pipeline.yaml:5:.*steps.0.refine.refiner: expected chat beside it/],
    ["chat: ollama", /steps.0.refine.chat: expected it beside refiner: llm, got evolve/],
    ["tokens: 100", /steps.0.refine.tokens: expected it beside refiner: llm, got evolve/],
    ["refiner: llm, chat: olama", /pipeline.yaml:5:\d+: steps.0.refine.chat: chat: expected .*; did you mean ollama\?/],
    ["refiner: llm, chat: none.yaml", /none.yaml: expected a YAML file, got no such file/],
  ])("is refused before anything runs: %s", async (step, message) => {
    const yaml = `version: 1\nseed: 7\nprompts: [x]\nsteps:\n  - refine: { ${step} }\n`;
    await expect(planOf(folder, yaml)).rejects.toThrow(message);
  });
});
