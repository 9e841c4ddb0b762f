/** @file Results for others: pictures copied into a folder, or one line per candidate as JSON lines or CSV. */

import { readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { rank } from "../../strategies/rank.js";
import { copyFileAtomic, writeFileAtomic } from "../../util/files.js";
import { fillTemplate } from "../document/variables.js";
import type { PipelinePlan, PlanStep } from "../document/plan.js";
import { CandidateColumns, type Shown } from "./columns.js";
import type { ItemLine, PlacedCandidate } from "./manifest.js";
import type { PipelineRun } from "./pipeline-run.js";
import { ItemLines } from "./recover.js";

type ExportStep = Extract<PlanStep, { kind: "export" }>;

/** One exported candidate. */
export interface ExportRow {
  readonly item: string;
  /** What it was scored against. */
  readonly prompt: string;
  /** What was drawn in the end. */
  readonly drawn: string;
  /** 1 is the best of what the item exports. */
  readonly rank: number;
  readonly index: number;
  readonly seed: number;
  readonly score: number | null;
  /** Relative to the run's folder. */
  readonly image: string;
  /** The cell of the matrix. */
  readonly cell: ItemLine["cell"];
}

/** Carries out the export steps of a run whose items are done. Doing it again gives the same files. */
export async function exportResults(run: PipelineRun): Promise<void> {
  const { steps } = run.plan;
  const exports = steps.filter((step) => step.kind === "export");
  if (exports.length === 0) return;
  const lines = await ItemLines.open(run.directory);
  try {
    const whole = steps.find((step) => step.kind === "select" && step.per === "run");
    const chosen = whole?.kind === "select" ? await bestOfRun(lines, whole.keep, whole.minimum) : undefined;
    const all = exports.some(({ what }) => what === "all")
      ? await CandidateColumns.read(run.directory, run.plan)
      : undefined;
    const cleared = new Set<string>();
    for (const step of exports) {
      const candidates =
        step.what === "all"
          ? ({ index }: ItemLine) => all?.ofItem(index) ?? []
          : ({ selected }: ItemLine) => selected.filter(({ index }) => chosen?.has(index) ?? true);
      await exportStep(run, step, lines, candidates, cleared);
    }
  } finally {
    await lines.close();
  }
}

/** The folder of an export for an item. @throws UsageError for a template that names what there is not */
export function exportFolder({ to }: ExportStep, { id, cell }: Pick<ItemLine, "id" | "cell">): string {
  const values = new Map<string, string>([["id", fileName(id)]]);
  for (const [name, value] of Object.entries(cell)) values.set(`matrix.${name}`, fileName(String(value)));
  return fillTemplate(to, values, "export to");
}

async function exportStep(
  run: PipelineRun,
  step: ExportStep,
  lines: ItemLines,
  candidates: (line: ItemLine) => readonly Shown[],
  cleared: Set<string>,
): Promise<void> {
  const folders = new Map<string, number[]>();
  for await (const line of lines) {
    if (line.error !== null) continue;
    const to = exportFolder(step, line);
    const items = folders.get(to);
    if (items === undefined) folders.set(to, [line.index]);
    else items.push(line.index);
  }
  for (const [to, items] of folders) {
    const path = await run.folder(to);
    const rows = async function* (): AsyncGenerator<ExportRow> {
      for (const index of items) {
        const line = await lines.read(index);
        if (line !== undefined) yield* rowsOf(line, candidates(line));
      }
    };
    if (step.format !== "files") {
      await writeFileAtomic(join(path, `candidates.${step.format}`), encoded(rows(), step.format, run.plan));
      continue;
    }
    // those of an earlier time, when less was finished
    if (!cleared.has(path))
      for (const name of await readdir(path)) if (EXPORTED.test(name)) await unlink(join(path, name));
    cleared.add(path);
    for await (const row of rows()) await copyFileAtomic(join(run.directory, row.image), join(path, nameOf(row)));
  }
}

function rowsOf({ id, prompt, drawn, cell }: ItemLine, candidates: readonly Shown[]): ExportRow[] {
  return candidates.map(({ index, seed, score, image }, i) => ({
    item: id,
    prompt,
    drawn,
    rank: i + 1,
    index,
    seed,
    score,
    image,
    cell,
  }));
}

/** In CSV, every name of the matrix is a column of its own. */
async function* encoded(
  rows: AsyncIterable<ExportRow>,
  format: "jsonl" | "csv",
  plan: PipelinePlan,
): AsyncGenerator<Uint8Array> {
  const names = Object.keys(plan.document.matrix ?? {});
  if (format === "csv") yield Buffer.from(csvLine([...CSV_COLUMNS, ...names.map((name) => csvCell(`matrix.${name}`))]));
  for await (const row of rows) {
    const cells = [...CSV_COLUMNS.map((name) => row[name]), ...names.map((name) => row.cell[name] ?? null)];
    yield Buffer.from(format === "jsonl" ? `${JSON.stringify(row)}\n` : csvLine(cells.map(csvCell)));
  }
}

/** Indices of the best of all that items selected. */
async function bestOfRun(lines: ItemLines, keep: number, minimum = -Infinity): Promise<ReadonlySet<number>> {
  let best: PlacedCandidate[] = [];
  for await (const { selected, error } of lines) {
    if (error !== null) continue;
    best.push(...selected.filter(({ score }) => score !== null && score >= minimum));
    if (best.length > 4 * keep) best = rank(best).slice(0, keep);
  }
  return new Set(
    rank(best)
      .slice(0, keep)
      .map(({ index }) => index),
  );
}

const EXPORTED = /-\d{2,}-\d+\.png$/;

/** `<item>-<rank>-<seed>.png` */
function nameOf({ item, rank, seed }: ExportRow): string {
  return `${fileName(item)}-${String(rank).padStart(2, "0")}-${seed}.png`;
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

const CSV_COLUMNS = ["item", "prompt", "drawn", "rank", "index", "seed", "score", "image"] as const;

/** RFC 4180. */
function csvLine(cells: readonly string[]): string {
  return `${cells.join(",")}\r\n`;
}

/** A text that a spreadsheet would take for a formula gets an apostrophe before it. */
function csvCell(value: string | number | boolean | null): string {
  if (value === null) return "";
  const text = typeof value === "string" && /^[=+\-@\t]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
