import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { decodeRgb } from "#laurel/image/decode";
import { encodePng } from "#laurel/image/png";
import { generateRun } from "#laurel/pipeline/generate-run";
import type { RunConfig } from "#laurel/pipeline/manifest";
import { createRun, type RunSnapshot } from "#laurel/pipeline/run-store";
import { distributionChart } from "#laurel/report/distribution";
import { escapeHtml, html } from "#laurel/report/html";
import { writeReport } from "#laurel/report/report";
import { bestOfN } from "#laurel/strategies/best-of-n";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { newRun, temporaryFolder } from "../pipeline/runs.js";

async function finished(change: Partial<RunConfig> = {}, warnings: string[] = []): Promise<RunSnapshot> {
  const run = await createRun(await temporaryFolder(), { ...newRun(change), warnings });
  await generateRun(run, {
    backend: createProceduralBackend(),
    reward: createBrightnessReward((score) => (score < -0.5 ? Number.NaN : score)),
    strategy: bestOfN,
  });
  await run.close();
  return run.snapshot();
}

test("everything that is inserted is escaped, in text and in attributes", () => {
  expect(escapeHtml(`<a href="x" id='y'>&`)).toBe("&#60;a href=&#34;x&#34; id=&#39;y&#39;&#62;&#38;");
  expect(html`<p title="${`"><script>`}">${["<", html`<b>${1}</b>`]}${null}${undefined}</p>`.markup).toBe(
    `<p title="&#34;&#62;&#60;script&#62;">&#60;<b>1</b></p>`,
  );
});

