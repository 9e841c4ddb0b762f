import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ImageBackend } from "#laurel/backends/contract";
import { HttpError } from "#laurel/backends/http/error";
import { CancelledError } from "#laurel/errors";
import { createPipelineRun, openPipelineRun } from "#laurel/pipeline/execute/pipeline-run";
import { runPipeline } from "#laurel/pipeline/execute/run-pipeline";
import { readPicture } from "#laurel/pipeline/inputs";
import { embedPictures } from "#laurel/rewards/image-embedder";
import { diverseBest } from "#laurel/strategies/diverse";
import { createProceduralBackend } from "../../backends/procedural-backend.js";
import { contentOf, MODELS, planOf, runPlan, services, temporaryFolder } from "./pipelines.js";

const cleanUp: (() => Promise<void>)[] = [];
let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder(cleanUp);
});
afterEach(async () => {
  await Promise.all(cleanUp.splice(0).map((one) => one()));
});

const BEST = `
version: 1
name: best
prompts: [one, two, three]
matrix: { steps: [2, 3] }
seed: 7
steps:
  - generate: { count: 6, batch: 4 }
  - score:
  - select: { keep: 2 }
  - export: { to: "best/\${id}" }
  - export: { to: table, format: csv }
`;

describe("a pipeline", () => {
  it("draws, scores, selects and exports every item", async () => {
    const { directory, manifest } = await runPlan(folder, await planOf(folder, BEST));
    expect(manifest).toMatchObject({ status: "complete", candidates: 36, items: { total: 6, finished: 6, failed: 0 } });
    const { candidates, items, images } = await contentOf(directory);
    expect(candidates.map(({ index }) => index)).toEqual(Array.from({ length: 36 }, (_, i) => i));
    expect(candidates.map(({ seed }) => seed)).toEqual(Array.from({ length: 36 }, (_, i) => 7 + (i % 6)));
    expect(images).toHaveLength(36);
    for (const item of items) {
      const own = candidates
        .filter((one) => one.item === item.id)
        .sort((a, b) => b.score! - a.score! || a.index - b.index);
      expect(item.selected.map(({ index }) => index)).toEqual(own.slice(0, 2).map(({ index }) => index));
      expect(item.best?.index).toBe(own[0]?.index);
      expect(await readdir(join(directory, "best", item.id))).toHaveLength(2);
    }
    const table = (await readFile(join(directory, "table", "candidates.csv"), "utf8")).trim().split("\r\n");
    expect(table).toHaveLength(1 + 12);
    expect(table[0]).toBe("item,prompt,drawn,rank,index,seed,score,image,matrix.steps");
  });

  it("gives the same results whatever runs side by side", async () => {
    const plan = await planOf(folder, BEST);
    const alone = await contentOf((await runPlan(folder, { ...plan, concurrency: 1 })).directory);
    const together = await contentOf((await runPlan(folder, { ...plan, concurrency: 6 })).directory);
    expect(together).toEqual(alone);
  });

  it("goes on after being cancelled as if nothing had happened", async () => {
    const plan = await planOf(folder, BEST);
    const undisturbed = await contentOf((await runPlan(folder, plan)).directory);
    const run = await createPipelineRun(folder, plan, MODELS);
    const controller = new AbortController();
    const running = runPipeline(
      run,
      services({
        signal: controller.signal,
        onProgress: ({ candidates }) => void (candidates >= 9 && controller.abort()),
      }),
    );
    await expect(running).rejects.toBeInstanceOf(CancelledError);
    expect(run.manifest.status).toBe("cancelled");
    await run.close();
    // what a kill may leave: a torn line, a line without its picture, a picture without its line
    const path = join(run.directory, "candidates.jsonl");
    await writeFile(path, `${await readFile(path, "utf8")}{"index": 3`);
    const again = await openPipelineRun(run.directory);
    expect(again.manifest.candidates).toBe(run.manifest.candidates);
    await runPipeline(again, services());
    await again.close();
    expect(again.manifest).toMatchObject({ status: "complete", candidates: 36, sessions: 2 });
    expect(await contentOf(run.directory)).toEqual(undisturbed);
  });

  it("stops drawing an item once enough of its pictures pass", async () => {
    const yaml = `
version: 1
prompts: [one, two]
seed: 1
steps:
  - generate: { count: 40, batch: 4, until: { score: -1000, images: 3 } }
  - score:
  - select: { keep: 3 }
`;
    const { manifest } = await runPlan(folder, await planOf(folder, yaml));
    expect(manifest).toMatchObject({ status: "complete", candidates: 8 });
  });

  it("starts from what was selected, and says so", async () => {
    const yaml = `
version: 1
prompts: [one]
seed: 1
steps:
  - generate: { count: 4 }
  - score:
  - select: { keep: 2 }
  - img2img: { count: 3, strength: 0.5 }
  - score:
  - select: { keep: 1 }
`;
    const asked: unknown[] = [];
    const backend = createProceduralBackend({
      pictures: true,
      onRequest: (request) => asked.push([request.init?.width, request.strength, request.seed]),
    });
    const { directory } = await runPlan(folder, await planOf(folder, yaml), services({ backend }));
    const { candidates, items } = await contentOf(directory);
    expect(candidates).toHaveLength(10);
    const parents = candidates.slice(4).map(({ lineage }) => lineage.parent);
    const selected = candidates
      .slice(0, 4)
      .sort((a, b) => b.score! - a.score!)
      .slice(0, 2)
      .map(({ index }) => index);
    expect(parents).toEqual([...Array<number>(3).fill(selected[0]!), ...Array<number>(3).fill(selected[1]!)]);
    expect(new Set(candidates.map(({ seed }) => seed)).size).toBe(10);
    expect(items[0]?.selected).toHaveLength(1);
    expect(asked.slice(1)).toEqual([
      [16, 0.5, 5],
      [16, 0.5, 8],
    ]);
  });

  it("records an item that the server refuses and goes on", async () => {
    const base = createProceduralBackend();
    const backend: ImageBackend = {
      ...base,
      async *generate(request, options) {
        if (request.prompt === "two")
          throw new HttpError("server: 400: not allowed", { fault: "invalid-request", status: 400 });
        yield* base.generate(request, options);
      },
    };
    const { directory, manifest } = await runPlan(folder, await planOf(folder, BEST), services({ backend }));
    expect(manifest).toMatchObject({ status: "partial", items: { total: 6, finished: 4, failed: 2 }, candidates: 24 });
    expect((await contentOf(directory)).items.filter(({ error }) => error !== null).map(({ error }) => error)).toEqual([
      "server: 400: not allowed",
      "server: 400: not allowed",
    ]);
    // resumed with a server that takes it, only what failed is done again
    const again = await openPipelineRun(directory);
    await runPipeline(again, services());
    await again.close();
    expect(again.manifest).toMatchObject({ status: "complete", candidates: 36, items: { finished: 6, failed: 0 } });
    expect(await contentOf(directory)).toEqual(await contentOf((await runPlan(folder, again.plan)).directory));
  });

  it.each([
    ["a dead server", new HttpError("server: connection refused", { fault: "unavailable" })],
    ["a full disk", Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" })],
  ])("pauses at %s and loses nothing", async (_, fault) => {
    let drawn = 0;
    const base = createProceduralBackend();
    const backend: ImageBackend = {
      ...base,
      async *generate(request, options) {
        if (++drawn > 3) throw fault;
        yield* base.generate(request, options);
      },
    };
    const plan = await planOf(folder, BEST);
    const run = await createPipelineRun(folder, plan, MODELS);
    await expect(runPipeline(run, services({ backend }))).rejects.toBe(fault);
    await run.close();
    expect(run.manifest).toMatchObject({ status: "paused", error: fault.message });
    const again = await openPipelineRun(run.directory);
    await runPipeline(again, services());
    await again.close();
    expect(await contentOf(run.directory)).toEqual(await contentOf((await runPlan(folder, plan)).directory));
  });

  it("begins no item once the budget is spent", async () => {
    const { manifest } = await runPlan(
      folder,
      await planOf(folder, `${BEST}\nbudget: { candidates: 10 }\nconcurrency: { items: 1 }`),
    );
    expect(manifest.status).toBe("stopped");
    expect(manifest.candidates).toBeGreaterThanOrEqual(10);
    expect(manifest.candidates).toBeLessThan(36);
  });

  it("selects the best of the whole run", async () => {
    const yaml = `
version: 1
prompts: [one, two, three]
seed: 1
steps:
  - generate: { count: 4 }
  - score:
  - select: { keep: 5, per: run }
  - export: { to: best }
`;
    const { directory } = await runPlan(folder, await planOf(folder, yaml));
    const best = [...(await contentOf(directory)).candidates]
      .sort((a, b) => b.score! - a.score! || a.index - b.index)
      .slice(0, 5);
    const exported = await readdir(join(directory, "best"));
    expect(exported.map((name) => name.split("-").at(-1))).toHaveLength(5);
    for (const { item, seed } of best)
      expect(exported.some((name) => name.startsWith(`${item}-`) && name.endsWith(`-${seed}.png`))).toBe(true);
  });

  it("selects what differs among the good ones of an item", async () => {
    const yaml = (diverse: boolean): string => `
version: 1
prompts: [one, two, three]
seed: 1
steps:
  - generate: { count: 32 }
  - score:
  - select: { keep: 3, diverse: ${diverse} }
`;
    const { directory, plan } = await runPlan(folder, await planOf(folder, yaml(true)));
    const { items, candidates } = await contentOf(directory);
    const plain = await contentOf((await runPlan(folder, await planOf(folder, yaml(false)))).directory);
    for (const [i, { index, selected }] of items.entries()) {
      const own = candidates.filter((one) => Math.floor(one.index / plan.candidatesPerItem) === index);
      const expected = await diverseBest(own, 3, async (good) =>
        embedPictures(await Promise.all(good.map(({ image }) => readPicture(join(directory, image))))),
      );
      expect(selected.map((one) => one.index)).toEqual(expected.map((one) => one.index));
      expect(selected[0]).toEqual(plain.items[i]!.selected[0]);
    }
    expect(items.map(({ selected }) => selected)).not.toEqual(plain.items.map(({ selected }) => selected));
  });

  it("is worked on by one process at a time", async () => {
    const run = await createPipelineRun(folder, await planOf(folder, BEST), MODELS);
    await expect(openPipelineRun(run.directory)).rejects.toThrow(/no process works on/);
    await run.close();
  });
});
