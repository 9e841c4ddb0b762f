/** @file The items of a pipeline's run as a table. */

import { join } from "node:path";
import type { ItemLine } from "../pipeline/execute/manifest.js";
import { ItemLines } from "../pipeline/execute/recover.js";
import { palette, printable, shownPath, table, type Terminal } from "./output.js";

/** Items that the table shows, at most. */
const SHOWN = 40;

/** Prints the first items of a run, and how many there are beside. */
export async function printItems(terminal: Terminal, directory: string): Promise<void> {
  const lines = await ItemLines.open(directory);
  const items: ItemLine[] = [];
  for await (const line of lines) if (items.push(line) === SHOWN) break;
  await lines.close();
  terminal.stdout.write(itemTable(items, terminal, directory));
  const left = lines.count - items.length;
  if (left > 0) terminal.stdout.write(`and ${left} more in ${shownPath(join(directory, "items.jsonl"))}\n`);
}

function itemTable(items: readonly ItemLine[], terminal: Terminal, directory: string): string {
  const style = palette(terminal.stdout, terminal.environment);
  const rows = items.map((line) => [
    printable(line.id),
    line.best?.score === undefined || line.best.score === null ? "none" : line.best.score.toFixed(4),
    String(line.candidates),
    String(line.selected.length),
    shortened(printable(line.drawn)),
    line.error !== null ? printable(line.error) : line.best === null ? "" : shownPath(join(directory, line.best.image)),
  ]);
  return table(
    [
      { title: "item" },
      { title: "best", align: "right" },
      { title: "candidates", align: "right" },
      { title: "selected", align: "right" },
      { title: "prompt" },
      { title: "best image" },
    ],
    rows,
    (text, row) => (row === "head" ? style.dim(text) : items[row]?.error === null ? text : style.red(text)),
  );
}

/** A prompt in a table or a list. */
export function shortened(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
