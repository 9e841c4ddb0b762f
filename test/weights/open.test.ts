/** @file Finding and recognising weights: standard folder names, shards, variants, and files that are something else. */

import { mkdirSync, symlinkSync } from "node:fs";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zeros } from "#laurel/tensor/tensor";
import { findComponentWeights } from "#laurel/weights/component";
import { openSafetensorsIndex, openWeights } from "#laurel/weights/open";
import { saveSafetensors } from "#laurel/weights/safetensors";
import { describe, expect, it } from "vitest";
import { expectRefusal, fixture, temporaryFolder, writeTemporary } from "./helpers.js";

const folder = temporaryFolder();
let counter = 0;

function folderWith(...names: readonly string[]): string {
  const path = join(folder, `folder-${counter++}`);
  mkdirSync(path);
  for (const name of names) writeFileSync(join(path, name), "");
  return path;
}

describe("findComponentWeights", () => {
  const cases: [names: string[], variant: string | undefined, found: string][] = [
    [
      ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin", "config.json"],
      undefined,
      "diffusion_pytorch_model.safetensors",
    ],
    [["model.safetensors", "pytorch_model.bin"], undefined, "model.safetensors"],
    [["pytorch_model.bin", "config.json"], undefined, "pytorch_model.bin"],
    [
      ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"],
      undefined,
      "diffusion_pytorch_model.safetensors",
    ],
    [
      ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"],
      "fp16",
      "diffusion_pytorch_model.fp16.safetensors",
    ],
    [["diffusion_pytorch_model.fp16.safetensors"], undefined, "diffusion_pytorch_model.fp16.safetensors"],
    [["diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin"], "fp16", "diffusion_pytorch_model.fp16.bin"],
    [
      ["diffusion_pytorch_model.non_ema.safetensors", "diffusion_pytorch_model.safetensors"],
      "non_ema",
      "diffusion_pytorch_model.non_ema.safetensors",
    ],
    [
      ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
      undefined,
      "model.safetensors.index.json",
    ],
    [
      ["diffusion_pytorch_model.safetensors.index.fp16.json"],
      "fp16",
      "diffusion_pytorch_model.safetensors.index.fp16.json",
    ],
    [
      ["diffusion_pytorch_model.fp16.safetensors.index.json"],
      undefined,
      "diffusion_pytorch_model.fp16.safetensors.index.json",
    ],
    [["ImageReward.pt", "med_config.json", "vocab.txt"], undefined, "ImageReward.pt"],
  ];
  it.each(cases)("in %j, variant %s, it finds %s", async (names, variant, found) => {
    const path = folderWith(...names);
    const weights = await findComponentWeights(path, { variant });
    expect(weights).toMatchObject({ path: join(path, found), warnings: [] });
    expect(weights.variant).toBe(/\.(fp16|non_ema)/.exec(found)?.[1]);
  });

  it("warns when the variant asked for is not there", async () => {
    const path = folderWith("model.safetensors");
    const { path: found, variant, warnings } = await findComponentWeights(path, { variant: "fp16" });
    expect([found, variant]).toEqual([join(path, "model.safetensors"), undefined]);
    expect(warnings).toEqual([`${path}: no weights of variant fp16; model.safetensors is used`]);
  });

  it("says what is there when there are no weights, or several of no standard name", async () => {
    await expect(findComponentWeights(folderWith("config.json"))).rejects.toThrow("got config.json");
    await expect(findComponentWeights(folderWith())).rejects.toThrow("got an empty folder");
    await expect(findComponentWeights(folderWith("a.pt", "b.ckpt"))).rejects.toThrow(
      "several of no standard name: a.pt, b.ckpt",
    );
    await expect(findComponentWeights(join(folder, "nowhere"))).rejects.toThrow(
      "nowhere: expected a folder with weights, got no such file",
    );
  });
});

describe("openWeights", () => {
  it("opens a folder by its standard names", async () => {
    const path = folderWith("config.json");
    copyFileSync(fixture("dtypes.safetensors"), join(path, "diffusion_pytorch_model.safetensors"));
    expect((await openWeights(path)).description).toBe(
      `safetensors file ${join(path, "diffusion_pytorch_model.safetensors")}`,
    );
  });

  it("goes by content, not by extension", async () => {
    const path = folderWith();
    copyFileSync(fixture("dtypes.safetensors"), join(path, "model.bin"));
    copyFileSync(fixture("dtypes.pt"), join(path, "other.safetensors"));
    expect((await openWeights(join(path, "model.bin"))).description).toContain("safetensors file");
    expect((await openWeights(join(path, "other.safetensors"))).description).toContain("PyTorch checkpoint");
  });

  it("follows links, and names the path that was given", async () => {
    const path = folderWith();
    symlinkSync(fixture("dtypes.pt"), join(path, "model.pt"));
    const { entries } = await openWeights(join(path, "model.pt"));
    expect(entries.values().next().value?.file).toBe(join(path, "model.pt"));
  });

  it("says that there is no such file, and that a folder is no file", async () => {
    await expectRefusal(join(folder, "missing.safetensors"), /expected a weight file or folder, got no such file/);
  });
});

describe("openSafetensorsIndex", () => {
  async function shards(weightMap: unknown): Promise<string> {
    const path = folderWith();
    await saveSafetensors(join(path, "a.safetensors"), new Map([["x", zeros("float32", [2])]]), { format: "pt" });
    await saveSafetensors(join(path, "b.safetensors"), new Map([["y", zeros("float16", [2])]]));
    return writeTemporary(path, JSON.stringify({ weight_map: weightMap }), "model.safetensors.index.json");
  }

  it("gives the tensors of all shards, each in its file", async () => {
    const index = await shards({ y: "b.safetensors", x: "a.safetensors" });
    const source = await openSafetensorsIndex(index);
    expect([...source.entries.values()].map(({ name, file }) => [name, file.slice(-13)])).toEqual([
      ["y", "b.safetensors"],
      ["x", "a.safetensors"],
    ]);
    expect(source.metadata.get("format")).toBe("pt");
    expect((await source.read("y")).dtype).toBe("float16");
  });
});
