/** @file A progress bar on stderr, on a terminal only. */

import { duration, type Terminal, wantsAnimation } from "./output.js";

/** How far work is. */
export interface Progress {
  readonly finished: number;
  readonly total: number;
  /** Shares of what is begun, summed up. @default 0 */
  readonly underway?: number;
  /** What else to say: `best 0.123`. */
  readonly note?: string | undefined;
}

/** Shows how far work is. */
export interface ProgressDisplay {
  update(progress: Progress): void;
  /** Prints a line above the bar. */
  log(text: string): void;
  /** Takes the bar away. */
  stop(): void;
}

/** What a bar counts. */
export interface ProgressOptions {
  readonly quiet?: boolean | undefined;
  /** Said after the numbers: `images`. */
  readonly unit: string;
  /** How a number is shown: bytes as `1.2 GB`. @default in digits */
  readonly count?: ((value: number) => string) | undefined;
}

/** Time before the first estimate: earlier, it would mostly show the loading of the models. */
const SETTLED_MS = 2000;

/** A bar of `unit` where animations are wanted and `quiet` is not set; otherwise only `log` does something. */
export async function openProgress(
  terminal: Terminal,
  { quiet = false, unit, count = String }: ProgressOptions,
): Promise<ProgressDisplay> {
  const plain = (text: string): void => void terminal.stderr.write(`${text}\n`);
  if (quiet || !wantsAnimation(terminal.stderr, terminal.environment)) {
    return { update: () => undefined, log: plain, stop: () => undefined };
  }
  const { default: cliProgress } = await import("cli-progress");
  const bar = new cliProgress.SingleBar({
    format: `{bar} {shown} ${unit}{remarks}`,
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
    update({ finished, total, underway = 0, note }) {
      const value = Math.min(finished + underway, total);
      first ??= finished;
      const remarks = [note, ...estimates(performance.now() - startedAt, value - first, total - value, count)];
      const shown = `${count(finished)}/${count(total)}`;
      const payload = { shown, remarks: remarks.map((one) => (one === undefined ? "" : `, ${one}`)).join("") };
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

/** Rate and time left, once `done` since the start tells something of them. */
function estimates(elapsedMs: number, done: number, left: number, count: (value: number) => string): string[] {
  if (elapsedMs < SETTLED_MS || done <= 0) return [];
  const perSecond = (1000 * done) / elapsedMs;
  const whole = count === String ? perSecond.toFixed(1) : count(Math.round(perSecond));
  const rate = perSecond >= 1 ? `${whole}/s` : `${duration(1000 / perSecond)} each`;
  return [rate, `${duration((elapsedMs / done) * left)} left`];
}
