import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findImages, globExpression } from "#laurel/image/find-images";
import { encodePng } from "#laurel/image/png";
import { temporaryFolder } from "../pipeline/runs.js";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { laurel, type Outcome } from "./terminal.js";

/** A folder of grey pictures named after their brightness, a broken one, a text, and a hidden one. */
async function pictures(): Promise<string> {
  const folder = await temporaryFolder();
  await mkdir(join(folder, "more", ".hidden"), { recursive: true });
  const grey = (name: string, value: number): Promise<void> =>
    encodePng({ width: 4, height: 4, data: new Uint8Array(48).fill(value) }).then((png) =>
      writeFile(join(folder, name), png),
    );
  await grey("10.png", 10);
  await grey("2.png", 2);
  await grey("more/200.PNG", 200);
  await grey("more/.hidden/255.png", 255);
  await writeFile(join(folder, "broken.jpg"), "not an image");
  await writeFile(join(folder, "notes.txt"), "not an image either");
  return folder;
}

test("a folder is scored, a broken image is reported in its place with exit code 4", async () => {
  const folder = await pictures();
  const { exitCode, stdout, stderr } = await laurel(["score", "bright", folder, "--json"]);
  expect(exitCode).toBe(4);
  const near = (value: number): number => expect.closeTo((value / 255 - 0.5) * 4, 5) as number;
  expect(JSON.parse(stdout)).toEqual({
    schemaVersion: 1,
    prompt: "bright",
    reward: "brightness",
    results: [
      { path: join(folder, "2.png"), score: near(2), rank: 3, percentile: 0, referencePercentile: null },
      { path: join(folder, "10.png"), score: near(10), rank: 2, percentile: 50, referencePercentile: null },
      {
        path: join(folder, "broken.jpg"),
        score: null,
        rank: null,
        error: expect.stringMatching(/broken\.jpg: expected a PNG, .*, got /) as string,
        percentile: null,
        referencePercentile: null,
      },
      { path: join(folder, "more/200.PNG"), score: near(200), rank: 1, percentile: 100, referencePercentile: null },
    ],
    reference: null,
    thresholds: [-1.5, -1, -0.5, 0, 0.5, 1].map((threshold) => ({
      threshold,
      kept: 1,
      share: 1 / 3,
      referenceShare: null,
    })),
    warnings: [],
  });
  expect(stderr).toBe("1 of 4 images could not be read\n");
});

test("the table shows the best first and what could not be read last", async () => {
  const folder = await pictures();
  const files = ["10.png", "missing.png", "2.png"].map((name) => join(folder, name));
  const { exitCode, stdout } = await laurel(["score", "bright", ...files]);
  expect(exitCode).toBe(4);
  expect(stdout.split("\n").map((line) => line.trim().split(/  +/))).toEqual([
    ["rank", "score", "image"],
    ["1", "-1.8431", files[0]],
    ["2", "-1.9686", files[2]],
    ["-", "unreadable", `${files[1]}: expected an image file, got no such file`],
    [""],
  ]);
});

test("only readable images give exit code 0, in the order they were named, each once", async () => {
  const folder = await pictures();
  const args = [join(folder, "2.png"), join(folder, "1*.png"), join(folder, "2.png")];
  const { exitCode, stdout } = await laurel(["score", "bright", ...args, "--json"]);
  expect(exitCode).toBe(0);
  const { results } = JSON.parse(stdout) as { results: { path: string; rank: number }[] };
  expect(results.map(({ path, rank }) => [path, rank])).toEqual([
    [join(folder, "2.png"), 2],
    [join(folder, "10.png"), 1],
  ]);
});

test("--jsonl prints a line for each image, in order, as it is scored", async () => {
  const folder = await pictures();
  const { exitCode, stdout } = await laurel(["score", "bright", folder, "--jsonl"]);
  expect(exitCode).toBe(4);
  const lines = stdout.trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    { schemaVersion: 1, path: join(folder, "2.png"), score: expect.any(Number) as number },
    { schemaVersion: 1, path: join(folder, "10.png"), score: expect.any(Number) as number },
    { schemaVersion: 1, path: join(folder, "broken.jpg"), score: null, error: expect.any(String) as string },
    { schemaVersion: 1, path: join(folder, "more/200.PNG"), score: expect.any(Number) as number },
  ]);
  const both = await laurel(["score", "bright", folder, "--jsonl", "--json"]);
  expect(both).toEqual({
    exitCode: 2,
    stdout: "",
    stderr: "error: --json, --jsonl: expected one of them, got both\n",
  });
});

test("cancelled, it says how many were scored; --jsonl has printed those, the table nothing", async () => {
  const folder = await pictures();
  const source = join(folder, "2.png");
  const copies = Array.from({ length: 20 }, (_, i) => join(folder, `copy-${i}.png`));
  for (const copy of copies) await copyFile(source, copy);
  const cancelled = (extra: readonly string[]): Promise<Outcome> => {
    const controller = new AbortController();
    let scored = 0;
    // Images are scored eight at a time; this one's group is finished at once, the next is not begun.
    const reward = createBrightnessReward((score) => {
      if (++scored === 11) controller.abort();
      return score;
    });
    return laurel(["score", "bright", ...copies, ...extra], { reward, signal: controller.signal });
  };
  const stderr = "cancelled with 16 of 20 images scored\n";
  expect(await cancelled([])).toEqual({ exitCode: 130, stdout: "", stderr });
  const streamed = await cancelled(["--jsonl"]);
  expect([streamed.exitCode, streamed.stderr]).toEqual([130, stderr]);
  const paths = streamed.stdout.trimEnd().split("\n").map((line) => (JSON.parse(line) as { path: string }).path); // prettier-ignore
  expect(paths).toEqual(copies.slice(0, 16));
});

