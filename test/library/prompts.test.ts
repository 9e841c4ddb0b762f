/** @file Prompt syntax, clip skip and embeddings in runs: what is recorded, what the reward reads, what is noticed when a run goes on. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ModelError, UsageError } from "#laurel/errors";
import type { Models } from "#laurel/library/models";
import { finishRun, repeatRun, startRun } from "#laurel/library/runs";
import { openRun, readRun } from "#laurel/pipeline/run-store";
import { sha256 } from "#laurel/util/files";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { temporaryFolder } from "../pipeline/runs.js";

const REQUEST = { prompt: "a (red:1.3) circle BREAK\n[a star]", count: 2, keep: 1, seed: 70, steps: 1 };

/** Models that know the syntax, and the prompts that came to the backend and to the reward. */
function models(): Models & { readonly drawn: string[]; readonly scored: string[] } {
  const drawn: string[] = [];
  const scored: string[] = [];
  const backend = createProceduralBackend({
    capabilities: { promptSyntaxes: ["plain", "a1111"], clipSkip: 4, embeddings: true },
    onRequest: ({ prompt }) => drawn.push(prompt),
  });
  const brightness = createBrightnessReward();
  const reward: Models["reward"] = {
    ...brightness,
    score: (prompt, images, options) => {
      scored.push(prompt);
      return brightness.score(prompt, images, options);
    },
  };
  return { backend, reward, drawn, scored };
}

test("the picture is drawn from the prompt as written; the reward reads what it says, and the run has both", async () => {
  const used = models();
  const run = await startRun(await temporaryFolder(), used, { ...REQUEST, promptSyntax: "a1111", clipSkip: 2 });
  const { manifest, candidates } = await finishRun(run, used);
  expect(new Set(used.drawn)).toEqual(new Set([REQUEST.prompt]));
  expect(new Set(used.scored)).toEqual(new Set(["a red circle a star"]));
  const said = { prompt: REQUEST.prompt, promptSyntax: "a1111", clipSkip: 2, embeddings: [] };
  expect(manifest.request).toMatchObject(said);
  expect(manifest.config).toMatchObject({ ...said, rewardPrompt: "a red circle a star" });
  expect(candidates[0]).toMatchObject({
    prompt: REQUEST.prompt,
    settings: { promptSyntax: "a1111", clipSkip: 2 },
    rewardPrompt: "a red circle a star",
  });
});

test("a plain prompt is drawn and scored as it stands", async () => {
  const used = models();
  const { manifest, candidates } = await finishRun(await startRun(await temporaryFolder(), used, REQUEST), used);
  expect([...new Set(used.scored)]).toEqual([REQUEST.prompt]);
  expect(manifest.config).toMatchObject({ promptSyntax: "plain", clipSkip: null, rewardPrompt: null });
  expect(candidates[0]).toMatchObject({ settings: { promptSyntax: "plain" }, rewardPrompt: null, embeddings: [] });
});

test("a backend that cannot is told of in warnings, and the reward reads the prompt it drew", async () => {
  const used = models();
  const plain: Models = { ...used, backend: createProceduralBackend() };
  const run = await startRun(await temporaryFolder(), plain, {
    ...REQUEST,
    promptSyntax: "a1111",
    clipSkip: 2,
    embeddings: ["star.pt"],
  });
  const { manifest } = await finishRun(run, plain);
  expect(manifest.warnings).toEqual([
    "procedural: the prompt syntax is not supported and was left out, got a1111",
    "procedural: clip skip is not supported and was left out, got 2",
    "procedural: an embedding is not supported and was left out, got star.pt",
  ]);
  expect(manifest.config).toMatchObject({ promptSyntax: "plain", clipSkip: null, embeddings: [] });
  expect([...new Set(used.scored)]).toEqual([REQUEST.prompt]);
});

test("nothing but syntax is no prompt", async () => {
  const start = startRun(await temporaryFolder(), models(), {
    ...REQUEST,
    prompt: "(BREAK:1.2)",
    promptSyntax: "a1111",
  });
  await expect(start).rejects.toThrow(
    new UsageError('prompt: expected some text, got nothing but syntax: "(BREAK:1.2)"'),
  );
});

test("embeddings are recorded with their digests, and one that changed since is noticed", async () => {
  const out = await temporaryFolder();
  const path = join(out, "star.pt");
  await writeFile(path, "before");
  const asked = { ...REQUEST, promptSyntax: "a1111", embeddings: [path] } as const;
  const run = await startRun(out, models(), asked);
  const record = { path, sha256: sha256("before") };
  expect(run.manifest.embeddings).toEqual([record]);
  const finished = await finishRun(run, models());
  expect(finished.candidates[0]?.embeddings).toEqual([{ name: "star", sha256: record.sha256 }]);
  const repeated = await finishRun(await repeatRun(out, finished, models()), models());
  expect(repeated.manifest.embeddings).toEqual([record]);

  await writeFile(path, "after");
  const fault = /expected the embedding of the run, .*star\.pt \(\w{12}\), got another \(\w{12}\)$/;
  await expect(repeatRun(out, finished, models())).rejects.toThrow(fault);
  await expect(finishRun(await openRun(run.directory), models())).rejects.toBeInstanceOf(ModelError);
  await expect(startRun(out, models(), { ...asked, embeddings: [join(out, "none.pt")] })).rejects.toThrow(
    "none.pt: expected an embedding, got no such file",
  );
});

test("a run.json from before these settings still reads", async () => {
  const used = models();
  const run = await finishRun(await startRun(await temporaryFolder(), used, REQUEST), used);
  const path = join(run.directory, "run.json");
  const since = new Set(["promptSyntax", "clipSkip", "embeddings", "rewardPrompt"]);
  const json = JSON.parse(await readFile(path, "utf8"), (key, value: unknown) =>
    since.has(key) ? undefined : value,
  ) as object;
  expect(Object.keys(json)).not.toContain("embeddings");
  await writeFile(path, JSON.stringify(json));
  expect((await readRun(run.directory)).manifest).toEqual(run.manifest);
});
