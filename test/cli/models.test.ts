import { cp, truncate } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { environmentOf, TINY_SD } from "../installation/folders.js";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

interface Listing {
  readonly models: readonly { readonly name: string; readonly path: string; readonly digest: string | null }[];
}

test("the table has a row for each model; a broken one is named, and --check makes it exit code 5", async () => {
  const folder = await temporaryFolder();
  await cp(TINY_SD, join(folder, "whole"), { recursive: true });
  await cp(TINY_SD, join(folder, "broken"), { recursive: true });
  await truncate(join(folder, "broken", "vae", "config.json"), 3);
  const environment = environmentOf(folder);
  const listed = await laurel(["models", folder], { environment });
  expect([listed.exitCode, listed.stderr]).toEqual([0, "1 of 5 cannot be used as they are\n"]);
  const rows = listed.stdout.trimEnd().split("\n").map((line) => line.split(/  +/)); // prettier-ignore
  expect(rows.map(([name, kind]) => [name, kind])).toEqual([
    ["model", "kind"],
    ["demo/stable-diffusion", "text-to-image"],
    ["demo/image-reward", "image-reward"],
    ["demo/clip", "clip"],
    [join(folder, "broken"), "text-to-image"],
    [join(folder, "whole"), "text-to-image"],
  ]);
  expect(rows[4]?.at(-1)).toMatch(/^vae\/config\.json: expected JSON, got /);
  expect(rows[5]?.at(-1)).toMatch(/^Stable Diffusion, image 64x64, latents 4x16x16, text width 32, /);
  const checked = await laurel(["models", folder, "--check", "--quiet", "--no-digest"], { environment });
  expect([checked.exitCode, checked.stderr]).toEqual([5, ""]);
  const whole = await laurel(["models", join(folder, "whole"), "--check", "--no-digest"], { environment });
  expect(whole.exitCode).toBe(0);
});

test("--json is one object; --no-digest leaves the digests out", async () => {
  const folder = await temporaryFolder();
  const environment = environmentOf(folder);
  const read = async (...extra: string[]): Promise<Listing> => {
    const { exitCode, stdout, stderr } = await laurel(["models", TINY_SD, "--json", ...extra], { environment });
    expect([exitCode, stderr]).toEqual([0, ""]);
    return JSON.parse(stdout) as Listing;
  };
  const listing = await read();
  expect(Object.keys(listing)).toEqual(["schemaVersion", "models", "places", "warnings"]);
  expect(Object.keys(listing.models[0] ?? {}).sort()).toEqual(
    ["architecture", "bytes", "digest", "dtypes", "family", "kind", "name", "parameters", "path", "problems", "source", "usable"], // prettier-ignore
  );
  expect(listing.models.map(({ digest }) => digest)).toEqual(listing.models.map(() => expect.stringMatching(/^[0-9a-f]{64}$/) as string)); // prettier-ignore
  expect((await read("--no-digest")).models.map(({ digest }) => digest)).toEqual(listing.models.map(() => null));
});

test("on a terminal a bar says what is hashed", async () => {
  const environment = environmentOf(await temporaryFolder());
  const hashing = await laurel(["models"], { environment, tty: true });
  expect(hashing.stderr).toMatch(/0\/3 models hashed, now demo\/stable-diffusion, 19\.5 MB/);
  expect((await laurel(["models", "--no-digest"], { environment, tty: true })).stderr).toBe("");
});

test("hashing can be cancelled", async () => {
  const controller = new AbortController();
  controller.abort();
  const { exitCode, stdout } = await laurel(["models"], { signal: controller.signal });
  expect([exitCode, stdout]).toEqual([130, ""]);
});
