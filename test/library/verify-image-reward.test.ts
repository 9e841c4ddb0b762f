import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { encodePng } from "#laurel/image/png";
import { PUBLISHED_IMAGE_REWARD, type PublishedScores, verifyScores } from "#laurel/library/verify-image-reward";
import { sha256 } from "#laurel/util/files";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { temporaryFolder } from "../pipeline/runs.js";

/** Grey pictures of the published names, and what the brightness reward gives them. */
async function published(): Promise<{ folder: string; published: PublishedScores }> {
  const folder = await temporaryFolder();
  const pictures = [];
  for (const [i, { name }] of PUBLISHED_IMAGE_REWARD.pictures.entries()) {
    const value = 50 * i;
    const png = await encodePng({ width: 4, height: 4, data: new Uint8Array(48).fill(value) });
    await writeFile(join(folder, name), png);
    pictures.push({ name, sha256: sha256(png), score: (value / 255 - 0.5) * 4 });
  }
  return { folder, published: { prompt: PUBLISHED_IMAGE_REWARD.prompt, pictures } };
}

test("the model that was published is verified, with each difference", async () => {
  const options = await published();
  const shifts = [0, 9e-4, -9e-4, 0];
  let next = 0;
  const reward = createBrightnessReward((score) => score + shifts[next++]!);
  const { verified, pictures } = await verifyScores(reward, options.folder, options);
  expect([verified, pictures.map(({ problem }) => problem)]).toEqual([true, [null, null, null, null]]);
  expect(pictures.map(({ difference }) => difference)).toEqual(shifts.map((one) => expect.closeTo(one, 6) as number));
});

test("another model's scores are not, nor a score that is off by little more than the tolerance", async () => {
  const options = await published();
  const other = await verifyScores(createBrightnessReward((score) => -score), options.folder, options); // prettier-ignore
  expect([other.verified, other.pictures.map(({ problem }) => problem)]).toEqual([
    false,
    Array.from({ length: 4 }, () => "differs by more than 0.001"),
  ]);
  let next = 0;
  const near = await verifyScores(createBrightnessReward((score) => score + (next++ === 2 ? 0.0011 : 0)), options.folder, options); // prettier-ignore
  expect([near.verified, near.pictures.map(({ problem }) => problem === null)]).toEqual([false, [true, true, false, true]]); // prettier-ignore
});

test("another picture of the same score, or a damaged one, is not taken for the published one", async () => {
  const options = await published();
  const file = join(options.folder, "2.webp");
  await writeFile(file, Buffer.concat([await readFile(file), Buffer.from([0])]));
  await writeFile(join(options.folder, "3.webp"), "RIFF");
  const { verified, pictures } = await verifyScores(createBrightnessReward(), options.folder, options);
  expect(verified).toBe(false);
  expect(pictures.map(({ problem }) => problem)).toEqual([
    null,
    "not the file that was published",
    expect.stringMatching(/3\.webp: expected /),
    null,
  ]);
});

test("a reward that gives no number is not verified", async () => {
  const options = await published();
  const { verified, pictures } = await verifyScores(createBrightnessReward(() => Number.NaN), options.folder, options); // prettier-ignore
  expect([verified, pictures[0]]).toMatchObject([false, { score: null, difference: null, problem: "no score" }]);
});
