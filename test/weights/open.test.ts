/** @file Finding and recognising weights: standard folder names, shards, variants, and files that are something else. */

import { mkdirSync, rmSync, symlinkSync, truncateSync } from "node:fs";
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

  const foreign: [string, string | Buffer, RegExp][] = [
    [
      "a git LFS pointer",
      "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1790000000\n",
      /a git LFS pointer to 1790000000 bytes; fetch the file itself/,
    ],
    ["a web page", "<!DOCTYPE html><html><body>Please log in</body></html>", /got a web page/],
    ["a web page behind spaces", "\n\n <html>", /got a web page/],
    ["an XML error", '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', /got a web page/],
    ["an empty file", "", /got an empty file/],
    ["GGUF", Buffer.from("GGUF\x03\0\0\0"), /a GGUF file/],
    ["7z", Buffer.from("7z\xbc\xaf\x27\x1c\0\x04", "latin1"), /a 7z archive/],
    ["gzip", Buffer.from("\x1f\x8b\x08\0", "latin1"), /a gzip archive/],
    ["tar", tar(), /a tar archive \(PyTorch 0.1.1 or older\)/],
    ["tar that begins like a pickle", tar("\x80\x02magic"), /magic number of torch.save|pickle/],
    ["text", "hello there", /a file that starts with 68 65 6c 6c/],
    ["one byte", Buffer.of(1), /a file that starts with 01/],
    ["JSON under another name", '{"weight_map":{}}', /a file that starts with 7b/],
    [
      "another pickle",
      Buffer.from("\x80\x02K\x01.", "latin1"),
      /expected the magic number of torch.save, got another pickle/,
    ],
    ["a pickle of protocol 4", Buffer.from("\x80\x04\x95\0\0\0\0\0\0\0\0.", "latin1"), /a pickle of protocol 2/],
    ["a zip of another kind", Buffer.from("PK\x05\x06" + "\0".repeat(18), "latin1"), /got an empty zip/],
  ];
  it.each(foreign)("recognises %s", async (_, content, message) => {
    await expectRefusal(writeTemporary(folder, content), message);
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

  it("lists every tensor its shard lacks", async () => {
    await expectRefusal(
      await shards({ x: "b.safetensors", z: "a.safetensors" }),
      /got none for x in b.safetensors, z in a.safetensors/,
    );
  });

  it.each([
    "../a.safetensors",
    "/etc/passwd",
    "sub/a.safetensors",
    "..",
    ".",
    "",
    "a\\b",
    "model.safetensors.index.json",
  ])("refuses the shard name %j", async (name) => {
    await expectRefusal(
      await shards({ x: name }),
      /expected the name of a file beside the index|expected weight files/,
    );
  });

  it("names the shard that is missing, a pointer, or cut short", async () => {
    const index = await shards({ x: "a.safetensors", y: "b.safetensors" });
    const shard = join(index, "..", "a.safetensors");
    truncateSync(shard, 40);
    await expect(openWeights(index)).rejects.toThrow(/a.safetensors: expected a header of/);
    writeFileSync(shard, "version https://git-lfs.github.com/spec/v1\nsize 5\n");
    await expect(openWeights(index)).rejects.toThrow(/a.safetensors: expected weights, got a git LFS pointer/);
    rmSync(shard);
    await expect(openWeights(index)).rejects.toThrow(/a.safetensors: expected a readable model file, got no such file/);
  });

  it.each(['{"weight_map":[]}', "{}", '{"weight_map":{"x":1}}', '{"weight_map":{"x":"a","x":"b"}}', '{"weight_map":{'])(
    "refuses the index %s",
    async (text) => {
      await expectRefusal(writeTemporary(folderWith(), text, "model.safetensors.index.json"), /weight_map|JSON/);
    },
  );
});

/** A tar archive as old PyTorch wrote it; the first member's name can pose as something else. */
function tar(name = "storages"): Buffer {
  const header = Buffer.alloc(1024);
  header.write(name, 0, "latin1");
  header.write("ustar", 257, "latin1");
  return header;
}
