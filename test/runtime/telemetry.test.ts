import { readdir } from "node:fs/promises";
import { expect, test, vi } from "vitest";
import * as g from "#laurel/graph/builder";
import { openDevice } from "#laurel/runtime/device";
import { float32 } from "#laurel/tensor/tensor";
import { temporaryFolder } from "../pipeline/runs.js";

test("ONNX Runtime's telemetry is off: it leaves no session and no log in the temporary folder", async () => {
  const folder = await temporaryFolder();
  vi.stubEnv("TMPDIR", folder);
  vi.stubEnv("ORT_DISABLE_TELEMETRY", undefined);
  // it is off by itself where continuous integration is recognised
  for (const name of ["CI", "GITHUB_ACTIONS", "TF_BUILD", "GITLAB_CI"]) vi.stubEnv(name, undefined);
  const device = openDevice();
  const program = await device.compile(g.graph("negate", { y: g.neg(g.input("x", "float32", [1])) }));
  await program.run({ x: float32([1], [1]) });
  await device.close();
  vi.unstubAllEnvs();
  expect(await readdir(folder)).toEqual([]);
});
