/** @file What a run says while it goes: one JSON line per record in a file, one status line on stderr. */

import { appendFileSync } from "node:fs";

/** Receives what happens during training. */
export interface TrainingLog {
  /** A record of one step: plain numbers and strings. */
  record(entry: Readonly<Record<string, number | string>>): void;
  /** The run is over or interrupted: leave the status line. */
  end(): void;
}

/** Where a status line is written; rewritten in place on a terminal. */
export interface StatusStream {
  /** Takes text, with control codes on a terminal. */
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
}

/** Where a run stands. */
export interface Standing {
  readonly label: string;
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  /** Updates per second of late. */
  readonly rate: number;
}

/** `1 h 02 min`, `3 min 20 s` or `12 s`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (hours > 0) return `${hours} h ${String(minutes).padStart(2, "0")} min`;
  return minutes > 0 ? `${minutes} min ${String(rest).padStart(2, "0")} s` : `${rest} s`;
}

/** One status line: steps done, loss, rate and time left. */
export function formatStanding({ label, step, steps, loss, rate }: Standing): string {
  const left = rate > 0 ? formatDuration((steps - step) / rate) : "?";
  return `${label}: step ${step}/${steps}, loss ${loss.toFixed(4)}, ${rate.toFixed(2)} steps/s, ${left} left`;
}

/** Appends records to `file` (JSONL), and shows every `everyMs` where the run stands on `stream`. */
export function createLog(
  file: string | undefined,
  stream: StatusStream | undefined,
  everyMs = 1000,
): TrainingLog & { show(standing: Standing): void } {
  let shownAt = 0;
  let open = false;
  return {
    record(entry) {
      if (file !== undefined) appendFileSync(file, `${JSON.stringify(entry)}\n`);
    },
    show(standing) {
      const now = performance.now();
      if (stream === undefined || now - shownAt < (stream.isTTY === true ? everyMs : 30 * everyMs)) return;
      shownAt = now;
      const line = formatStanding(standing);
      stream.write(stream.isTTY === true ? `\r\u001b[2K${line}` : `${line}\n`);
      open = stream.isTTY === true;
    },
    end() {
      if (open) stream?.write("\n");
      open = false;
    },
  };
}