test("on a terminal a bar counts the images", async () => {
  const folder = await pictures();
  const shown = await laurel(["score", "bright", folder], { tty: true });
  expect(shown.stderr).toContain("4/4 images");
  const streamed = await laurel(["score", "bright", folder, "--jsonl"], { tty: true });
  expect(streamed.stderr).not.toContain("━");
});

test("nothing found is a usage error", async () => {
  const folder = await pictures();
  for (const name of [join(folder, "*.webp"), join(folder, "more", ".hidden", "..", ".hidden", "none")]) {
    const { exitCode } = await laurel(["score", "bright", name]);
    expect(exitCode).toBe(name.includes("*") ? 2 : 4);
  }
  await mkdir(join(folder, "empty"));
  const { exitCode, stderr } = await laurel(["score", "bright", join(folder, "empty")]);
  expect([exitCode, stderr]).toEqual([2, `error: ${folder}/empty: expected a folder with images, got none in it\n`]);
});

describe("patterns", () => {
  test.each([
    ["/a/*.png", ["/a/x.png"], ["/a/b/x.png", "/a/x.pngs"]],
    ["/a/**/*.png", ["/a/x.png", "/a/b/c/x.png"], ["/b/x.png"]],
    ["/a/?.png", ["/a/x.png"], ["/a/xy.png", "/a/.png"]],
    ["/a/[xy].png", ["/a/x.png"], ["/a/z.png"]],
    ["/a/[!xy].png", ["/a/z.png"], ["/a/x.png"]],
    ["/a/*.{png,jpg}", ["/a/x.png", "/a/x.jpg"], ["/a/x.gif", "/a/x.{png,jpg}"]],
    ["/a/x+(1).png", ["/a/x+(1).png"], ["/a/xx1.png"]],
  ])("%s", (pattern, matching, others) => {
    const expression = globExpression(pattern);
    expect(matching.filter((path) => !expression.test(path))).toEqual([]);
    expect(others.filter((path) => expression.test(path))).toEqual([]);
  });

  test("a file whose name looks like a pattern is that file", async () => {
    const folder = await pictures();
    await writeFile(join(folder, "a[1].png"), "x");
    expect(await findImages([join(folder, "a[1].png")])).toEqual([join(folder, "a[1].png")]);
  });
});

test("scores of ImageReward v1.0 are told by what Stable Diffusion 1.4 draws; --thresholds tells what they keep", async () => {
  const folder = await pictures();
  const reward = {
    ...createBrightnessReward(),
    name: "image-reward",
    model: { name: "ImageReward.pt", path: "/models/ImageReward.pt" },
  };
  const files = ["2.png", "more/200.PNG"].map((name) => join(folder, name));
  const { stdout, stderr } = await laurel(["score", "bright", ...files, "--thresholds"], { reward });
  // brightness gives 1.1373 and -1.9686: published are 0.812 below 1, 0.991 below 2, 0.009 below -2, 0.188 below -1
  expect(stdout.split("\n").map((line) => line.trim().split(/  +/))).toEqual([
    ["rank", "score", "better than", "image"],
    ["1", "1.1373", "84 %", files[1]],
    ["2", "-1.9686", "1 %", files[0]],
    [""],
    ["threshold", "keeps", "share", "of the reference"],
    ["-1.5", "1", "50 %", "90 %"],
    ["-1", "1", "50 %", "81 %"],
    ["-0.5", "1", "50 %", "66 %"],
    ["0", "1", "50 %", "50 %"],
    ["0.5", "1", "50 %", "34 %"],
    ["1", "1", "50 %", "19 %"],
    [""],
  ]);
  expect(stderr).toBe("the best is better than 84 % of the pictures Stable Diffusion 1.4 draws\n");
  const json = JSON.parse((await laurel(["score", "bright", ...files, "--json"], { reward })).stdout) as unknown;
  expect(json).toMatchObject({
    results: [{ referencePercentile: expect.closeTo(1.46, 2) as number }, { percentile: 100 }],
    reference: { pictures: "the pictures Stable Diffusion 1.4 draws" },
  });
  const both = await laurel(["score", "bright", ...files, "--thresholds", "--jsonl"]);
  expect([both.exitCode, both.stderr]).toEqual([2, "error: --thresholds, --jsonl: expected one of them, got both\n"]);
});

describe("--dtype int8", () => {
  test("says how it agrees with float32 on the images before any score is printed", async () => {
    const folder = await pictures();
    const { exitCode, stdout, stderr } = await laurel(["score", "bright", folder, "--dtype", "int8", "--json"]);
    expect(exitCode).toBe(4);
    // the procedural reward is the same in both; the broken image is in neither
    expect(stderr).toMatch(
      /^int8 beside float32 on 3 of these images: Kendall tau 1\.000, largest difference 0\.0000 of /,
    );
    expect((JSON.parse(stdout) as { results: unknown[] }).results).toHaveLength(4);
    const quiet = await laurel(["score", "bright", folder, "--dtype", "int8", "--json", "--quiet"]);
    expect(quiet.stderr).toBe("");
  });

  test("is for an ImageReward alone, and a word among two", async () => {
    const folder = await pictures();
    const several = await laurel(["score", "bright", folder, "--dtype", "int8", "--reward", "hps=1"]);
    expect(several.stderr).toContain(
      "--dtype int8: expected an ImageReward alone (--reward-model), got --reward or --held-out",
    );
    expect(several.exitCode).toBe(2);
    const other = await laurel(["score", "bright", folder, "--dtype", "int4"]);
    expect(other.stderr).toContain('Expected float32 or int8, got "int4".');
    expect(other.exitCode).toBe(2);
  });
});
