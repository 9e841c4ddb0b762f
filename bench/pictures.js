/** @file Pictures in folders: how fast they are found, scored, passed over because they are known, and what that holds in memory. */

import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { link, mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encodePng } from "../dist/image/png.js";
import { report, table } from "./measure.js";

const WORKER = fileURLToPath(new URL("./pictures-worker.js", import.meta.url));
/** Different contents; the rest are copies and hard links of them with texts of their own. */
const CONTENTS = 100;
const SIDE = 64;

export const options = {
  files: { type: "string", default: "10000" },
  entries: { type: "string", default: "1000000" },
};

function inProcess(part, folder, count) {
  return new Promise((resolve, reject) => {
    const stdio = ["ignore", "pipe", "inherit"];
    const child = spawn(process.execPath, ["--expose-gc", WORKER, part, folder, String(count)], { stdio });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (piece) => (text += piece));
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve(JSON.parse(text)) : reject(new Error(`${part}: exit ${code}`))));
  });
}

/** Blobs of colour with a little noise, so that a picture takes some kilobytes. */
function pixels(i) {
  return Uint8Array.from({ length: SIDE * SIDE * 3 }, (_, at) => {
    const [x, y] = [Math.floor(at / 3) % SIDE, Math.floor(at / 3 / SIDE)];
    const wave = Math.sin((x * (1 + (i % 7))) / 11 + i) * 60 + Math.cos((y * (1 + (i % 5))) / 9 + i) * 60;
    return 120 + wave + (Math.imul(at + 1, 2654435761 + i) >>> 28);
  });
}

async function pictures() {
  const all = [];
  for (let i = 0; i < CONTENTS; i++) {
    const value = `prompt ${i}\nSteps: 20, Sampler: Euler a, Seed: ${i}, Size: ${SIDE}x${SIDE}`;
    all.push(await encodePng({ width: SIDE, height: SIDE, data: pixels(i) }, [{ keyword: "parameters", value }]));
  }
  return all;
}

/** `count` files in folders of 1000. @param put makes one of them */
async function fill(folder, count, put) {
  for (let i = 0; i < count; i++) {
    const inside = join(folder, String(Math.floor(i / 1000)));
    if (i % 1000 === 0) await mkdir(inside, { recursive: true });
    await put(join(inside, `${i}.png`), i);
  }
}

export async function run(flags) {
  const files = Number(flags.files);
  const entries = Number(flags.entries);
  const root = await mkdtemp(join(tmpdir(), "laurel-bench-pictures-"));
  try {
    await bench(root, files, entries);
  } finally {
    removed(root);
  }
}

/** A million files at once: `rm` would hold a promise for each. */
function removed(folder) {
  rmSync(folder, { recursive: true, force: true });
}

async function bench(root, files, entries) {
  const contents = await pictures();
  const folder = join(root, "files");
  await fill(folder, files, (path, i) => writeFile(path, contents[i % CONTENTS]));
  const rows = [];
  for (const [part, name] of [
    ["walk", "finding"],
    ["demo", "first scoring, demo reward"],
    ["demo", "second pass, nothing changed"],
    ["without a model", "first scoring, reward without a model"],
    ["metadata", "writing scores into metadata"],
  ]) {
    const { seconds, processorSeconds, peakMegabytes, heldMegabytes, ...rest } = await inProcess(part, folder, files);
    const per = (10_000 * seconds) / files;
    // of this process alone, without the models' own; it holds when the machine is busy, too
    const processor = (10_000 * processorSeconds) / files;
    rows.push({ part: name, "s per 10,000": per, "processor s": processor, "files/s": files / seconds, "peak MB": peakMegabytes }); // prettier-ignore
    const details = { files, processor, filesPerSecond: files / seconds, peakMegabytes, heldMegabytes, ...rest };
    report(`pictures: ${name}, per 10,000 files`, per, "s", "none", details);
  }
  table(rows);
  await flatness(root, entries, contents);
}

/** The memory of a second pass over ever more entries: hard links to few files, and an index written as if they had been scored. */
async function flatness(root, entries, contents) {
  const rows = [];
  for (const count of [entries / 100, entries / 10, entries]) {
    const folder = join(root, `entries-${count}`);
    await mkdir(folder, { recursive: true });
    const originals = contents.map((_, i) => join(root, `original-${count}-${i}.png`));
    for (const [i, path] of originals.entries()) await writeFile(path, contents[i]);
    await fill(folder, count, (path, i) => link(originals[i % CONTENTS], path));
    await inProcess("fill", folder, count);
    const walk = await inProcess("walk", folder, count);
    const pass = await inProcess("without a model", folder, count);
    if (pass.unchanged !== count)
      throw new Error(`pictures: expected ${count} unchanged entries, got ${pass.unchanged}`);
    rows.push({ entries: count, "walk s": walk.seconds, "pass s": pass.seconds, "processor s": pass.processorSeconds, "duplicates s": pass.duplicatesSeconds, "held MB": pass.heldMegabytes, "with duplicates MB": pass.withDuplicates, "peak MB": pass.peakMegabytes }); // prettier-ignore
    removed(folder);
  }
  table(rows);
  const [, smaller, largest] = rows;
  const perEntry = ((largest["held MB"] - smaller["held MB"]) * 2 ** 20) / (largest.entries - smaller.entries);
  const withDuplicates =
    ((largest["with duplicates MB"] - smaller["with duplicates MB"]) * 2 ** 20) / (largest.entries - smaller.entries);
  report("pictures: memory an entry adds", perEntry, "bytes", "<= 100", { withDuplicates, passes: rows });
  report(`pictures: second pass over ${entries} entries`, largest["pass s"], "s", "none", { peakMegabytes: largest["peak MB"] }); // prettier-ignore
}
