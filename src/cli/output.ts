/** @file What the command line prints: colours where they are wanted, tables, bytes of JSON. */

import { relative } from "node:path";

/** Where a command reads and writes; tests pass their own. */
export interface Terminal {
  /** Results only. */
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };
  /** Progress, warnings and errors. */
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where a question is answered; undefined where nobody can be asked. */
  readonly stdin?: NodeJS.ReadableStream & { readonly isTTY?: boolean };
}

/** Styles text for a stream. */
export interface Palette {
  bold(text: string): string;
  dim(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
  red(text: string): string;
}

/** Colours on a terminal, none elsewhere; NO_COLOR and TERM=dumb turn them off, FORCE_COLOR turns them on. */
export function palette(stream: { readonly isTTY?: boolean }, environment: Terminal["environment"]): Palette {
  const wanted = wantsColor(stream, environment);
  const style =
    (open: number, close: number) =>
    (text: string): string =>
      wanted ? `\u001b[${open}m${text}\u001b[${close}m` : text;
  return { bold: style(1, 22), dim: style(2, 22), green: style(32, 39), yellow: style(33, 39), red: style(31, 39) };
}

function wantsColor(stream: { readonly isTTY?: boolean }, environment: Terminal["environment"]): boolean {
  if ((environment["NO_COLOR"] ?? "") !== "") return false;
  const forced = environment["FORCE_COLOR"];
  if (forced !== undefined) return forced !== "0" && forced !== "false";
  return stream.isTTY === true && environment["TERM"] !== "dumb";
}

/** Bars that move: on a terminal that can, and not where a log is kept (`CI`). */
export function wantsAnimation(stream: { readonly isTTY?: boolean }, environment: Terminal["environment"]): boolean {
  const logged = !["", "0", "false"].includes(environment["CI"] ?? "");
  return stream.isTTY === true && environment["TERM"] !== "dumb" && !logged;
}

/** A column of a table. */
export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/** A table with aligned columns, two spaces apart, a line break at the end. `style` colours a finished row. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  style: (text: string, row: number | "head") => string = (text) => text,
): string {
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (columns[i]?.align === "right" ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  const head = style(line(columns.map(({ title }) => title)), "head");
  return [head, ...rows.map((row, i) => style(line(row), i))].map((text) => `${text}\n`).join("");
}

/** Prints one JSON value on stdout. */
export function printJson(terminal: Terminal, value: unknown): void {
  terminal.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** A warning, or another remark that should be seen, in its colour for stderr. */
export function warningLine(terminal: Terminal, message: string): string {
  return palette(terminal.stderr, terminal.environment).yellow(printable(message));
}

/** Text on one line for the terminal: control characters, which could move the cursor or hide text, become visible. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (character) => {
    if (character === "\n") return "⏎";
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
  });
}

/** A path as a person would type it from the working folder; absolute when it is not below that. */
export function shownPath(path: string): string {
  const below = relative(process.cwd(), path);
  return printable(below === "" || below.startsWith("..") ? path : below);
}

/** Writes each warning to stderr, as a line of its own. */
export function warnTo(terminal: Terminal): (message: string) => void {
  return (message) => void terminal.stderr.write(`${warningLine(terminal, `warning: ${message}`)}\n`);
}

/** Seconds for people: `0.4 s`, `12.3 s`, `3 min 5 s`. */
export function duration(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** Bytes for people: `532 B`, `1.2 kB`, `4.3 GB`; a kB is 1000 bytes. */
export function byteCount(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  return power === 0 ? `${bytes} B` : `${(bytes / 1000 ** power).toFixed(1)} ${units[power]}`;
}

/** Waits until all that was written has reached the other side: process.exit() would cut a pipe short. */
export function flushed(stream: NodeJS.WritableStream): Promise<void> {
  return new Promise((resolve) => {
    if (!stream.writable) resolve();
    else stream.write("", () => resolve());
  });
}
