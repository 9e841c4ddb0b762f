/** @file Items: every prompt under every cell of the matrix. */

import { UsageError } from "../../errors.js";
import { DocumentError, type Fault } from "../../util/yaml/located.js";
import type { PlanItem } from "./plan.js";
import { type PromptEntry, promptFault } from "../../prompts/prompt-file.js";
import { type PipelineDocument, SETTING_NAMES } from "./schema.js";
import { fillTemplate } from "./variables.js";

/** Items of one run, at most. */
const MAXIMUM_ITEMS = 1_000_000;
/** Faults of items that are listed. */
const MAXIMUM_FAULTS = 20;

/** What a fault says of the place at `keys`. */
export type FaultAt = (keys: readonly PropertyKey[], message: string) => Fault;

type Cell = PlanItem["cell"];
type Matrix = NonNullable<PipelineDocument["matrix"]>;

/**
 * Prompts times cells, the cells of a prompt beside each other.
 * @throws DocumentError when there are too many, or a template cannot be filled in
 */
export function itemsFor(document: PipelineDocument, prompts: readonly PromptEntry[], at: FaultAt): PlanItem[] {
  const { matrix = {}, settings, template } = document;
  const perPrompt = Object.values(matrix).reduce((product, values) => product * values.length, 1);
  if (prompts.length * perPrompt > MAXIMUM_ITEMS) {
    const message = `expected at most ${MAXIMUM_ITEMS} items, got ${prompts.length} prompts times ${perPrompt} cells`;
    throw new DocumentError([at(["matrix"], message)]);
  }
  const cells = cellsOf(matrix);
  const names = namesOf(prompts);
  const faults: Fault[] = [];
  const fail = (message: string): void => {
    faults.push(at(["template"], message));
    // one template can be wrong for all items
    if (faults.length >= MAXIMUM_FAULTS) throw new DocumentError(faults);
  };
  const items = prompts.flatMap((entry, i) =>
    cells.map((cell, j): PlanItem => {
      const id = cells.length === 1 ? names[i]! : `${names[i]!}.${j}`;
      const values = new Map<string, string>([
        ["prompt", entry.prompt],
        ["id", id],
      ]);
      for (const [key, value] of Object.entries(entry.fields)) values.set(`item.${key}`, value);
      for (const [key, value] of Object.entries(cell)) values.set(`matrix.${key}`, String(value));
      let drawn = "";
      try {
        drawn = fillTemplate(template, values, `item ${id}`);
        const fault = promptFault(drawn);
        if (fault !== undefined) fail(`item ${id}: ${fault}`);
      } catch (error) {
        if (!(error instanceof UsageError) || error instanceof DocumentError) throw error;
        fail(error.message);
      }
      const varied = Object.entries(cell).filter(([key]) => SETTING_NAMES.some((one) => one === key));
      const negative = entry.negative === undefined ? {} : { negative: entry.negative };
      return {
        index: i * cells.length + j,
        id,
        prompt: entry.prompt,
        drawn,
        cell,
        settings: { ...settings, ...negative, ...Object.fromEntries(varied) },
      };
    }),
  );
  if (faults.length > 0) throw new DocumentError(faults);
  return items;
}

/** Every combination of the matrix, the last name varying fastest; one empty cell without a matrix. */
function cellsOf(matrix: Matrix): Cell[] {
  let cells: Cell[] = [{}];
  for (const [name, values] of Object.entries(matrix))
    cells = cells.flatMap((cell) => values.map((value) => ({ ...cell, [name]: value })));
  return cells;
}

/** A name for each prompt: its id, or its number; one that is taken gets a number behind it. */
function namesOf(prompts: readonly PromptEntry[]): string[] {
  const width = String(Math.max(prompts.length - 1, 0)).length;
  const taken = new Set(prompts.flatMap(({ id }) => id ?? []));
  const given = new Set<string>();
  const again = new Map<string, number>();
  return prompts.map(({ id }, i) => {
    const wanted = id ?? String(i).padStart(width, "0");
    let name = wanted;
    if (given.has(wanted) || (id === undefined && taken.has(wanted))) {
      let n = again.get(wanted) ?? 2;
      while (given.has((name = `${wanted}-${n}`)) || taken.has(name)) n++;
      again.set(wanted, n + 1);
    }
    given.add(name);
    return name;
  });
}
