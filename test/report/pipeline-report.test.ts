import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ImageBackend } from "#laurel/backends/contract";
import { HttpError } from "#laurel/backends/http/error";
import { decodeRgb } from "#laurel/image/decode";
import type { ItemLine, PipelineManifest } from "#laurel/pipeline/execute/manifest";
import { pipelinePage } from "#laurel/report/pipeline-page";
import { writePipelineReport } from "#laurel/report/pipeline-report";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { contentOf, planOf, runPlan, services, temporaryFolder } from "../pipeline/execute/pipelines.js";

const cleanUp: (() => Promise<void>)[] = [];
let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder(cleanUp);
});
afterEach(async () => {
  await Promise.all(cleanUp.splice(0).map((one) => one()));
});

const SWEEP = `
version: 1
name: "<sweep>"
prompts: [{ id: a, prompt: "<b>one</b>" }, { id: b, prompt: two }, { id: c, prompt: refused }]
matrix: { steps: [2, 3], style: ["", " in oil"] }
template: "\${prompt}\${matrix.style}"
seed: 7
steps:
  - generate: { count: 5 }
  - score:
  - select: { keep: 2 }
`;

test("the page shows what was selected, compares the cells and names what failed", async () => {
  const base = createProceduralBackend();
  const backend: ImageBackend = {
    ...base,
    async *generate(request, options) {
      if (request.prompt.startsWith("refused"))
        throw new HttpError("server: 400: <not allowed>", { fault: "invalid-request", status: 400 });
      yield* base.generate(request, options);
    },
  };
  const { directory, manifest, plan } = await runPlan(folder, await planOf(folder, SWEEP), services({ backend }));
  const { report, grid } = await writePipelineReport(directory, manifest, plan);
  const page = await readFile(report, "utf8");
  const { items, candidates } = await contentOf(directory);
  const done = items.filter(({ error }) => error === null);

  // every selected picture by its place in the run's folder, the best of all twice; nothing from anywhere else
  const sources = [...page.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, source]) => source);
  const best = done.map((line) => line.best!).sort((a, b) => b.score! - a.score!)[0]!;
  expect(sources).toEqual([best.image, ...done.flatMap(({ selected }) => selected.map(({ image }) => image))]);
  for (const source of sources) expect(await readFile(join(directory, source ?? ""))).toBeDefined();
  expect(page).not.toMatch(/https?:|<script|<b>one|<not allowed|<sweep/);

  const rows = [...page.matchAll(/<tr(?: class="first")?><td>(.*?)<\/td><\/tr>/g)].map(([, cells = ""]) =>
    cells.split("</td><td>"),
  );
  const mean = (scores: readonly number[]): number => scores.reduce((sum, one) => sum + one, 0) / scores.length;
  const expected = [2, 3].flatMap((steps) =>
    ["", " in oil"].map((style) => {
      const own = done.filter(({ cell }) => cell["steps"] === steps && cell["style"] === style);
      const scores = candidates.filter(({ item }) => own.some(({ id }) => id === item)).map(({ score }) => score!);
      const bests = own.map((line) => line.best!.score!);
      const shown = [mean(scores), mean(bests), Math.max(...bests)].map((score) => score.toFixed(3));
      return [String(steps), style === "" ? "(empty)" : style, "2", "10", ...shown];
    }),
  );
  expect(rows).toEqual(expected.sort((a, b) => Number(b[5]) - Number(a[5])));

  expect(page).toContain("<strong>4 items failed</strong>");
  expect(page).toContain("server: 400: &#60;not allowed&#62;");
  expect(await decodeRgb(await readFile(grid ?? ""), "grid.png")).toMatchObject({
    height: expect.any(Number) as number,
  });
});

test("a run of which nothing is finished has a page without pictures", async () => {
  const plan = await planOf(folder, SWEEP);
  const { directory, manifest } = await runPlan(folder, { ...plan, budget: { seconds: 1e-9 } });
  const { report, grid } = await writePipelineReport(directory, manifest, plan);
  expect(manifest.status).toBe("stopped");
  expect(grid).toBeUndefined();
  expect(await readFile(report, "utf8")).toMatch(/stopped, 0 of 12/);
});

test("the page of many items says how many it leaves out", async () => {
  const plan = await planOf(folder, SWEEP);
  const { manifest, directory } = await runPlan(folder, plan);
  const [line] = (await contentOf(directory)).items as [ItemLine];
  const many: PipelineManifest = { ...manifest, items: { total: 10_000, finished: 10_000, failed: 0 } };
  const content = { plan, failed: [], best: line, meanBest: 0, cells: [], cellCount: 0, width: 16 };
  const page = pipelinePage({ ...content, manifest: many, items: Array.from({ length: 200 }, () => line) });
  expect(page).toContain("9800 more items are not shown; all are in <code>items.jsonl</code>.");
  expect(page.length).toBeLessThan(1_000_000);
});

test("the page says what the best score means, where the reward's scores can be compared", async () => {
  const { directory, manifest, plan } = await runPlan(folder, await planOf(folder, SWEEP), services({}));
  const pageOf = async (run: PipelineManifest): Promise<string> =>
    readFile((await writePipelineReport(directory, run, plan)).report, "utf8");
  expect(await pageOf(manifest)).not.toContain("better than");
  const { models } = manifest;
  const reward = { ...models.reward, name: "image-reward", path: "/models/ImageReward.pt" };
  expect(await pageOf({ ...manifest, models: { ...models, reward } })).toMatch(
    /The best candidate is better than (over |under )?\d+ % of the pictures Stable Diffusion 1\.4 draws/,
  );
});
