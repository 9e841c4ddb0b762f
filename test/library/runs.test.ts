import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CancelledError, ModelError } from "#laurel/errors";
import type { Models } from "#laurel/library/models";
import { compareRuns, finishRun, repeatRun, startRun } from "#laurel/library/runs";
import { rankedCandidates } from "#laurel/pipeline/ranked";
import { openRun, readRun } from "#laurel/pipeline/run-store";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { temporaryFolder } from "../pipeline/runs.js";

const REQUEST = { prompt: "a few rectangles", count: 6, keep: 2, seed: 70, batch: 2 };

function models(groupMs = 0): Models {
  return { backend: createProceduralBackend({ groupMs }), reward: createBrightnessReward() };
}

test("a run is written from start to end, and reads back as it was returned", async () => {
  const run = await startRun(await temporaryFolder(), models(), { ...REQUEST, guidance: 2 });
  const { report, ...finished } = await finishRun(run, models());
  expect(finished.manifest).toMatchObject({
    status: "complete",
    request: { seed: 70, guidance: 2, steps: null, keep: 2, model: null },
    config: { seed: 70, guidance: null, steps: 4, keep: 2, batch: 2 },
    models: { backend: { name: "procedural", model: "rectangles", path: null, digest: null } },
    warnings: ["procedural: guidance is not supported and was left out, got 2"],
  });
  expect(await readRun(finished.directory)).toEqual(finished);
  expect(await readFile(report, "utf8")).toContain("a few rectangles");
  expect(rankedCandidates(finished).map(({ kept }) => kept)).toEqual([true, true, false, false, false, false]);
});

test("keep is at most the count", async () => {
  const out = await temporaryFolder();
  for (const keep of [7, 0, 1.5]) {
    await expect(startRun(out, models(), { ...REQUEST, keep })).rejects.toThrow(
      `keep: expected a whole number from 1 to the 6 candidates, got ${keep}`,
    );
  }
});

test("a cancelled run is finished by another process as if nothing had happened", async () => {
  const out = await temporaryFolder();
  const undisturbed = await finishRun(await startRun(out, models(), REQUEST), models());
  const controller = new AbortController();
  const run = await startRun(out, models(), REQUEST);
  const onProgress = ({ finished }: { finished: number }): void => {
    if (finished === 2) controller.abort();
  };
  const cancelled = finishRun(run, models(20), { signal: controller.signal, onProgress });
  await expect(cancelled).rejects.toBeInstanceOf(CancelledError);
  const resumed = await finishRun(await openRun(run.directory), models());
  expect(resumed.manifest).toMatchObject({ status: "complete", sessions: 2 });
  expect(compareRuns(undisturbed, resumed)).toEqual({ compared: 6, different: [] });
});

test("a run is repeated with its own settings; a difference is found", async () => {
  const out = await temporaryFolder();
  const old = await finishRun(await startRun(out, models(), { prompt: "x", count: 3 }), models());
  const again = await finishRun(await repeatRun(out, old, models()), models());
  expect(again.manifest.config).toEqual(old.manifest.config);
  expect(compareRuns(old, again)).toEqual({ compared: 3, different: [] });
  const other = { ...models(), reward: createBrightnessReward((score) => score + 1) };
  const different = await finishRun(await repeatRun(out, old, other), other);
  expect(compareRuns(old, different)).toEqual({ compared: 3, different: [0, 1, 2] });
});

test("a run is not finished or repeated with other weights", async () => {
  const out = await temporaryFolder();
  const weights = join(out, "rectangles.weights");
  await writeFile(weights, "before");
  const open = (): Models => ({ ...models(), backend: createProceduralBackend({ weights }) });
  const run = await startRun(out, open(), REQUEST);
  expect(run.manifest.config.model).toBe(weights);
  await writeFile(weights, "after");
  const fault =
    /expected the generator of the run, procedural rectangles \(\w{12}\), got procedural rectangles \(\w{12}\)/;
  await expect(finishRun(run, open())).rejects.toThrow(fault);
  await expect(repeatRun(out, run.snapshot(), open())).rejects.toBeInstanceOf(ModelError);
});
