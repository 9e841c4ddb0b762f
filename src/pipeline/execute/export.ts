/** @file Results for others: pictures copied into a folder, or one line per candidate as JSON lines or CSV. */

import { copyFile, rename } from "node:fs/promises";
import { basename, join } from "node:path";
import { writeFileAtomic } from "../../util/files.js";
import { fillTemplate } from "../document/variables.js";
import type { PlanStep } from "../document/plan.js";
import type { ItemLine, PlacedCandidate } from "./manifest.js";
import type { PipelineRun } from "./pipeline-run.js";
import { readCandidates, readItems } from "./recover.js";

type ExportStep = Extract<PlanStep, { kind: "export" }>;

/** One exported candidate. */
export interface ExportRow {
  readonly item: string;
  /** What it was scored against. */
  readonly prompt: string;
  /** 1 is the best of what the item exports. */
  readonly rank: number;
  readonly index: number;
  readonly seed: number;
  readonly score: number | null;
  /** Relative to the run's folder. */
  readonly image: string;
}

/** Carries out the export steps of a run whose items are done. Doing it again gives the same files. */
export async function exportResults(run: PipelineRun): Promise<void> {
  const { steps } = run.plan;
  const whole = steps.find((step) => step.kind === "select" && step.per === "run");
  const chosen = whole?.kind === "select" ? await bestOfRun(run, whole.keep, whole.minimum) : undefined;
  for (const step of steps) if (step.kind === "export") await exportStep(run, step, chosen);
}

async function exportStep(run: PipelineRun, step: ExportStep, chosen: ReadonlySet<number> | undefined): Promise<void> {
  const folder = new Map<string, ExportRow[]>();
  for await (const { line, rows } of rowsByItem(run, step, chosen)) {
    const item = run.plan.items[line.index];
    const values = new Map<string, string>([["id", fileName(line.id)]]);
    for (const [name, value] of Object.entries(item?.cell ?? {})) values.set(`matrix.${name}`, fileName(String(value)));
    const to = fillTemplate(step.to, values, "export to");
    if (step.format === "files") {
      const path = await run.folder(to);
      for (const row of rows) await copyAtomic(join(run.directory, row.image), join(path, nameOf(row)));
    } else folder.set(to, [...(folder.get(to) ?? []), ...rows]);
  }
  if (step.format === "files") return;
  for (const [to, rows] of folder) {
    const path = await run.folder(to);
    const text = step.format === "jsonl" ? rows.map((row) => `${JSON.stringify(row)}\n`).join("") : csv(rows);
    await writeFileAtomic(join(path, `candidates.${step.format}`), text);
  }
}

/** The rows of each item, items in their order. */
async function* rowsByItem(
  run: PipelineRun,
  step: ExportStep,
  chosen: ReadonlySet<number> | undefined,
): AsyncGenerator<{ readonly line: ItemLine; readonly rows: readonly ExportRow[] }> {
  const lines: ItemLine[] = [];
  for await (const line of readItems(run.directory)) if (line.error === null) lines.push(line);
  lines.sort((a, b) => a.index - b.index);
  const all = step.what === "all" ? await candidatesByItem(run) : undefined;
  for (const line of lines) {
    const placed = all?.get(line.index) ?? line.selected.filter(({ index }) => chosen?.has(index) ?? true);
    const rows = placed.map((one, i): ExportRow => {
      const { index, seed, score, image } = one;
      return { item: line.id, prompt: line.prompt, rank: i + 1, index, seed, score, image };
    });
    yield { line, rows };
  }
}

async function candidatesByItem(run: PipelineRun): Promise<Map<number, PlacedCandidate[]>> {
  const byItem = new Map<number, PlacedCandidate[]>();
  for await (const { index, seed, score, image, evaluations } of readCandidates(run.directory, run.plan)) {
    const item = Math.floor(index / run.plan.candidatesPerItem);
    const list = byItem.get(item) ?? [];
    list.push({ index, seed, score, image, evaluations });
    byItem.set(item, list);
  }
  for (const list of byItem.values())
    list.sort((a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity) || a.index - b.index);
  return byItem;
}

/** Indices of the best of all that items selected. */
async function bestOfRun(run: PipelineRun, keep: number, minimum = -Infinity): Promise<ReadonlySet<number>> {
  let best: PlacedCandidate[] = [];
  for await (const { selected, error } of readItems(run.directory)) {
    if (error !== null) continue;
    best.push(...selected.filter(({ score }) => score !== null && score >= minimum));
    if (best.length > 4 * keep) best = top(best, keep);
  }
  return new Set(top(best, keep).map(({ index }) => index));
}

function top(candidates: readonly PlacedCandidate[], count: number): PlacedCandidate[] {
  return [...candidates]
    .sort((a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity) || a.index - b.index)
    .slice(0, count);
}

/** `<item>-<rank>-<seed>.png` */
function nameOf({ item, rank, seed, image }: ExportRow): string {
  return `${fileName(item)}-${String(rank).padStart(2, "0")}-${seed}${/\.\w+$/.exec(basename(image))?.[0] ?? ""}`;
}

/** A text as part of a file's name: letters, digits, `.`, `_`, `+` and `-`, not too long, never `..`. */
export function fileName(text: string): string {
  const kept = text
    .replace(/[^\p{L}\p{N}._+-]+/gu, "-")
    .replace(/\.{2,}/g, ".")
    .replace(/^[.-]+|[.-]+$/g, "")
    .slice(0, 80);
  return kept === "" ? "item" : kept;
}

async function copyAtomic(from: string, to: string): Promise<void> {
  const temporary = `${to}.${process.pid}.tmp`;
  await copyFile(from, temporary);
  await rename(temporary, to);
}

/** RFC 4180. A text that a spreadsheet would take for a formula gets an apostrophe before it. */
function csv(rows: readonly ExportRow[]): string {
  const columns = ["item", "prompt", "rank", "index", "seed", "score", "image"] as const;
  const cell = (value: string | number | null): string => {
    if (value === null) return "";
    const text = typeof value === "string" && /^[=+\-@\t]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return (
    [columns.join(","), ...rows.map((row) => columns.map((name) => cell(row[name])).join(","))].join("\r\n") + "\r\n"
  );
}
