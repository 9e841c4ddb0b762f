import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GeneratedGroup, ImageBackend } from "#laurel/backends/contract";
import { openFolder } from "#laurel/backends/folder";
import { resolveRequest } from "#laurel/backends/resolve";
import { UsageError } from "#laurel/errors";
import { encodePng } from "#laurel/image/png";
import { backendConformance } from "./conformance.js";
import { paint } from "./servers/webui-server.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-folder-"));
  await mkdir(join(folder, "plain"));
  await mkdir(join(folder, "told"));
  for (let i = 0; i < 50; i++)
    await writeFile(join(folder, "plain", `${i}.png`), await encodePng(paint(i, { width: 64, height: 64 })));
  const infotext = (prompt: string, seed: number): { keyword: string; value: string }[] => [
    {
      keyword: "parameters",
      value: `${prompt}\nNegative prompt: blur\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: ${seed}, Size: 64x64`,
    },
  ];
  const picture = (seed: number, prompt?: string): Promise<Uint8Array> =>
    encodePng(paint(seed, { width: 64, height: 64 }), prompt === undefined ? [] : infotext(prompt, seed));
  await writeFile(join(folder, "told", "a.png"), await picture(100, "a cat"));
  await writeFile(join(folder, "told", "b.png"), await picture(101, "a dog"));
  await writeFile(join(folder, "told", "c.png"), await picture(102, "a cat"));
  await writeFile(join(folder, "told", "d.png"), await picture(103, "a cat"));
  await writeFile(join(folder, "told", "d.txt"), "a horse\n");
  await writeFile(join(folder, "told", "e.png"), "no picture");
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function draw(
  backend: ImageBackend,
  prompt: string,
  seed = 0,
  count = 10,
): Promise<{ groups: GeneratedGroup[]; warnings: string[] }> {
  const { request, warnings } = resolveRequest(backend, { prompt, seed, count });
  const groups: GeneratedGroup[] = [];
  for await (const group of backend.generate(request)) groups.push(group);
  return { groups, warnings: [...warnings, ...groups.flatMap((one) => one.warnings)] };
}

describe("the backend contract", () => {
  backendConformance({ open: () => openFolder([join(folder, "plain")]), prompt: "anything" });
});

describe("folder", () => {
  it("lists the prompts of its pictures, a sidecar before metadata", async () => {
    const prompts = async (origin: "any" | "metadata" | "sidecar"): Promise<string[]> => {
      const found: string[] = [];
      for await (const prompt of (await openFolder([join(folder, "told")], origin)).prompts!()) found.push(prompt);
      return found;
    };
    expect(await prompts("any")).toEqual(["a cat", "a dog", "a horse"]);
    expect(await prompts("metadata")).toEqual(["a cat", "a dog"]);
    expect(await prompts("sidecar")).toEqual(["a horse"]);
  });

  it("gives the pictures of a prompt, with the seed they say, and leaves out what is none", async () => {
    const { groups, warnings } = await draw(await openFolder([join(folder, "told")]), "a cat");
    const images = groups.flatMap((one) => one.images);
    expect(images.map(({ seed, reportedSeed }) => [seed, reportedSeed])).toEqual([
      [0, 100],
      [1, 102],
    ]);
    expect(images.map(({ image }) => image)).toEqual([100, 102].map((seed) => paint(seed, { width: 64, height: 64 })));
    expect(images[0]?.source).toBe(join(folder, "told", "a.png"));
    // the file without a prompt goes with every prompt
    expect(warnings).toEqual([expect.stringMatching(/e\.png: expected .*; it is left out/)]);
  });

  it("ends where the pictures end", async () => {
    const backend = await openFolder([join(folder, "plain")]);
    expect((await draw(backend, "x", 48, 10)).groups.flatMap((one) => one.images)).toHaveLength(2);
    expect((await draw(backend, "x", 50, 10)).groups).toEqual([]);
  });

  it("refuses a folder without pictures", async () => {
    await mkdir(join(folder, "empty"));
    await expect(openFolder([join(folder, "empty")])).rejects.toBeInstanceOf(UsageError);
  });
});
