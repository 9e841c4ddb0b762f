/** @file What other programs install lies in two folders, each of which is installed alone. */

import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";

test("both integrations ask through the same client", async () => {
  const client = (folder: string) => readFile(new URL(`../../integrations/${folder}/laurel_client.py`, import.meta.url), "utf8"); // prettier-ignore
  expect(await client("comfyui")).toBe(await client("webui"));
});
