import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CancelledError, ModelError } from "#laurel/errors";
import { exportPreferences } from "#laurel/library/export-datasets";
import type { Models } from "#laurel/library/models";
import { runRefinement } from "#laurel/library/refine";
import { compareRuns, finishRun, repeatRun, startRun } from "#laurel/library/runs";
import { readPicture } from "#laurel/pipeline/inputs";
import { rankedCandidates } from "#laurel/pipeline/ranked";
import { openRun, readRun } from "#laurel/pipeline/run-store";
import { cosine, embedPictures } from "#laurel/rewards/image-embedder";
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

test("the kept may be good ones that differ, told apart by reduced pictures where nothing embeds them", async () => {
  const out = await temporaryFolder();
  const request = { ...REQUEST, count: 32, keep: 3, batch: 8 };
  const plain = await finishRun(await startRun(out, models(), request), models());
  expect(plain.manifest.kept).toEqual(plain.manifest.ranking.slice(0, 3));

  const finished = await finishRun(await startRun(out, models(), { ...request, diverse: true }), models());
  expect(finished.manifest).toMatchObject({ request: { diverse: true }, config: { diverse: true } });
  // by hand: within three quarters of a standard deviation of the three best, each time the one whose nearest is farthest
  const scores = finished.candidates.map(({ score }) => score!);
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  const deviation = Math.sqrt(scores.reduce((sum, score) => sum + (score - mean) ** 2, 0) / scores.length);
  const ranking = rankedCandidates(finished);
  const least = ranking.slice(0, 3).reduce((sum, { score }) => sum + score! / 3, 0) - 0.75 * deviation;
  const good = ranking.filter(({ score }, place) => place < 3 || score! >= least);
  expect(good.length).toBeGreaterThan(3);
  const vectors = new Map<number, Float32Array>();
  for (const { index, image } of good) {
    const picture = await readPicture(join(finished.directory, image));
    vectors.set(index, (await embedPictures([picture]))[0]!);
  }
  const kept = [good[0]!.index];
  while (kept.length < 3) {
    const likeness = (index: number): number => Math.max(...kept.map((one) => cosine(vectors.get(one)!, vectors.get(index)!))); // prettier-ignore
    const left = good.map(({ index }) => index).filter((index) => !kept.includes(index));
    kept.push(left.reduce((a, b) => (likeness(b) < likeness(a) ? b : a)));
  }
  expect(new Set(finished.manifest.kept)).toEqual(new Set(kept));
  expect(ranking.filter((one) => one.kept).map(({ index }) => index)).toEqual(finished.manifest.kept);
  expect(finished.manifest.kept).not.toEqual(plain.manifest.kept);
});

test("a run searches for prompts as its strategy, keeps where they came from, and is finished where it was stopped", async () => {
  const out = await temporaryFolder();
  const request = { ...REQUEST, prompt: "a red circle", count: 24, batch: 4, strategy: { name: "refine", vocabulary: "shapes" } as const }; // prettier-ignore
  const undisturbed = await finishRun(await startRun(out, models(), request), models());
  expect(undisturbed.candidates).toHaveLength(24);
  const found = runRefinement(undisturbed)!;
  expect(found.prompts.length).toBeGreaterThan(2);
  expect(found.prompts[0]).toMatchObject({ prompt: "a red circle", parent: null });
  const prompts = new Set(undisturbed.candidates.map(({ prompt }) => prompt));
  expect(prompts).toEqual(new Set(found.prompts.map(({ prompt }) => prompt)));
  expect(runRefinement(await readRun(undisturbed.directory))).toEqual(found);
  // whatever was drawn was scored against what was asked for, which is what datasets say
  expect(undisturbed.candidates.every(({ prompt, rewardPrompt }) => rewardPrompt === (prompt === "a red circle" ? null : "a red circle"))).toBe(true); // prettier-ignore
  const pairs = await exportPreferences([undisturbed.directory], { format: "jsonl", out: join(out, "pairs.jsonl") });
  expect(pairs.prompts).toBe(1);

  const controller = new AbortController();
  const run = await startRun(out, models(), request);
  const onProgress = ({ finished }: { finished: number }): void => {
    if (finished === 14) controller.abort();
  };
  await expect(finishRun(run, models(10), { signal: controller.signal, onProgress })).rejects.toBeInstanceOf(CancelledError); // prettier-ignore
  const resumed = await finishRun(await openRun(run.directory), models());
  expect(compareRuns(undisturbed, resumed)).toEqual({ compared: 24, different: [] });
  expect(resumed.candidates.map(({ prompt, lineage, score }) => [prompt, lineage, score])).toEqual(
    undisturbed.candidates.map(({ prompt, lineage, score }) => [prompt, lineage, score]),
  );
  expect(runRefinement(resumed)).toEqual(found);
});

test("a run draws on from its best pictures, and from the stored ones where it was stopped", async () => {
  const out = await temporaryFolder();
  const loop = (groupMs = 0): Models => ({
    ...models(),
    backend: createProceduralBackend({ groupMs, pictures: true }),
  });
  const request = { ...REQUEST, count: 12, strategy: { name: "img2img-loop", rounds: 3 } as const };
  const undisturbed = await finishRun(await startRun(out, loop(), request), loop());
  expect(Math.max(...undisturbed.candidates.map(({ lineage }) => lineage.round))).toBe(3);
  const controller = new AbortController();
  const run = await startRun(out, loop(), request);
  const onProgress = ({ finished }: { finished: number }): void => {
    if (finished === 9) controller.abort();
  };
  await expect(finishRun(run, loop(10), { signal: controller.signal, onProgress })).rejects.toBeInstanceOf(CancelledError); // prettier-ignore
  const resumed = await finishRun(await openRun(run.directory), loop());
  expect(compareRuns(undisturbed, resumed)).toEqual({ compared: undisturbed.candidates.length, different: [] });
  expect(resumed.candidates.map(({ lineage }) => lineage)).toEqual(
    undisturbed.candidates.map(({ lineage }) => lineage),
  );
});
