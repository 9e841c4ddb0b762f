/** @file Pictures in files and pairs of them, for tests of dataset writers. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DatasetImage, PreferenceRow } from "#laurel/export/datasets/rows";
import { encodePng } from "#laurel/image/png";
import { sha256 } from "#laurel/util/files";

/** `count` pictures of a prompt, the first the best; picture `i` is of grey level `10 i`. */
export async function pictures(folder: string, prompt: string, count: number): Promise<DatasetImage[]> {
  const made: DatasetImage[] = [];
  for (let i = 0; i < count; i++) {
    const [width, height] = [8, 6];
    const png = await encodePng({ width, height, data: new Uint8Array(width * height * 3).fill(10 * i) });
    const path = join(folder, `${sha256(prompt).slice(0, 8)}-${i}.png`);
    await writeFile(path, png);
    const file = { path, bytes: png.byteLength, sha256: sha256(png), width, height };
    const run = { runId: "20261122-183301-x-9f3a", item: null, index: i, backend: "local", model: "demo" };
    const scored = { reward: "image-reward", score: 1 - i / 4, rank: i + 1 };
    made.push({
      ...file,
      ...run,
      ...scored,
      prompt,
      promptId: sha256(prompt).slice(0, 12),
      drawn: prompt,
      seed: 4e9 + i,
    });
  }
  return made;
}

/** Every pair of such pictures. */
export function allPairs(images: readonly DatasetImage[]): PreferenceRow[] {
  return images.flatMap((better, i) => images.slice(i + 1).map((worse) => ({ prompt: better.prompt, better, worse })));
}
