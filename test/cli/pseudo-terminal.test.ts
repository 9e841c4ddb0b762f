/** @file What reaches a real terminal and what reaches a pipe: the executable under a pseudo-terminal of util-linux's script. */

import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { encodePng } from "#laurel/image/png";
import { type Ended, finish, MAIN, start } from "./processes.js";

vi.setConfig({ testTimeout: 60_000 });

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-test-"));
  const png = await encodePng({ width: 64, height: 64, data: new Uint8Array(3 * 64 * 64).fill(200) });
  for (let i = 0; i < 24; i++) await writeFile(join(folder, `${i}.png`), png);
  await writeFile(join(folder, "broken.png"), "no image");
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const COMMAND = ["score", "a red circle", "."];
/** Colours. */
const COLOUR = /\u001b\[\d+m/;
/** Any control code of a terminal. */
const CONTROL = /\u001b|\r(?!\n)/;

const hasScript = (() => {
  try {
    return execFileSync("script", ["--version"], { encoding: "utf8" }).includes("util-linux");
  } catch {
    return false;
  }
})();

/** Runs the command with both streams on a terminal; `stdout` holds what the terminal gets. `redirect` is appended for the shell. */
function onTerminal(environment: Readonly<Record<string, string>> = {}, redirect = ""): Promise<Ended> {
  const words = [process.execPath, MAIN, ...COMMAND].map((word) => `'${word}'`).join(" ");
  // Those that the tests are run with must not count; an empty one is as none.
  const env = { ...process.env, CI: "", NO_COLOR: "", FORCE_COLOR: undefined, TERM: "xterm-256color", ...environment };
  return finish(spawn("script", ["-qec", words + redirect, "/dev/null"], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] })); // prettier-ignore
}

describe.skipIf(!hasScript)("on a terminal", () => {
  test("a bar and colours", async () => {
    const { code, stdout } = await onTerminal();
    expect(code).toBe(4);
    expect(stdout).toContain("━");
    expect(stdout).toMatch(/\d+\/25 images/);
    expect(stdout).toMatch(COLOUR);
  });

  test("NO_COLOR takes the colours and leaves the bar", async () => {
    const { stdout } = await onTerminal({ NO_COLOR: "1" });
    expect(stdout).toContain("━");
    expect(stdout).not.toMatch(COLOUR);
  });

  test("CI takes the bar and leaves the colours", async () => {
    const { stdout } = await onTerminal({ CI: "true" });
    expect(stdout).not.toContain("━");
    expect(stdout).toMatch(COLOUR);
  });

  test("TERM=dumb takes every control code", async () => {
    const { code, stdout } = await onTerminal({ TERM: "dumb" });
    expect(code).toBe(4);
    expect(stdout).not.toMatch(CONTROL);
    expect(stdout).toContain("rank");
  });

  test("a result that goes to a file has no control codes, while the bar goes to the terminal", async () => {
    const { stdout } = await onTerminal({}, " > result.txt");
    expect(stdout).toContain("━");
    const result = await readFile(join(folder, "result.txt"), "utf8");
    expect(result).toMatch(/^rank +score +better than +image\n/);
    expect(result).not.toMatch(CONTROL);
  });
});

test.each([[COMMAND], [["--help"]], [["bogus"]]])("in pipes %o prints no control code", async (args) => {
  const { stdout, stderr } = await finish(start(args, { cwd: folder, environment: { TERM: "xterm-256color" } }));
  expect(stdout + stderr).not.toMatch(CONTROL);
  expect((stdout + stderr).length).toBeGreaterThan(20);
});

test("FORCE_COLOR colours what goes into a pipe", async () => {
  const { stdout } = await finish(start(COMMAND, { cwd: folder, environment: { FORCE_COLOR: "1" } }));
  expect(stdout).toMatch(COLOUR);
});
