/** @file Helpers of the benchmarks: whole processes timed from outside, medians, JSON lines. */

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { machine } from "./machine.js";

/** The built command line. */
export const LAUREL = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));

/** Runs `laurel ...args` once; resolves to its wall seconds and standard output. */
export function runLaurel(args) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(process.execPath, [LAUREL, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
    child.on("error", reject);
    child.on("close", (code) => {
      if (code !== 0) reject(new Error(`laurel ${args.join(" ")}: exit ${code}\n${stderr}`));
      else resolve({ seconds: (performance.now() - started) / 1000, stdout });
    });
  });
}

/** The middle value. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Prints one result as a JSON line: name, value, unit, the aim, whatever else was measured, and the machine with what kept it busy. */
export function report(name, value, unit, aim, details = {}) {
  const line = { name, value: round4(value), unit, aim, ...details, ...machine() };
  process.stdout.write(JSON.stringify(line, (_, part) => (typeof part === "number" ? round4(part) : part)) + "\n");
}

/** Four digits say all that a measurement does; whole numbers stay whole. */
function round4(value) {
  return Number.isInteger(value) ? value : Number(value.toPrecision(4));
}

/** Prints rows as aligned tables to standard error, for people; rows with other columns start another table. */
export function table(rows) {
  const text = (value) => (typeof value === "number" ? String(round4(value)) : String(value ?? ""));
  const groups = new Map();
  for (const row of rows) groups.set(Object.keys(row).join(), [...(groups.get(Object.keys(row).join()) ?? []), row]);
  for (const group of groups.values()) {
    const names = Object.keys(group[0]);
    const lines = [names, ...group.map((row) => names.map((name) => text(row[name])))];
    const widths = names.map((_, column) => Math.max(...lines.map((line) => line[column].length)));
    process.stderr.write(
      "\n" + lines.map((line) => line.map((cell, i) => cell.padStart(widths[i])).join("  ")).join("\n") + "\n",
    );
  }
}
