/** @file `laurel lora`, and the LoRA options of commands that draw. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { RunResultJson } from "#laurel/cli/result";
import type { LoraFacts } from "#laurel/library/lora";
import type { RunManifest } from "#laurel/pipeline/manifest";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

const KOHYA = fileURLToPath(new URL("../fixtures/lora/kohya.safetensors", import.meta.url));
const DEMO = fileURLToPath(new URL("../../models/demo/stable-diffusion", import.meta.url));

test("--lora is taken as often as it is given, with its scale", async () => {
  const out = await temporaryFolder();
  const [first, second] = [join(out, "a.safetensors"), join(out, "b.safetensors")];
  for (const file of [first, second]) await writeFile(file, file);
  const flags = [
    "--lora",
    first,
    "--lora",
    `${second}:-0.5`,
    "--lora-anneal",
    "0.5",
    "-n",
    "1",
    "--out",
    out,
    "--json",
  ];
  const { exitCode, stdout, stderr } = await laurel(["generate", "a circle", ...flags], {
    backend: { capabilities: { loras: true } },
  });
  expect([exitCode, stderr]).toEqual([0, ""]);
  const { directory } = JSON.parse(stdout) as RunResultJson;
  const { config } = JSON.parse(await readFile(join(directory, "run.json"), "utf8")) as RunManifest;
  const loras = [
    { path: first, scale: 1 },
    { path: second, scale: -0.5 },
  ];
  expect(config).toMatchObject({ loras, loraAnneal: 0.5 });
});

test.each([
  [["--lora-anneal", "0"], /--lora-anneal: expected a number above 0, up to 1, got 0/, 2],
  [["--lora", "a.safetensors:1e9"], /LoRA a\.safetensors: expected a scale from -100 to 100, got 1000000000/, 2],
  [["--lora", "none.safetensors"], /none\.safetensors: expected a LoRA, got no such file/, 5],
])("generate %j is refused", async (flags, message, code) => {
  const args = ["generate", "a star", ...flags, "--out", await temporaryFolder()];
  const { exitCode, stderr } = await laurel(args, { backend: { capabilities: { loras: true } } });
  expect(stderr).toMatch(message);
  expect(exitCode).toBe(code);
});

test("inspect tells naming, networks, ranks and norms, for people and as JSON", async () => {
  const { exitCode, stdout } = await laurel(["lora", "inspect", KOHYA]);
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^naming +kohya$/m);
  expect(stdout).toMatch(/^unet +30 layers, rank 2, alpha 0\.75, float16$/m);
  expect(stdout).toMatch(/^ss_network_alpha +0\.75$/m);
  expect(stdout).toMatch(/and 20 more; --json lists all/);
  const facts = JSON.parse((await laurel(["lora", "inspect", KOHYA, "--json"])).stdout) as LoraFacts;
  expect(facts.layers).toHaveLength(36);
  expect(facts.layers.every(({ norm }) => norm > 0)).toBe(true);
});

test("convert and merge print what they wrote", async () => {
  const folder = await temporaryFolder();
  const out = join(folder, "converted.safetensors");
  const converted = await laurel(["lora", "convert", KOHYA, "--to", "diffusers", "--model", DEMO, "--out", out]);
  expect([converted.exitCode, converted.stderr]).toEqual([0, "36 layers, named for diffusers\n"]);
  const merged = await laurel(["lora", "merge", "--lora", `${out}:0.5`, "--out", join(folder, "merged")]);
  expect([merged.exitCode, merged.stderr]).toEqual([0, "changed 6 weights of text_encoder, 30 weights of unet\n"]);
  const again = await laurel(["lora", "merge", "--lora", out, "--out", join(folder, "merged")]);
  expect([again.exitCode, again.stdout]).toEqual([2, ""]);
});

test.each([
  [["lora", "convert", KOHYA, "--out", "x"], /--to: expected kohya or diffusers, got none/, 2],
  [["lora", "convert", KOHYA, "--to", "kohya"], /--out: expected a file to write, got none/, 2],
  [["lora", "convert", KOHYA, "--to", "diffusers", "--out", "x"], /expected the model it is for \(--model\)/, 2],
  [["lora", "merge", "--out", "x"], /--lora: expected a LoRA to merge, got none/, 2],
  [["lora", "inspect", DEMO], /expected a weight file such as/, 5],
])("%j is refused", async (args, message, code) => {
  const { exitCode, stderr } = await laurel(args);
  expect(stderr).toMatch(message);
  expect(exitCode).toBe(code);
});
