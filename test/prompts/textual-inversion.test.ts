/** @file Embedding files in the formats in use, and what is no embedding. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { ModelError } from "#laurel/errors";
import { openTextualInversion } from "#laurel/prompts/textual-inversion";
import { float32, int64 } from "#laurel/tensor/tensor";
import type { Tensor } from "#laurel/tensor/tensor";
import { saveSafetensors } from "#laurel/weights/safetensors";

const file = (name: string): string => fileURLToPath(new URL(`../fixtures/prompts/${name}`, import.meta.url));
/** First number of the vectors of each seed, as test/reference/prompts.py drew them. */
const FIRST = { star: -1.5256, sun: -1.0408, moon: -0.0767 } as const;

describe("formats", () => {
  test.each([
    ["star.pt", ["star"], 2, FIRST.star],
    ["star-legacy.pt", ["star-legacy"], 2, FIRST.star],
    ["star.safetensors", ["star"], 2, FIRST.star],
    ["sun.bin", ["sun", "<sun>"], 3, FIRST.sun],
    ["moon.safetensors", ["moon", "<moon>"], 1, FIRST.moon],
  ])("%s", async (name, triggers, count, first) => {
    const opened = await openTextualInversion(file(name), 32);
    expect(opened).toMatchObject({ triggers, count, path: file(name) });
    expect(opened.vectors).toHaveLength(count * 32);
    // float16 keeps three decimals
    expect(opened.vectors[0]).toBeCloseTo(first, 3);
  });

  test("of one embedding all have the same digest, and another has another", async () => {
    const digest = async (name: string): Promise<string> => (await openTextualInversion(file(name), 32)).digest;
    expect(await digest("star.pt")).toBe(await digest("star.safetensors"));
    expect(await digest("star.pt")).toBe(await digest("star-legacy.pt"));
    expect(await digest("star.pt")).not.toBe(await digest("sun.bin"));
  });
});

describe("what is refused", () => {
  async function saved(name: string, tensors: Record<string, Tensor>): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), "laurel-embedding-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    await saveSafetensors(join(folder, name), new Map(Object.entries(tensors)));
    return join(folder, name);
  }

  test.each([
    ["wide.safetensors", "emb_params: expected vectors of 32 numbers, the width of this model's text encoder, got 48"],
    [
      "two.safetensors",
      "expected a textual inversion embedding of one tensor, got 2 tensors: clip_g, clip_l (for Stable Diffusion XL?)",
    ],
  ])("%s", async (name, message) => {
    await expect(openTextualInversion(file(name), 32)).rejects.toThrow(new ModelError(`${file(name)}: ${message}`));
  });

  test.each<[Record<string, Tensor>, string]>([
    [
      { a: float32([1, 768], new Float32Array(768)) },
      "a: expected vectors of 32 numbers, the width of this model's text encoder, got 768 (for Stable Diffusion 1.x?)",
    ],
    [{ a: float32([1, 1, 32], new Float32Array(32)) }, "a: expected 1 to 1024 vectors, got a tensor [1, 1, 32]"],
    [{ a: float32([0, 32], []) }, "a: expected 1 to 1024 vectors, got a tensor [0, 32]"],
    [{ a: float32([2000, 32], new Float32Array(64_000)) }, "a: expected 1 to 1024 vectors, got a tensor [2000, 32]"],
    [{ a: float32([32], new Float32Array(32).fill(Number.NaN)) }, "a: expected finite numbers, got others"],
    [{ a: int64([32], new Float32Array(32)) }, "a: expected real numbers, got int64"],
  ])("%#", async (tensors, message) => {
    const path = await saved("x.safetensors", tensors);
    await expect(openTextualInversion(path, 32)).rejects.toThrow(new ModelError(`${path}: ${message}`));
  });

  test("a file that holds a module of PyTorch", async () => {
    await expect(openTextualInversion(file("star-modules.pt"), 32)).rejects.toThrow(
      /star-modules\.pt: .*got the name "torch\.nn\.modules\.container\.ParameterDict", which is not on the allow-list/,
    );
  });

  test("a file that is none, or none at all", async () => {
    const path = await saved("x.safetensors", { a: float32([32], new Float32Array(32)) });
    await writeFile(path, "a star");
    await expect(openTextualInversion(path, 32)).rejects.toThrow(ModelError);
    await expect(openTextualInversion(`${path}.pt`, 32)).rejects.toThrow("expected a weight file or folder, got");
  });
});
