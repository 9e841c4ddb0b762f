import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { encodePng } from "#laurel/image/png";
import { scoreFiles } from "#laurel/library/score-files";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { temporaryFolder } from "../pipeline/runs.js";

/** Ten pictures, the later the brighter; more than are decoded together. */
async function pictures(): Promise<string[]> {
  const folder = await temporaryFolder();
  const files = Array.from({ length: 10 }, (_, i) => join(folder, `${i}.png`));
  for (const [i, file] of files.entries()) {
    await writeFile(file, await encodePng({ width: 4, height: 4, data: new Uint8Array(48).fill(20 * i) }));
  }
  return files;
}

test("files are scored in their order and ranked; one that cannot be read says why", async () => {
  const files = await pictures();
  await writeFile(files[3]!, "no picture");
  const { results, warnings } = await scoreFiles(createBrightnessReward(), "bright", [...files, "/nowhere.png"]);
  expect(results.map(({ path }) => path)).toEqual([...files, "/nowhere.png"]);
  expect(results.map(({ rank }) => rank)).toEqual([9, 8, 7, null, 6, 5, 4, 3, 2, 1, null]);
  expect(results[9]?.score).toBeCloseTo((180 / 255 - 0.5) * 4);
  expect(results[3]).toMatchObject({ score: null, error: expect.stringContaining("got ") as string });
  expect(results[10]?.error).toBeDefined();
  expect(warnings).toEqual([]);
});

test("a score that is no number is null, ranks last and is warned of", async () => {
  const files = (await pictures()).slice(0, 2);
  const reward = createBrightnessReward((score) => (score < -1.9 ? Number.NaN : score));
  const { results, warnings } = await scoreFiles(reward, "bright", files);
  expect(results.map(({ score, rank }) => [score === null, rank])).toEqual([
    [true, 2],
    [false, 1],
  ]);
  expect(warnings).toEqual([`${files[0]}: expected a finite score, got NaN; it ranks last`]);
});
