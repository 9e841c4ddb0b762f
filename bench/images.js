/** @file How far the pixels that a reward sees are from the reference's, by file format, over the golden pictures of the tests. */

import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import { decodeImage } from "../dist/image/decode.js";
import { cropForClip } from "../dist/image/preprocess.js";
import { report, table } from "./measure.js";

const FOLDER = new URL("../test/fixtures/image/inputs/", import.meta.url);

export async function run() {
  const { size, cases } = JSON.parse(readFileSync(new URL("inputs.json", FOLDER), "utf8"));
  const rows = [];
  for (const { file, square } of cases) {
    const expected = inflateSync(Buffer.from(square, "base64"));
    const { data } = cropForClip(await decodeImage(readFileSync(new URL(file, FOLDER)), file), size);
    const differences = Array.from(data, (value, i) => Math.abs(value - expected[i]));
    const mean = differences.reduce((sum, value) => sum + value, 0) / differences.length;
    rows.push({ file, max: Math.max(...differences), mean });
  }
  table(rows.filter(({ max }) => max > 0));
  const suffixes = new Set(rows.map(({ file }) => file.split(".").at(-1)));
  for (const suffix of suffixes) {
    const files = rows.filter(({ file }) => file.endsWith(`.${suffix}`));
    const worst = files.reduce((a, b) => (b.max > a.max ? b : a));
    const details = { files: files.length, mean: worst.mean, at: worst.file };
    report(`images ${suffix}: largest difference`, worst.max, "of 255", "<= 1", details);
  }
}
