/** @file Folders of small pictures for the tests that score and sort them. */

import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";
import { encodePng } from "#laurel/image/png";
import type { PictureScore } from "#laurel/library/pictures/picture-score";
import { scorePictures, type ScorePicturesOptions } from "#laurel/library/pictures/score-pictures";
import type { ScoredPictures } from "#laurel/library/pictures/scored-pictures";
import type { Reward } from "#laurel/rewards/contract";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { temporaryFolder } from "../pipeline/runs.js";

/** A grey picture, brighter with `value` (0 to 255), that says what it shows; null says nothing. */
export async function grey(path: string, value: number, prompt: string | null = "a cat"): Promise<void> {
  const texts = prompt === null ? [] : [{ keyword: "parameters", value: `${prompt}\nSteps: 1, Seed: 2, Size: 4x4` }];
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, await encodePng({ width: 4, height: 4, data: new Uint8Array(48).fill(value) }, texts));
}

/** A folder with pictures of two prompts, one without, and a broken one. */
export async function someFolder(): Promise<string> {
  const folder = await temporaryFolder();
  await grey(join(folder, "1.png"), 10);
  await grey(join(folder, "2.png"), 200);
  await grey(join(folder, "10.png"), 120);
  await grey(join(folder, "dogs", "1.png"), 90, "a dog");
  await grey(join(folder, "dogs", "2.png"), 30, null);
  await writeFile(join(folder, "dogs", "3.png"), "no picture");
  return folder;
}

/** What a scoring did. */
export interface Scoring {
  readonly set: ScoredPictures;
  /** In the order they were found. */
  readonly told: readonly PictureScore[];
  /** Pictures that went to the reward. */
  readonly scored: number;
}

/** Scores; the index is let go of when the test is done. */
export async function scoring(
  names: readonly string[],
  options: ScorePicturesOptions = {},
  reward: Reward & { readonly calls: number[] } = createBrightnessReward(),
): Promise<Scoring> {
  const told: PictureScore[] = [];
  const before = reward.calls.length;
  const set = await scorePictures(reward, names, { ...options, onScored: (one) => void told.push(one) });
  let open = true;
  const close = set.close.bind(set);
  set.close = async () => {
    if (open) await close();
    open = false;
  };
  onTestFinished(() => set.close());
  return { set, told, scored: reward.calls.slice(before).reduce((sum, count) => sum + count, 0) };
}
