import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { startChat } from "../backends/servers/chat-server.js";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

const started: { close(): Promise<void> }[] = [];
afterEach(async () => {
  delete process.env["LAUREL_TEST_CHAT_KEY"];
  await Promise.all(started.splice(0).map((one) => one.close()));
});

async function configured(answer: string): Promise<{ config: string; out: string }> {
  const server = await startChat({ answer: () => answer, key: "battery-of-horses" });
  started.push(server);
  process.env["LAUREL_TEST_CHAT_KEY"] = "battery-of-horses";
  const config = join(await temporaryFolder(), "model.yaml");
  const key = "key: { env: LAUREL_TEST_CHAT_KEY }";
  await writeFile(config, `chat: openai-compatible\nurl: ${server.url}/v1\nretries: 0\n${key}\n`);
  return { config, out: await temporaryFolder() };
}

it("lets a language model propose prompts, and shows them without what a terminal would act on", async () => {
  const { config, out } = await configured(
    JSON.stringify({
      prompts: [
        { prompt: "a red\u009bdisc", edit: "x" },
        { prompt: "a red ring", edit: "\u001b[2Jshorter" },
      ],
    }),
  );
  const args = ["refine", "a red circle", "--refiner", "llm", "--chat", config, "--seed", "7", "--budget", "24"];
  const table = await laurel([...args, "--out", out], { tty: true });
  expect(table.exitCode).toBe(0);
  expect(table.stdout).toMatch(/a red ring +\[2Jshorter/);
  expect(table.stdout + table.stderr).not.toMatch(/\u001b\[2J|\u009b/);
  const { exitCode, stdout } = await laurel([...args, "--out", out, "--json"]);
  expect(exitCode).toBe(0);
  expect(stdout).not.toContain("battery");
  const found = JSON.parse(stdout) as { prompts: { prompt: string; edit: string | null }[]; warnings: string[] };
  expect(found.prompts.map(({ prompt, edit }) => [prompt, edit])).toEqual([
    ["a red circle", null],
    ["a red ring", "[2Jshorter"],
  ]);
  expect(found.warnings).toContain("refiner llm: a proposed prompt was left out: it holds control characters");
});

it("leaves a run to resume when the model answers nothing usable", async () => {
  const { config, out } = await configured("I would rather not.");
  const { exitCode, stderr } = await laurel([
    "refine",
    "a red circle",
    "--refiner",
    "llm",
    "--chat",
    config,
    "--out",
    out,
  ]);
  expect(exitCode).toBe(3);
  expect(stderr).toMatch(/laurel resume/);
  expect(stderr).toMatch(/expected proposed prompts, got an answer that was no JSON/);
});

it.each([
  [["--refiner", "llm"], /--chat: expected a language model for --refiner llm, got none/],
  [["--chat", "ollama"], /--chat: expected together with --refiner llm, got evolve/],
  [["--tokens", "100"], /--tokens: expected together with --refiner llm, got evolve/],
  [
    ["--refiner", "llm", "--chat", "ollama", "--vocabulary", "general"],
    /--vocabulary: expected together with --refiner evolve/,
  ],
  [["--refiner", "llm", "--chat", "olama"], /did you mean ollama\?/],
  [["--refiner", "llm", "--chat", "ollama", "--tokens", "0"], /--tokens/],
])("refuses %j", async (flags, message) => {
  const { exitCode, stderr } = await laurel(["refine", "a red circle", ...flags]);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(message);
});
