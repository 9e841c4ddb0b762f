/** @file The small version of `npm run bench -- kill`: real processes, killed at random moments. */

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const BENCH = fileURLToPath(new URL("../../bench/run.js", import.meta.url));

test("killed at random moments and resumed, a run has every result exactly once and the same bytes", async () => {
  const args = [BENCH, "kill", "--kills", "5", "--candidates", "60", "--steps", "2", "--seed", "3"];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  expect(JSON.parse(stdout)).toMatchObject({ value: 0, kills: 5, candidates: 60, candidateLines: 60, itemLines: 3 });
}, 240_000);
