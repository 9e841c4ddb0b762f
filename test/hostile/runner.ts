/** @file What must hold for every hostile file: the right error, in one line, naming the file, soon, in little memory, with nothing run or written. */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EXIT, LaurelError } from "#laurel/errors";
import { afterAll, expect, test } from "vitest";

/** One hostile or broken file, and how it has to be refused. */
export interface HostileCase {
  readonly name: string;
  /** Puts the files into an empty folder; returns the path to open. */
  readonly make: (folder: string) => string | Promise<string>;
  /** Must reject. */
  readonly open: (path: string) => unknown;
  /** What the message must say, besides the name of the file. */
  readonly message: RegExp;
  /** A file or folder within the folder that the message names. @default what `make` returns */
  readonly at?: string;
  /** @default "model" */
  readonly exit?: keyof typeof EXIT;
}

/** A case that was not refused, or not as it should be, is reported with its name. */
export interface Table {
  readonly title: string;
  readonly cases: readonly HostileCase[];
}

/** A payload of any pickle or script here would make this file. */
export const CANARY = join(tmpdir(), `laurel-canary-${process.pid}`);

const CPU_MS = 1000;
/** Time passed also counts waiting for a pipe; the machine may be busy with other things. */
const WALL_MS = 10_000;
const PEAK_BYTES = 64e6;

/** Tests every case of a table, each in a folder of its own. */
export function testTable({ title, cases }: Table): void {
  const root = mkdtempSync(join(tmpdir(), "laurel-hostile-"));
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  test.each(cases.map((one, index) => [one.name, one, index] as const))(`${title}: %s`, async (_, one, index) => {
    const folder = join(root, String(index));
    mkdirSync(folder);
    const path = await one.make(folder);
    const before = listing(folder);
    const measured = await measure(() => one.open(path));
    const { error } = measured;
    expect(error, "it was accepted").toBeInstanceOf(LaurelError);
    const { message, exitCode } = error as LaurelError;
    expect(message).toMatch(one.message);
    expect(message).toContain(oneLine(one.at === undefined ? path : join(folder, one.at)));
    expect(message).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
    expect(message.length).toBeLessThan(9000);
    expect(exitCode).toBe(EXIT[one.exit ?? "model"]);
    expect(measured.cpuMs).toBeLessThan(CPU_MS);
    expect(measured.wallMs).toBeLessThan(WALL_MS);
    let { peakBytes } = measured;
    // garbage of what ran before may be counted in: what really takes the memory takes it every time
    for (let again = 0; again < 2 && peakBytes >= PEAK_BYTES; again++) {
      peakBytes = (await measure(() => one.open(path))).peakBytes;
    }
    expect(peakBytes).toBeLessThan(PEAK_BYTES);
    expect(listing(folder)).toEqual(before);
    expect(existsSync(CANARY)).toBe(false);
    expect(process.getActiveResourcesInfo()).not.toContain("ProcessWrap");
  });
}

function oneLine(path: string): string {
  return path.replace(/\s*\n\s*/g, " ");
}

interface Measured {
  readonly error: unknown;
  readonly cpuMs: number;
  readonly wallMs: number;
  /** Growth of the peak of resident memory. */
  readonly peakBytes: number;
}

/** Calls `action`, which should throw, and says what it cost. */
export async function measure(action: () => unknown): Promise<Measured> {
  const resident = resetPeak();
  const [cpu, started] = [process.cpuUsage(), performance.now()];
  let error: unknown;
  try {
    await action();
  } catch (caught) {
    error = caught;
  }
  const { user, system } = process.cpuUsage(cpu);
  const wallMs = performance.now() - started;
  return { error, cpuMs: (user + system) / 1000, wallMs, peakBytes: peak() - resident };
}

/** Sets the peak back to what is resident now, where the system can (Linux); returns that. */
function resetPeak(): number {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    return peak();
  }
  return process.memoryUsage.rss();
}

function peak(): number {
  try {
    return Number(/^VmHWM:\s*(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024;
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}

function listing(folder: string): string[] {
  return readdirSync(folder, { recursive: true }).map(String).sort();
}
