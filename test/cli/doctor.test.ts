import { join } from "node:path";
import { expect, test } from "vitest";
import { environmentOf } from "../installation/folders.js";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

test("each check is a line; --json is one object", async () => {
  const folder = await temporaryFolder();
  const surroundings = { environment: environmentOf(folder) };
  const { exitCode, stdout } = await laurel(["doctor", "--out", join(folder, "runs")], surroundings);
  expect(exitCode).toBe(0);
  const lines = stdout.trimEnd().split("\n");
  expect(lines.find((line) => line.includes("node"))).toMatch(/^ok {4}node {9}\d+\.\d+\.\d+, Laurel needs >=20\.19$/);
  expect(lines.at(-1)).toMatch(/^ok {4}self-test {4}.*; load \d+ ms, score \d+ ms, generate \d+ ms$/);
  expect(stdout).not.toContain("\u001b");
  const colourful = await laurel(["doctor", "--json"], { ...surroundings, tty: true });
  const report = JSON.parse(colourful.stdout) as { schemaVersion: number; ok: boolean; checks: { name: string }[] };
  expect(report).toMatchObject({ schemaVersion: 1, ok: true });
  expect(report.checks).toHaveLength(15);
});

test("a folder of runs that cannot be is a failure with a hint", async () => {
  const { exitCode, stdout, stderr } = await laurel(["doctor", "--out", join(import.meta.filename, "runs")]);
  expect(exitCode).toBe(1);
  expect(stdout).toMatch(/^fail {2}outputs {6}\S+ expected a folder, got a file\n {19}name another folder with --out/m);
  expect(stderr).toMatch(/^15 checks: 1 failed, \d with a warning\n$/);
});

test("it can be cancelled", async () => {
  const controller = new AbortController();
  const running = laurel(["doctor"], { signal: controller.signal });
  setTimeout(() => controller.abort(), 150);
  expect((await running).exitCode).toBe(130);
});
