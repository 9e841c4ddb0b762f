/** @file Start-up time of `laurel --help`. */

import { median, report, runLaurel } from "./measure.js";

export async function run() {
  await runLaurel(["--help"]);
  const seconds = [];
  for (let i = 0; i < 9; i++) seconds.push((await runLaurel(["--help"])).seconds);
  report("laurel --help", median(seconds), "s", "<= 0.3", {
    min: Math.min(...seconds),
    max: Math.max(...seconds),
    runs: 9,
  });
}
