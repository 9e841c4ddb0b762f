/** @file search.jsonl: kept by a run, read back, made anew when the run is taken up. */

import { appendFile, mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CancelledError } from "#laurel/errors";
import { generateRun } from "#laurel/pipeline/generate-run";
import { createRun, openRun, RUN_FILES } from "#laurel/pipeline/run-store";
import { readPlan, readSearch } from "#laurel/pipeline/search-trace";
import { bestOfN } from "#laurel/strategies/best-of-n";
import type { SearchEvent, Strategy } from "#laurel/strategies/contract";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { newRun, temporaryFolder } from "./runs.js";

const PLAN = {
  steps: 4,
  begun: 9,
  cuts: [{ step: 2, keep: 0.5 }],
  previews: { observed: 3, fidelity: [{ step: 2, rankCorrelation: 0.5, regret: 0.25 }] },
};
/** Every kind of event. */
const EVENTS: readonly SearchEvent[] = [
  { type: "look", index: 0, step: 2, score: -0.1 / 3 },
  { type: "look", index: 1, step: 2, score: null },
  { type: "plan", ...PLAN },
  { type: "pruned", index: 1, step: 2, reason: "its preview\nwas no number" },
  { type: "parted", index: 1, from: 0, step: 2 },
];

/** Draws best of n and tells events in between, from the start each time; the signal may abort before the last of them. */
function telling(abort?: AbortController): Strategy {
  return {
    name: "telling",
    async *run(context) {
      yield* EVENTS.slice(0, 3);
      for await (const event of bestOfN.run(context)) {
        if (event.type === "done") {
          abort?.abort();
          yield* EVENTS.slice(3);
        }
        yield event;
      }
    },
  };
}

const models = () => ({ backend: createProceduralBackend(), reward: createBrightnessReward() });
const textOf = (directory: string): Promise<string> => readFile(join(directory, RUN_FILES.search), "utf8");

test("what a search tells is read back as it was told, without torn and foreign lines", async () => {
  const run = await createRun(await temporaryFolder(), newRun({ count: 2 }));
  await generateRun(run, { ...models(), strategy: telling() });
  await run.close();
  expect(await readSearch(run.directory)).toEqual(EVENTS);
  expect(await readPlan(run.directory)).toEqual(PLAN);
  const whole = await textOf(run.directory);
  expect(whole).toBe(EVENTS.map((event) => `${JSON.stringify(event)}\n`).join(""));
  await appendFile(join(run.directory, RUN_FILES.search), 'no json\n{"type":"look","index":-1,"step":2,"score":0}\n{"type":"look","index":7,"st'); // prettier-ignore
  expect(await readSearch(run.directory)).toEqual(EVENTS);
});

test("a run that is cancelled, torn and taken up has the file of an undisturbed one", async () => {
  const abort = new AbortController();
  const run = await createRun(await temporaryFolder(), newRun({ count: 2 }));
  const strategy = telling(abort);
  await expect(generateRun(run, { ...models(), strategy, signal: abort.signal })).rejects.toThrow(CancelledError);
  await run.close();
  const before = await readSearch(run.directory);
  expect(before).toEqual(EVENTS.slice(0, before.length));
  expect(before.length).toBeGreaterThanOrEqual(3);
  await appendFile(join(run.directory, RUN_FILES.search), '{"type":"look","ind');
  const again = await openRun(run.directory);
  await generateRun(again, { ...models(), strategy: telling() });
  await again.close();
  expect(await readSearch(run.directory)).toEqual(EVENTS);
  expect(await textOf(run.directory)).toBe(EVENTS.map((event) => `${JSON.stringify(event)}\n`).join(""));
});

test("a run whose strategy tells nothing of the kind has no file; one that had it before has it no more", async () => {
  const run = await createRun(await temporaryFolder(), newRun({ count: 2 }));
  await appendFile(join(run.directory, RUN_FILES.search), `${JSON.stringify(EVENTS[0])}\n`);
  await generateRun(run, { ...models(), strategy: bestOfN });
  await run.close();
  expect(await readdir(run.directory)).not.toContain(RUN_FILES.search);
  expect(await readSearch(run.directory)).toEqual([]);
  expect(await readPlan(run.directory)).toBeUndefined();
});

test("a folder in its place is refused in a line", async () => {
  const run = await createRun(await temporaryFolder(), newRun({ count: 2 }));
  await mkdir(join(run.directory, RUN_FILES.search));
  await expect(generateRun(run, { ...models(), strategy: telling() })).rejects.toThrow("search.jsonl: expected a file of the run, got"); // prettier-ignore
  expect(run.manifest.status).toBe("failed");
  await run.close();
});
