/**
 * @file Scores picture files against a prompt and ranks them.
 *
 *     node examples/score-files.mjs [prompt files...]
 *
 * Files, folders (searched through) and patterns are taken, in PNG, JPEG, WebP, GIF, TIFF and AVIF. Without any, three pictures are painted into a
 * temporary folder, one of which is damaged.
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { encodePng, findImages, openDevice, openReward, scoreFiles } from "laurel";

const folder = await mkdtemp(join(tmpdir(), "laurel-example-"));
await writeFile(join(folder, "blue-square.png"), await encodePng(paint([40, 60, 240], (x, y) => Math.max(x, y) < 8)));
await writeFile(join(folder, "red-circle.png"), await encodePng(paint([240, 30, 30], (x, y) => Math.hypot(x, y) < 8)));
await writeFile(join(folder, "damaged.png"), "not a picture");
const [prompt = "a red circle on a white background", ...names] = process.argv.slice(2);

const device = openDevice();
const reward = await openReward(device);
const files = await findImages(names.length > 0 ? names : [folder]);
const { results, warnings } = await scoreFiles(reward, prompt, files);
await device.close();

for (const warning of warnings) console.error(`warning: ${warning}`);
const last = results.length + 1;
for (const { path, score, rank, error } of [...results].sort((a, b) => (a.rank ?? last) - (b.rank ?? last))) {
  console.log(
    `${rank ?? "-"}  ${score?.toFixed(3) ?? "no score"}  ${basename(path)}${error === undefined ? "" : `  (${error})`}`,
  );
}
await rm(folder, { recursive: true });

/**
 * 64 x 64 pixels of white with one shape in the middle.
 * @param {readonly [number, number, number]} colour
 * @param {(x: number, y: number) => boolean} inside given the distances from the centre
 */
function paint(colour, inside) {
  const data = new Uint8Array(64 * 64 * 3).fill(250);
  for (let y = 0; y < 64; y++) {
    for (let x = 0; x < 64; x++) if (inside(Math.abs(x - 31.5), Math.abs(y - 31.5))) data.set(colour, (y * 64 + x) * 3);
  }
  return { width: 64, height: 64, data };
}
