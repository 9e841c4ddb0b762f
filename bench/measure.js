/** @file Helpers of the benchmarks: whole processes timed from outside, medians, JSON lines. */

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

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

/** Prints one result as a JSON line: name, value, unit, the aim, and whatever else was measured. */
export function report(name, value, unit, aim, details = {}) {
  process.stdout.write(JSON.stringify({ name, value: Number(value.toPrecision(4)), unit, aim, ...details }) + "\n");
}
