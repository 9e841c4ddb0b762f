import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { encodePng } from "#laurel/image/png";
import { PUBLISHED_IMAGE_REWARD } from "#laurel/library/verify-image-reward";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

async function pictures(): Promise<string> {
  const folder = await temporaryFolder();
  const png = await encodePng({ width: 4, height: 4, data: new Uint8Array(48) });
  for (const { name } of PUBLISHED_IMAGE_REWARD.pictures) await writeFile(join(folder, name), png);
  return folder;
}

test("without weights and pictures it says what to put where, with the exit code for models", async () => {
  const folder = await temporaryFolder();
  const { exitCode, stdout, stderr } = await laurel(["verify", "image-reward", "--reward-model", "/missing", "--images", folder]); // prettier-ignore
  expect([exitCode, stdout]).toEqual([5, ""]);
  expect(stderr).toBe(`error: /missing: expected a model, got no such folder
The published weights (1.8 GB) are fetched once with
  laurel models pull image-reward-v1.0
or, where ImageReward.pt is there already, named with
  laurel verify image-reward --reward-model path/to/ImageReward.pt
with med_config.json and the vocab.txt of bert-base-uncased beside it.
error: ${["1", "2", "3", "4"].map((name) => join(folder, `${name}.webp`)).join(", ")}: expected the published pictures, got no such files
They come with
  git clone --depth 1 https://github.com/zai-org/ImageReward
and are looked for in ImageReward/assets/images below the working folder, or where
  laurel verify image-reward --reward-model /missing --images path/to/ImageReward/assets/images
says.
`);
});

test("other scores, or other pictures, end with exit code 6 and tell each difference", async () => {
  const folder = await pictures();
  const args = ["verify", "image-reward", "--reward-model", "/other", "--images", folder];
  const { exitCode, stdout, stderr } = await laurel(args);
  expect(exitCode).toBe(6);
  expect(stdout.split("\n").map((line) => line.trim().split(/  +/))).toEqual([
    ["picture", "published", "here", "difference"],
    [join(folder, "1.webp"), "0.581162", "-2.000000", "-2.6e+0", "not the file that was published"],
    [join(folder, "2.webp"), "0.274528", "-2.000000", "-2.3e+0", "not the file that was published"],
    [join(folder, "3.webp"), "-1.413182", "-2.000000", "-5.9e-1", "not the file that was published"],
    [join(folder, "4.webp"), "-2.029570", "-2.000000", "3.0e-2", "not the file that was published"],
    [""],
  ]);
  expect(stderr).toMatch(/ does not give the published scores: 4 of 4 pictures are wrong\n$/);
  const json = await laurel([...args, "--json"]);
  expect([json.exitCode, JSON.parse(json.stdout)]).toMatchObject([6, { verified: false, tolerance: 0.001, pictures: [{ published: 0.5811622738838196, score: -2 }, {}, {}, {}] }]); // prettier-ignore
});
