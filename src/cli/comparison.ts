/** @file A comparison of strategies as tables: for the terminal, and as Markdown. */

import type { ComparedArm, ComparedDifference, StrategyComparison } from "../evaluation/strategy-comparison.js";
import { metricDigits, signedNumber, verdictOf } from "../evaluation/strategy-verdict.js";
import { type Column, printable, table } from "./output.js";

/** A column with a cell for every strategy and budget. */
interface ComparisonColumn extends Column {
  readonly cells: readonly string[];
}

/** Every figure of a comparison, for both kinds of table. */
interface ComparisonColumns {
  /** Strategy and budget: what a row is about. */
  readonly rows: readonly ComparisonColumn[];
  readonly figures: readonly ComparisonColumn[];
}

/**
 * Tables for the terminal with a row for every strategy and budget, and below what to take. A metric has its mean and the difference to the baseline with its
 * corrected interval. Columns that do not fit beside each other stand below each other, each table with strategy and budget.
 * @param width columns of the terminal; Infinity makes one table
 */
export function comparisonText(comparison: StrategyComparison, width = Infinity): string {
  const { rows, figures } = columnsOf(comparison);
  const tables = beside(rows, figures, width).map((columns) => table(columns, transposed(columns)));
  return `${tables.join("\n")}\n${legend(comparison)}\n\n${verdictOf(comparison).map((text) => `${printable(text)}\n`).join("")}`; // prettier-ignore
}

/** The same as one table in Markdown. */
export function comparisonMarkdown(comparison: StrategyComparison): string {
  const { rows, figures } = columnsOf(comparison);
  const columns = [...rows, ...figures];
  const line = (cells: readonly string[]): string => `| ${cells.map(cellText).join(" | ")} |\n`;
  const rule = line(columns.map(({ align }) => (align === "right" ? "--:" : "---")));
  const body = transposed(columns).map(([strategy = "", ...cells]) => line([`\`${strategy}\``, ...cells]));
  return `${line(columns.map(({ title }) => title))}${rule}${body.join("")}\n${legend(comparison)}\n`;
}

function columnsOf(comparison: StrategyComparison): ComparisonColumns {
  const { arms, metrics } = comparison;
  const column = (title: string, cell: (arm: ComparedArm) => string, align?: Column["align"]): ComparisonColumn => {
    return { title: printable(title), cells: arms.map((arm) => printable(cell(arm))), ...(align && { align }) };
  };
  return {
    rows: [column("strategy", ({ strategy }) => strategy), column("budget", ({ budget }) => String(budget), "right")],
    figures: [
      ...metrics.map(({ key, title }) => {
        const digits = metricDigits(comparison, key);
        return column(title, (arm) => metricCell(arm, key, digits));
      }),
      column("compute", ({ compute, budget }) => share(compute / budget), "right"),
      column("seconds", ({ seconds }) => fixed(seconds, seconds < 10 ? 2 : 1), "right"),
    ],
  };
}

/** `0.512`, and behind it `+0.062 (+0.021 to +0.104) ▲` where there is something to compare with. */
function metricCell({ metrics }: ComparedArm, key: string, digits: number): string {
  const metric = metrics[key];
  if (metric === undefined) return "-";
  const value = fixed(metric.value.estimate, digits);
  return metric.difference === null ? value : `${value} ${differenceCell(metric.difference, digits)}`;
}

function differenceCell({ estimate, corrected: { low, high }, verdict }: ComparedDifference, digits: number): string {
  const signed = (value: number): string => signedNumber(value, digits);
  return `${signed(estimate)} (${signed(low)} to ${signed(high)})${MARKS[verdict]}`;
}

const MARKS: Readonly<Record<ComparedDifference["verdict"], string>> = { better: " ▲", worse: " ▼", undecided: "" };

function legend({ baseline, descriptions }: StrategyComparison): string {
  return `Means over ${descriptions} distinct ${descriptions === 1 ? "prompt" : "prompts"}; differences to ${printable(baseline)} with corrected intervals: ▲ better, ▼ worse, undecided without a mark.`;
}

/** Groups of columns, each with strategy and budget before it, that fit the width; a figure alone may be wider. */
function beside(
  rows: readonly ComparisonColumn[],
  figures: readonly ComparisonColumn[],
  width: number,
): ComparisonColumn[][] {
  const groups: ComparisonColumn[][] = [];
  for (const figure of figures) {
    const last = groups.at(-1);
    if (last !== undefined && widthOf([...last, figure]) <= width) last.push(figure);
    else groups.push([...rows, figure]);
  }
  return groups;
}

function widthOf(columns: readonly ComparisonColumn[]): number {
  const widths = columns.map(({ title, cells }) => Math.max(title.length, ...cells.map(({ length }) => length)));
  return widths.reduce((sum, one) => sum + one, 2 * (columns.length - 1));
}

function transposed(columns: readonly ComparisonColumn[]): string[][] {
  return (columns[0]?.cells ?? []).map((_, row) => columns.map(({ cells }) => cells[row] ?? ""));
}

function cellText(text: string): string {
  return text.replaceAll("|", "\\|");
}

function share(value: number): string {
  return Number.isFinite(value) ? `${Math.round(100 * value)} %` : "-";
}

function fixed(value: number | null, digits: number): string {
  return value === null || !Number.isFinite(value) ? "-" : value.toFixed(digits);
}
