/** @file `laurel generate --init --strength --mask`, and runs made so, done again. */

import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { RunResultJson } from "#laurel/cli/result";
import { encodePng } from "#laurel/image/png";
import type { RunManifest } from "#laurel/pipeline/manifest";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

const PAINTER = { backend: { pictures: true } };

/** A folder with a picture of 18 x 13 pixels and a mask, and a folder for runs. */
async function pictures(): Promise<{ init: string; mask: string; out: string }> {
  const folder = await temporaryFolder();
  const write = async (name: string, width: number, height: number): Promise<string> => {
    const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37) % 256);
    await writeFile(join(folder, name), await encodePng({ width, height, data }));
    return join(folder, name);
  };
  const out = join(folder, "runs");
  await mkdir(out);
  return { init: await write("init.png", 18, 13), mask: await write("mask.png", 5, 5), out };
}

test("a run keeps its pictures: it can be done again without the files it was given", async () => {
  const { init, mask, out } = await pictures();
  const args = ["generate", "a box", "-n", "3", "--seed", "5", "--out", out, "--json"];
  const first = await laurel([...args, "--init", init, "--mask", mask, "--strength", "0.75"], PAINTER);
  expect(first.exitCode).toBe(0);
  const { directory, warnings } = JSON.parse(first.stdout) as RunResultJson;
  expect(warnings).toEqual(["init: sides are multiples of 4 pixels; the picture of 18 x 13 is resized to 16 x 12"]);
  const { config, request } = JSON.parse(await readFile(join(directory, "run.json"), "utf8")) as RunManifest;
  expect(config).toMatchObject({ width: 16, height: 12, strength: 0.75 });
  expect(request).toMatchObject({ width: null, height: null, strength: 0.75 });
  await Promise.all([rm(init), rm(mask)]);

  const again = await laurel(["rerun", directory, "--out", out, "--json"], PAINTER);
  expect(again.exitCode).toBe(0);
  expect(JSON.parse(again.stdout)).toMatchObject({ reproduced: { compared: 3, different: [] } });
  // the new run is as complete
  const { directory: second } = JSON.parse(again.stdout) as RunResultJson;
  expect(await readFile(join(second, "inputs", "mask.png"))).toEqual(
    await readFile(join(directory, "inputs", "mask.png")),
  );

  await writeFile(join(directory, "inputs", "mask.png"), "another");
  const changed = await laurel(["rerun", directory, "--out", out], PAINTER);
  expect(changed.exitCode).toBe(2);
  expect(changed.stderr).toMatch(/inputs\/mask\.png: expected the picture that the run was made with .*, got another/);
});

test("transparency is said to be dropped", async () => {
  const { init, out } = await pictures();
  const { default: sharp } = await import("sharp");
  await writeFile(init, await sharp(init).ensureAlpha(0.5).png().toBuffer());
  const { stdout } = await laurel(["generate", "a box", "-n", "1", "--init", init, "--out", out, "--json"], PAINTER);
  expect((JSON.parse(stdout) as RunResultJson).warnings).toContain(
    `${init}: its transparency is dropped; what it hid shows`,
  );
});

test("a backend without pictures leaves them out with a warning", async () => {
  const { init, out } = await pictures();
  const args = ["generate", "a box", "-n", "1", "--init", init, "--strength", "0.5", "--out", out, "--json"];
  expect((JSON.parse((await laurel(args)).stdout) as RunResultJson).warnings).toEqual([
    "procedural: a picture to start from is not supported and was left out, got a picture",
    "procedural: strength is not supported and was left out, got 0.5",
  ]);
});

test.each([
  [["--mask", "MASK"], /--mask: expected together with --init, got it alone/],
  [["--strength", "0.5"], /--strength: expected together with --init, got it alone/],
  [["--init", "INIT", "--strength", "0"], /--strength: expected a number above 0, up to 1, got 0/],
  [["--init", "INIT", "--strength", "1.5"], /--strength.*Expected a number from 0 to 1, got "1\.5"/],
  [
    ["--init", "INIT", "--strength", "0.2"],
    /strength: expected at least 1\/4, so that one of 4 steps is taken, got 0\.2/,
  ],
  [["--init", "MISSING"], /none\.png: expected an image file, got no such file/],
  [["--init", "TEXT"], /notes\.txt: expected a PNG, JPEG, WebP, GIF, TIFF or AVIF image, got /],
  [["--init", "INIT", "--mask", "MISSING"], /none\.png: expected an image file, got no such file/],
])("%j is refused before anything is drawn", async (options, message) => {
  const { init, mask, out } = await pictures();
  const text = join(out, "notes.txt");
  await writeFile(text, "not an image");
  const places: Record<string, string> = { INIT: init, MASK: mask, TEXT: text, MISSING: join(out, "none.png") };
  const args = ["generate", "a box", "--out", out, ...options.map((option) => places[option] ?? option)];
  const { exitCode, stderr } = await laurel(args, PAINTER);
  expect(stderr).toMatch(message);
  expect(exitCode).toBe(2);
});
