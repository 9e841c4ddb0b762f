/** @file What a fine-tuning run tells while it goes: events for callers, and a status line with the validations above it for people. */

import { mean } from "../../util/statistics.js";
import { formatDuration, type StatusStream } from "../progress.js";
import type { GuardVerdict } from "./guards.js";
import type { UpdateRecord, ValidationRecord } from "./records.js";

/** Receives what happens during a fine-tuning run. */
export interface TrainingEvents {
  /** After every update. */
  onStep(record: UpdateRecord): void;
  /** After every validation; the base's own has no verdict. */
  onValidation(record: ValidationRecord, verdict: GuardVerdict | undefined): void;
  /** What should be seen at once: a guard that is off, and a verdict's warnings. */
  onWarning(text: string): void;
}

/** Where the status goes; `columns` wide on a terminal. */
export interface ProgressStream extends StatusStream {
  readonly columns?: number | undefined;
}

/** Colours as the command line wants them; without, there are none. */
export interface ProgressColours {
  dim(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
  red(text: string): string;
}

/** How {@link createTrainingProgress} shows a run. */
export interface ProgressOptions {
  /** Names the run: its method. */
  readonly label: string;
  /** Updates in all. */
  readonly steps: number;
  /** @default none */
  readonly colours?: ProgressColours | undefined;
  /** Rewrite one line in place. @default on a terminal */
  readonly animate?: boolean | undefined;
  /** Milliseconds between status lines. @default 500 in place, 30,000 otherwise */
  readonly everyMs?: number | undefined;
  /** Milliseconds. @default performance.now */
  readonly now?: (() => number) | undefined;
}

/** Where a fine-tuning run stands. */
export interface TrainingStanding {
  readonly label: string;
  readonly step: number;
  readonly steps: number;
  /** Means over the latest updates. */
  readonly loss: number;
  readonly rewards: ReadonlyMap<string, number>;
  /** What the guards said last; undefined before the first validation. */
  readonly guards: string | undefined;
  /** Updates per second of late; NaN before it is known. */
  readonly rate: number;
}

/** Updates that the shown means and the rate are over. */
const WINDOW = 20;
const PLAIN: ProgressColours = { dim: same, green: same, yellow: same, red: same };

function same(text: string): string {
  return text;
}

/** One line: step, loss, rewards, guards, rate, time left. */
export function formatTrainingStanding(standing: TrainingStanding): string {
  const { label, step, steps, loss, rewards, guards, rate } = standing;
  const known = rate > 0 && Number.isFinite(rate);
  return [
    `${label}: step ${step}/${steps}`,
    `loss ${loss.toPrecision(3)}`,
    ...[...rewards].map(([name, value]) => `${name} ${value.toFixed(3)}`),
    ...(guards === undefined ? [] : [`guards ${guards}`]),
    ...(known ? [pace(rate)] : []),
    ...(known ? [`${formatDuration((steps - step) / rate)} left`] : []),
  ].join(", ");
}

function pace(rate: number): string {
  if (rate >= 1) return `${rate.toFixed(1)} steps/s`;
  return `${rate > 1 / 60 ? `${(1 / rate).toFixed(1)} s` : formatDuration(1 / rate)} a step`;
}

/** One line on a validation: every reward's change with two standard errors, diversity, what the guards say. */
export function formatVerdict({ step, guide, heldOut, diversity, divergence, passes, alarm }: GuardVerdict): string {
  const change = (one: GuardVerdict["guide"][number]): string =>
    `${one.reward} ${one.difference < 0 ? "" : "+"}${one.difference.toFixed(3)} ± ${(2 * one.standardError).toFixed(3)}`;
  return [
    `step ${step} against the base: ${guide.map(change).join(", ")}`,
    ...heldOut.map((one) => `held out ${change(one)}`),
    ...(diversity === null ? [] : [`diversity ${(100 * diversity.share).toFixed(0)} %`]),
    ...(divergence === null ? [] : [`divergence ${divergence.toPrecision(2)}`]),
    alarm === null ? (passes ? "passes" : "does not pass") : "alarm",
  ].join(", ");
}

/** Shows a run on `stream`: a status line, and a line for every validation, alarm and warning. `end` leaves the status line. */
export function createTrainingProgress(
  stream: ProgressStream,
  options: ProgressOptions,
): TrainingEvents & { end(): void } {
  const { label, steps, colours = PLAIN, animate = stream.isTTY === true, now = () => performance.now() } = options;
  const everyMs = options.everyMs ?? (animate ? 500 : 30_000);
  const latest: { readonly record: UpdateRecord; readonly at: number }[] = [];
  let guards: string | undefined;
  let shownAt: number | undefined;
  let status: string | undefined;
  const rewrite = (text: string): void => {
    const line = clean(text);
    stream.write(`\r\u001b[2K${line.slice(0, (stream.columns ?? 200) - 1)}`);
    status = line;
  };
  const tell = (text: string, colour: (text: string) => string): void => {
    const line = `${colour(clean(text))}\n`;
    if (status === undefined) stream.write(line);
    else {
      stream.write(`\r\u001b[2K${line}`);
      rewrite(status);
    }
  };
  return {
    onStep(record) {
      latest.push({ record, at: now() });
      if (latest.length > WINDOW) latest.shift();
      // the first steps are shown as soon as there is a rate
      if (shownAt !== undefined && now() - shownAt < everyMs && record.step < steps) return;
      shownAt = now();
      const line = formatTrainingStanding(standing(label, steps, latest, guards));
      if (animate) rewrite(line);
      else stream.write(`${clean(line)}\n`);
    },
    onValidation(record, verdict) {
      latest.length = 0; // its time is not the updates'
      if (verdict === undefined) return tell(`step ${record.step}: the base is validated`, colours.dim);
      guards = verdict.alarm === null ? (verdict.passes ? "ok" : "do not pass") : `alarm: ${verdict.alarm.kind}`;
      tell(formatVerdict(verdict), verdict.alarm !== null ? colours.red : verdict.passes ? colours.green : colours.yellow); // prettier-ignore
      if (verdict.alarm !== null) tell(verdict.alarm.text, colours.red);
    },
    onWarning: (text) => tell(text, colours.yellow),
    end() {
      if (status !== undefined) stream.write("\n");
      status = undefined;
    },
  };
}

function standing(
  label: string,
  steps: number,
  latest: readonly { readonly record: UpdateRecord; readonly at: number }[],
  guards: string | undefined,
): TrainingStanding {
  const records = latest.map(({ record }) => record);
  const [first, last] = [latest[0], latest.at(-1)];
  const over = (key: string): number =>
    mean(records.flatMap((record) => (typeof record[key] === "number" ? [record[key]] : [])));
  const keys = Object.keys(records.at(-1) ?? {}).filter((key) => key.startsWith("reward/"));
  const updates = (last?.record.step ?? 0) - (first?.record.step ?? 0);
  return {
    label,
    step: last?.record.step ?? 0,
    steps,
    loss: over("loss"),
    rewards: new Map(keys.map((key) => [key.slice("reward/".length), over(key)])),
    guards,
    rate: (1000 * updates) / ((last?.at ?? 0) - (first?.at ?? 0)),
  };
}

/** One line, whatever a name holds. */
function clean(text: string): string {
  return text.replace(/\p{Cc}/gu, " ");
}
