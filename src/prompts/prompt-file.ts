/** @file Prompts from files: text, CSV, JSON lines, and lists in JSON such as ImageReward's `refl_data.json`. */

import { UsageError } from "../errors.js";
import { closest } from "../util/closest.js";
import { kindOf, readRows, type RowFormat } from "../util/rows.js";
import { DocumentError, type Fault, type Place } from "../util/yaml/located.js";

/** Longest prompt, in characters; the longest of ImageReward's data set has 1,364. */
export const MAXIMUM_PROMPT = 10_000;
/** Longest name of a prompt. */
export const MAXIMUM_ID = 200;

/** One prompt with what its file says beside it. */
export interface PromptEntry {
  /** Names it in files and reports; undefined when the source gives no name. */
  readonly id: string | undefined;
  readonly prompt: string;
  readonly negative: string | undefined;
  /** Other columns, for `${item.<column>}`. */
  readonly fields: Readonly<Record<string, string>>;
}

/** Which prompts of which file. */
export interface PromptFile {
  readonly file: string;
  readonly format?: RowFormat | undefined;
  readonly column?: string | undefined;
  readonly offset?: number | undefined;
  readonly limit?: number | undefined;
}

/** Rows without a prompt that are listed. */
const MAXIMUM_FAULTS = 20;
/** Columns that are taken for the prompt when none is named, in this order. */
const PROMPT_COLUMNS = ["prompt", "text", "caption"];

/** A prompt, and where its file has it. */
export interface PlacedPrompt {
  readonly entry: PromptEntry;
  readonly place: Place;
}

/** Reads prompts. @throws as {@link readPlacedPrompts} */
export async function readPrompts(source: PromptFile): Promise<PromptEntry[]> {
  return (await readPlacedPrompts(source)).map(({ entry }) => entry);
}

/**
 * Reads prompts with their places.
 * @throws UsageError when the file cannot be read or is of another form; DocumentError naming every row that has no prompt, or one that is too long
 */
export async function readPlacedPrompts(source: PromptFile): Promise<PlacedPrompt[]> {
  const { file, column, offset = 0 } = source;
  const rows = await readRows(file, "prompts", source.format);
  const chosen = rows.slice(offset, offset + (source.limit ?? rows.length));
  if (chosen.length === 0) {
    const before = rows.length === 0 ? "none" : `${rows.length} before that`;
    throw new UsageError(`${file}: expected prompts${offset > 0 ? ` from number ${offset} on` : ""}, got ${before}`);
  }
  const faults: Fault[] = [];
  const entries: PlacedPrompt[] = [];
  for (const { value, place } of chosen) {
    const entry = promptEntry(value, column);
    if (typeof entry !== "string") entries.push({ entry, place });
    else if (faults.push({ place, message: entry }) >= MAXIMUM_FAULTS) break;
  }
  if (faults.length > 0) throw new DocumentError(faults);
  return entries;
}

/** What is wrong with a prompt, or undefined: it is some text of bearable length without a null character. */
export function promptFault(prompt: string): string | undefined {
  if (prompt.trim() === "") return "expected a prompt, got an empty text";
  if (prompt.length > MAXIMUM_PROMPT)
    return `expected a prompt of at most ${MAXIMUM_PROMPT} characters, got ${prompt.length}`;
  return prompt.includes("\u0000") ? "expected a prompt, got one with a null character" : undefined;
}

/** The entry of a row, or what is wrong with it. */
export function promptEntry(value: unknown, column: string | undefined): PromptEntry | string {
  if (typeof value === "string")
    return promptFault(value) ?? { id: undefined, prompt: value, negative: undefined, fields: {} };
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return `expected a text or an object with a prompt, got ${kindOf(value)}`;
  const row = value as Record<string, unknown>;
  const names = Object.keys(row);
  const found = column ?? PROMPT_COLUMNS.find((name) => Object.hasOwn(row, name));
  const prompt = found === undefined || !Object.hasOwn(row, found) ? undefined : row[found];
  if (found === undefined || typeof prompt !== "string") {
    const near = column === undefined ? undefined : closest(column, names);
    const hint = near === undefined ? "" : `; did you mean ${near}?`;
    return `expected a text under ${found ?? PROMPT_COLUMNS.join(", ")}, got ${names.length === 0 ? "nothing" : names.slice(0, 8).join(", ")}${hint}`;
  }
  const others = names.flatMap((name): [string, string][] => {
    const field = row[name];
    const plain = typeof field === "string" || typeof field === "number" || typeof field === "boolean";
    return plain && name !== found ? [[name, String(field)]] : [];
  });
  const fields = Object.fromEntries(others);
  const id = Object.hasOwn(fields, "id") && fields["id"] !== "" ? fields["id"] : undefined;
  const negative = Object.hasOwn(fields, "negative") ? fields["negative"] : undefined;
  if (id !== undefined && id.length > MAXIMUM_ID)
    return `expected an id of at most ${MAXIMUM_ID} characters, got ${id.length}`;
  return promptFault(prompt) ?? { id, prompt, negative, fields };
}
