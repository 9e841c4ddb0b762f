/** @file A progress bar on stderr, on a terminal only. */

import type { RunProgress } from "../pipeline/generate-run.js";
import { duration, type Terminal } from "./output.js";

/** Shows how far a run is. */
export interface ProgressDisplay {
  update(progress: RunProgress): void;
  /** Prints a line above the bar. */
  log(text: string): void;
  /** Takes the bar away. */
  stop(): void;
}

/** A bar when stderr is a terminal and `quiet` is not set; otherwise only `log` does something. */
export async function openProgress(terminal: Terminal, quiet: boolean): Promise<ProgressDisplay> {
  const plain = (text: string): void => void terminal.stderr.write(`${text}\n`);
  if (quiet || terminal.stderr.isTTY !== true || terminal.environment["TERM"] === "dumb") {
    return { update: () => undefined, log: plain, stop: () => undefined };
  }
  const { default: cliProgress } = await import("cli-progress");
  const bar = new cliProgress.SingleBar({
    format: "{bar} {finished}/{candidates} candidates{best}{left}",
    barCompleteChar: "━",
    barIncompleteChar: "─",
    barsize: 28,
    stream: terminal.stderr,
    clearOnComplete: true,
    // Turned off, it would stay off when the process is ended in a hurry.
    linewrap: true,
    gracefulExit: false,
  });
  const startedAt = performance.now();
  let first: number | undefined;
  let started = false;
  return {
    update({ finished, total, underway, best }) {
      const value = Math.min(finished + underway, total);
      first ??= finished;
      const elapsed = performance.now() - startedAt;
      // Too early, the estimate would mostly show the loading of the models.
      const known = elapsed > 2000 && value > first;
      const payload = {
        finished,
        candidates: total,
        best: best === null ? "" : `, best ${best.toFixed(3)}`,
        left: known ? `, ${duration((elapsed / (value - first)) * (total - value))} left` : "",
      };
      if (started) bar.update(value, payload);
      else bar.start(total, value, payload);
      started = true;
    },
    log(text) {
      if (started) bar.stop();
      plain(text);
      started = false;
    },
    stop() {
      if (started) bar.stop();
      started = false;
    },
  };
}
