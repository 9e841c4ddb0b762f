/** @file Writes the pages of a pipeline's run, report.html and grid.png, reading one item at a time. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { contactSheet } from "../image/contact-sheet.js";
import { decodeRgb } from "../image/decode.js";
import type { PipelinePlan } from "../pipeline/document/plan.js";
import type { ItemLine, PipelineManifest, PlacedCandidate } from "../pipeline/execute/manifest.js";
import { ItemLines, readPipelineCandidates } from "../pipeline/execute/recover.js";
import { RUN_FILES } from "../pipeline/run-store.js";
import { referenceScores } from "../pipeline/score-references.js";
import { rank } from "../strategies/rank.js";
import { writeFileAtomic } from "../util/files.js";
import { format } from "./distribution.js";
import { type CellScores, pipelinePage } from "./pipeline-page.js";

/** Most items on the page, failed ones beside them, and cells of a matrix. */
const MOST_ITEMS = 200;
const MOST_FAILED = 50;
const MOST_CELLS = 100;
/** Most pictures on the contact sheet. */
const MOST_ON_SHEET = 36;

/** Writes `grid.png` and `report.html` into a run's folder; returns their absolute paths. A run without selected pictures gets no grid. */
export async function writePipelineReport(
  directory: string,
  manifest: PipelineManifest,
  plan: PipelinePlan,
): Promise<{ readonly report: string; readonly grid: string | undefined }> {
  const items: ItemLine[] = [];
  const failed: ItemLine[] = [];
  let best: ItemLine | undefined;
  let sheet: (PlacedCandidate & { readonly id: string })[] = [];
  const cells = new Cells(plan);
  const bests = new Mean();
  const lines = await ItemLines.open(directory);
  for await (const line of lines) {
    if (line.error !== null) {
      if (failed.length < MOST_FAILED) failed.push(line);
      continue;
    }
    if (items.length < MOST_ITEMS) items.push(line);
    cells.addItem(line);
    const score = line.best?.score ?? null;
    if (score !== null) bests.add(score);
    if (score !== null && score > (best?.best?.score ?? -Infinity)) best = line;
    sheet.push(...line.selected.map((one) => ({ ...one, id: line.id })));
    if (sheet.length > 4 * MOST_ON_SHEET) sheet = rank(sheet).slice(0, MOST_ON_SHEET);
  }
  await lines.close();
  if (cells.wanted)
    for await (const { index, score } of readPipelineCandidates(directory, plan)) cells.addCandidate(index, score);
  sheet = rank(sheet).slice(0, MOST_ON_SHEET);
  const grid = sheet.length === 0 ? undefined : join(directory, RUN_FILES.grid);
  let width = 0;
  if (grid !== undefined) {
    const images = await Promise.all(
      sheet.map(async ({ image }) => decodeRgb(await readFile(join(directory, image)), image)),
    );
    width = images[0]?.width ?? 0;
    const labels = sheet.map(({ id, score }) => `${id.slice(0, 12)}  ${score === null ? "no score" : format(score)}`);
    await writeFileAtomic(grid, await contactSheet(images, { columns: Math.ceil(Math.sqrt(sheet.length)), labels }));
  }
  const report = join(directory, RUN_FILES.report);
  const all = cells.scores();
  const reference = await referenceScores(manifest.models.reward);
  const content = { manifest, plan, items, failed, best, meanBest: bests.value, width, reference };
  await writeFileAtomic(report, pipelinePage({ ...content, cells: all.slice(0, MOST_CELLS), cellCount: all.length }));
  return { report, grid };
}

/** A mean that is added to. */
class Mean {
  #sum = 0;
  #count = 0;
  add(value: number): void {
    this.#sum += value;
    this.#count++;
  }
  get value(): number | null {
    return this.#count === 0 ? null : this.#sum / this.#count;
  }
}

interface CellSums {
  readonly cell: ItemLine["cell"];
  items: number;
  candidates: number;
  readonly all: Mean;
  readonly bests: Mean;
  best: number | null;
}

/** Sums over the cells of a matrix. */
class Cells {
  readonly #plan: PipelinePlan;
  readonly #cells = new Map<string, CellSums>();

  constructor(plan: PipelinePlan) {
    this.#plan = plan;
  }

  /** Whether there is a matrix. */
  get wanted(): boolean {
    return Object.keys(this.#plan.items[0]?.cell ?? {}).length > 0;
  }

  addItem({ cell, best }: ItemLine): void {
    if (!this.wanted) return;
    const sums = this.#of(cell);
    sums.items++;
    const score = best?.score ?? null;
    if (score === null) return;
    sums.bests.add(score);
    sums.best = Math.max(sums.best ?? -Infinity, score);
  }

  addCandidate(index: number, score: number | null): void {
    const item = this.#plan.items[Math.floor(index / this.#plan.candidatesPerItem)];
    if (item === undefined) return;
    const sums = this.#of(item.cell);
    sums.candidates++;
    if (score !== null) sums.all.add(score);
  }

  /** The cell whose items did best on average comes first. */
  scores(): CellScores[] {
    return [...this.#cells.values()]
      .map(({ all, bests, ...sums }) => ({ ...sums, mean: all.value, meanBest: bests.value }))
      .sort((a, b) => (b.meanBest ?? -Infinity) - (a.meanBest ?? -Infinity));
  }

  #of(cell: ItemLine["cell"]): CellSums {
    const key = JSON.stringify(cell);
    const known = this.#cells.get(key);
    if (known !== undefined) return known;
    const sums: CellSums = {
      cell: { ...cell },
      items: 0,
      candidates: 0,
      all: new Mean(),
      bests: new Mean(),
      best: null,
    };
    this.#cells.set(key, sums);
    return sums;
  }
}
