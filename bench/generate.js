/** @file `laurel generate -n 16` as a user runs it from a cold start, and where the wall time of a longer run goes. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { median, report, runLaurel } from "./measure.js";

const PROMPT = "a red circle above a blue square";

export async function run() {
  const out = await mkdtemp(join(tmpdir(), "laurel-bench-"));
  try {
    const generate = (count) =>
      runLaurel(["generate", PROMPT, "-n", String(count), "--seed", "1", "--out", out, "--json"]);
    const seconds = [];
    for (let i = 0; i < 5; i++) seconds.push((await generate(16)).seconds);
    report("laurel generate -n 16, cold start", median(seconds), "s", "<= 15", {
      min: Math.min(...seconds),
      max: Math.max(...seconds),
      runs: seconds.length,
    });
    const long = await generate(512);
    const { timings } = JSON.parse(long.stdout);
    const details = { seconds: long.seconds, ...timings };
    // the run's own time leaves out the start of the process and the loading of code, which do not grow with the candidates
    const ofRun = 1 - timings.programMs / timings.totalMs;
    report("laurel generate -n 512, share of the run's time outside program runs", ofRun, "of 1", "<= 0.05", details);
    const ofProcess = 1 - timings.programMs / (long.seconds * 1000);
    report("laurel generate -n 512, the same of the whole process", ofProcess, "of 1", "<= 0.05");
  } finally {
    await rm(out, { recursive: true, force: true });
  }
}
