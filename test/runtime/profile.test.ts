import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { graph, input, matMul } from "#laurel/graph/builder";
import { openDevice } from "#laurel/runtime/device";
import { float32 } from "#laurel/tensor/tensor";

let folder: string;
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), "laurel-profile-"))));
afterAll(() => rm(folder, { recursive: true, force: true }));

test("a device with a profile writes what each program's nodes took when the program is disposed of", async () => {
  const x = input("x", "float32", ["N", 2, 2]);
  const device = openDevice({ threads: 1, profile: join(folder, "times") });
  const program = await device.compile(graph("square", { y: matMul(x, x) }));
  await program.run({ x: float32([1, 2, 2], [1, 2, 3, 4]) });
  await program.dispose();
  await device.close();
  const [name, ...others] = await readdir(folder);
  expect(others).toEqual([]);
  expect(name).toMatch(/^times-square_.*\.json$/);
  const events = JSON.parse(await readFile(join(folder, name!), "utf8")) as {
    name: string;
    args?: { op_name?: string };
  }[];
  expect(
    events.filter((event) => event.args?.op_name === "MatMul" && event.name.endsWith("_kernel_time")),
  ).toHaveLength(1);
});
