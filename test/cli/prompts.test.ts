/** @file The flags that say how a prompt is read. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { RunResultJson } from "#laurel/cli/result";
import type { RunManifest } from "#laurel/pipeline/manifest";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

const capabilities = { promptSyntaxes: ["plain", "a1111"], clipSkip: 4, embeddings: true } as const;

test("they reach the run; --embedding is taken as often as it is given", async () => {
  const out = await temporaryFolder();
  const files = [join(out, "star.pt"), join(out, "sun.bin")];
  for (const file of files) await writeFile(file, file);
  const embeddings = files.flatMap((file) => ["--embedding", file]);
  const flags = ["--prompt-syntax", "a1111", "--clip-skip", "2", ...embeddings, "-n", "1", "--out", out, "--json"];
  const { exitCode, stdout, stderr } = await laurel(["generate", "a (star:1.2)", ...flags], {
    backend: { capabilities },
  });
  expect([exitCode, stderr]).toEqual([0, ""]);
  const { directory, prompt } = JSON.parse(stdout) as RunResultJson;
  expect(prompt).toBe("a (star:1.2)");
  const { config } = JSON.parse(await readFile(join(directory, "run.json"), "utf8")) as RunManifest;
  expect(config).toMatchObject({ promptSyntax: "a1111", clipSkip: 2, embeddings: files, rewardPrompt: "a star" });
  expect(await readFile(join(directory, "report.html"), "utf8")).toContain("Read by the reward");
});

test.each([
  [["--prompt-syntax", "compel"], /Expected plain or a1111, got "compel"/, 2],
  [["--clip-skip", "0"], /Expected a whole number from 1 to 100, got "0"/, 2],
  [["--clip-skip", "5"], /clip skip: expected a whole number from 1 to 4, got 5/, 2],
  [["--prompt-syntax", "a1111", "--embedding", "none.pt"], /none\.pt: expected an embedding, got no such file/, 5],
])("%j is refused", async (flags, message, code) => {
  const args = ["generate", "a star", ...flags, "--out", await temporaryFolder()];
  const { exitCode, stdout, stderr } = await laurel(args, { backend: { capabilities } });
  expect([exitCode, stdout]).toEqual([code, ""]);
  expect(stderr).toMatch(message);
});