test("the page is self-contained and shows every candidate, best first", async () => {
  const run = await finished();
  const { report, grid } = await writeReport(run);
  const page = await readFile(report, "utf8");
  // Nothing is loaded from anywhere: no address but data URIs, and a policy that forbids the rest.
  expect(page.match(/(?:src|href)="(?!data:)/g)).toBeNull();
  expect(page).not.toMatch(/https?:|<script|@import|url\(/);
  expect(page).toContain("default-src &#39;none&#39;".replaceAll("&#39;", "'"));
  const seeds = [...page.matchAll(/>seed (\d+)</g)].map(([, seed]) => Number(seed));
  expect(seeds).toEqual(run.manifest.ranking.map((index) => 500 + index));
  const best = run.candidates[run.manifest.ranking[0] ?? 0];
  const png = await readFile(join(run.directory, best?.image ?? ""));
  expect(page.indexOf(`data:image/png;base64,${png.toString("base64")}`)).toBeGreaterThan(0);
  expect(page).toContain("prefers-color-scheme: dark");
  expect(await decodeRgb(await readFile(grid ?? ""), "grid.png")).toMatchObject({
    width: expect.any(Number) as number,
  });
});

test("the page shows the picture and the mask that a run started from", async () => {
  const init = { width: 12, height: 10, data: new Uint8Array(360).fill(90) };
  const mask = { width: 400, height: 6, data: new Uint8Array(7200).fill(200) };
  const run = await createRun(await temporaryFolder(), {
    ...newRun({ count: 2, strength: 0.5 }),
    inputs: { init, mask },
  });
  await run.close();
  const { report } = await writeReport(run.snapshot());
  const page = await readFile(report, "utf8");
  expect(page).toContain(`data:image/png;base64,${Buffer.from(await encodePng(init)).toString("base64")}`);
  expect(page.match(/data:image\/webp/g)).toHaveLength(1); // the mask is wide: a thumbnail
  expect(page).toMatch(/Started from[^]*12 × 10[^]*<b>mask<\/b>[^]*400 × 6[^]*White parts of the mask are repainted/);
  expect(page).toMatch(/Strength<\/th>\s*<td>0\.5</);
});

test("a hostile prompt, negative prompt and warning stay text", async () => {
  const evil = `</title><script>alert("1")</script><img src=x onerror='alert(2)'>`;
  const run = await finished({ prompt: evil, negativePrompt: evil, count: 2, keep: 1 }, [evil]);
  const { report } = await writeReport(run);
  const page = await readFile(report, "utf8");
  expect(page).not.toMatch(/<script|<img src=x|onerror='/);
  expect(page.match(/&#60;script&#62;/g)?.length).toBeGreaterThanOrEqual(4);
});

test("large pictures are embedded as thumbnails, the best one as it is", async () => {
  const run = await finished({ count: 2, keep: 1, width: 16, height: 16 });
  const candidates = await Promise.all(
    run.candidates.map(async (line) => {
      const data = new Uint8Array(600 * 400 * 3).map((_, i) => (i * 7 + line.index) & 255);
      await writeFile(join(run.directory, line.image), await encodePng({ width: 600, height: 400, data }));
      return { ...line, width: 600, height: 400 };
    }),
  );
  const { report } = await writeReport({ ...run, candidates });
  const page = await readFile(report, "utf8");
  // The best one appears twice, at the top and in the grid.
  expect(page.match(/data:image\/png/g)).toHaveLength(2);
  expect(page.match(/data:image\/webp/g)).toHaveLength(1);
});

test("a run without candidates has a page that says so, and no sheet", async () => {
  const run = await createRun(await temporaryFolder(), newRun());
  await run.close();
  const { report, grid } = await writeReport(run.snapshot());
  expect(grid).toBeUndefined();
  expect(await readFile(report, "utf8")).toContain("running, 0 of 10");
});

test("each score is a dot at its place; many scores are a histogram that counts them all", () => {
  const point = (score: number, i: number): Parameters<typeof distributionChart>[0][number] => ({
    score,
    kept: i === 0,
    best: i === 0,
    label: `#${i}`,
  });
  expect(distributionChart([point(1, 0)]).markup).toBe("");
  const few = distributionChart([1, 0.5, 0, -1].map(point)).markup;
  const at = [...few.matchAll(/cx="([\d.]+)"/g)].map(([, x]) => Number(x));
  expect(at).toHaveLength(4);
  const [low = 0, zero = 0, half = 0, high = 0] = at;
  expect((half - zero) / (high - low)).toBeCloseTo(0.25, 2);
  expect(few.match(/class="point kept best"/g)).toHaveLength(1);
  const scores = Array.from({ length: 500 }, (_, i) => Math.sin(i));
  const many = distributionChart(scores.map(point)).markup;
  const counted = [...many.matchAll(/<title>(\d+) candidates/g)].reduce((sum, [, count]) => sum + Number(count), 0);
  expect(counted).toBe(500);
  const equal = distributionChart([point(2, 0), point(2, 1)]).markup;
  expect(equal).not.toContain("NaN");
});

test("the page says what the best score means and what thresholds keep", async () => {
  const run = await finished();
  const { models } = run.manifest;
  const reward = { ...models.reward, name: "image-reward", path: "/models/ImageReward.pt" };
  const known = { ...run, manifest: { ...run.manifest, models: { ...models, reward } } };
  const scores = run.candidates.flatMap(({ score }) => score ?? []);
  const page = await readFile((await writeReport(known)).report, "utf8");
  expect(page).toMatch(
    /The best candidate is better than (over |under )?\d+ % of the pictures Stable Diffusion 1\.4 draws \(published for ImageReward v1\.0: /,
  );
  const rows = [
    ...page.matchAll(/at least (-?[\d.]+)<\/th>\s*<td>(\d+), (\d+) %; (over |under )?\d+ % of the reference</g),
  ];
  expect(rows.length).toBeGreaterThan(2);
  for (const [, threshold, kept, percent] of rows) {
    const count = scores.filter((score) => score >= Number(threshold)).length;
    expect([Number(kept), Number(percent)]).toEqual([count, Math.round((100 * count) / scores.length)]);
  }
  const unknown = await readFile((await writeReport(run)).report, "utf8");
  expect(unknown).not.toContain("better than");
  expect(unknown).toContain("What a threshold keeps");
});
