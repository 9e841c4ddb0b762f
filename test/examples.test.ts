/** @file Runs every example as a person would, from an empty folder, and checks what it prints and that it leaves nothing behind. */

import { execFile } from "node:child_process";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { decodeRgb } from "#laurel/image/decode";
import { temporaryFolder } from "./pipeline/runs.js";

const EXAMPLES = fileURLToPath(new URL("../examples/", import.meta.url));
const score = String.raw`-?\d\.\d{3}`;

/** What each prints, line by line, and what it leaves in a folder given to it. */
const EXPECTED: Readonly<Record<string, { readonly lines: readonly RegExp[]; readonly files?: readonly string[] }>> = {
  "minimal.mjs": {
    lines: [
      ...[1, 2, 3, 4].map((rank) => new RegExp(`^${rank}\\. seed \\d, score ${score}$`)),
      /^gradient of the best score: \[1, 3, 64, 64\]$/,
    ],
  },
  "generate-best-of-n.mjs": {
    lines: [
      ...[1, 2, 3, 4].map((rank) => new RegExp(`^${rank}\\. seed \\d+, score ${score}$`)),
      /^16 candidates took 320 evaluations of the denoiser$/,
      /^best\.png is 64 x 64 pixels; /,
    ],
    files: ["all.png", "best.png"],
  },
  "workers.mjs": {
    lines: [
      ...[1, 2, 3, 4].map((rank) => new RegExp(`^${rank}\\. seed \\d, score ${score}$`)),
      /^local: 2 jobs$/,
      /^score: 2 jobs$/,
    ],
  },
  "serve-scores.mjs": {
    lines: [
      ...[1, 2].map((rank) => new RegExp(`^${rank}\\. ImageReward: ${score}, better than .+ the demo model draws$`)),
      /^kept: 0$/,
      /^unload: \{"schemaVersion":1,"unloaded":true\}$/,
    ],
  },
  "score-files.mjs": {
    lines: [
      /^1 {2}\d\.\d{3} {2}red-circle\.png$/,
      /^2 {2}-\d\.\d{3} {2}blue-square\.png$/,
      /^- {2}no score {2}damaged\.png {2}\(.+\)$/,
    ],
  },
  "reward-gradient.mjs": {
    lines: [
      ...Array.from({ length: 11 }, (_, i) => new RegExp(`^step ${i}: score ${score}$`)),
      /^gradient\.png is in /,
    ],
    files: ["gradient.png"],
  },
  "exported-reward.mjs": {
    lines: [
      /^8 files, score = image-reward$/,
      ...Array.from({ length: 11 }, (_, i) => new RegExp(`^step ${i}: score ${score}$`)),
    ],
  },
  "step-by-step.mjs": {
    lines: [
      /^after 8 steps, kept seeds (\d+, ){3}\d+$/,
      ...Array.from({ length: 4 }, () => [
        new RegExp(`^seed \\d+: score ${score}$`),
        new RegExp(`^seed \\d+ \\(fork\\): score ${score}$`),
      ]).flat(),
      new RegExp(`^best ${score} for 256 evaluations of the denoiser$`),
      /^steps\.png is in /,
    ],
    files: ["steps.png"],
  },
  "runs.mjs": {
    lines: [
      /^cancelled with 4 of 8 candidates$/,
      /^complete with 8 of 8 candidates$/,
      ...[", kept", ", kept", ""].map(
        (kept, i) => new RegExp(`^${i + 1}\\. seed 2\\d, score ${score}${kept}: images/00/\\d{4}-2\\d\\.png$`),
      ),
      /^8 of 8 pictures are the same bytes$/,
      /^the page of the run is .*report\.html$/,
    ],
  },
  "custom-backend.mjs": {
    lines: [
      /^warning: painter: guidance is not supported and was left out, got 7\.5$/,
      new RegExp(`^best of 200: seed \\d+, score ${score}$`),
      /^what the prompt says holds$/,
    ],
  },
  "custom-reward.mjs": {
    lines: [
      new RegExp(`^image-reward: seed \\d+, score ${score}, what the prompt says \\w+$`),
      new RegExp(`^truthful: seed \\d+, score ${score}, what the prompt says holds$`),
    ],
  },
  "own-network.mjs": {
    lines: [
      /^slope (-?\d\.\d{3}), difference quotient \1$/,
      /^300 updates: mean squared error from 0\.\d{4} to 0\.00\d{4}$/,
    ],
  },
};

async function run(name: string, ...args: string[]): Promise<{ readonly lines: string[]; readonly temporary: string }> {
  const [directory, temporary] = [await temporaryFolder(), await temporaryFolder()];
  const environment = { ...process.env, TMPDIR: temporary };
  const command = promisify(execFile)(process.execPath, [join(EXAMPLES, name), ...args], {
    cwd: directory,
    env: environment,
  });
  const { stdout } = await command;
  expect(await readdir(directory)).toEqual([]);
  return { lines: stdout.trimEnd().split("\n"), temporary };
}

test("every example is listed and checked", async () => {
  const files = (await readdir(EXAMPLES)).filter((name) => name !== "README.md");
  expect(files.sort()).toEqual(Object.keys(EXPECTED).sort());
  const listed = (await readFile(join(EXAMPLES, "README.md"), "utf8")).match(/(?<=\]\()[\w-]+\.mjs/g) ?? [];
  expect(listed.sort()).toEqual(files.sort());
});

test("the README shows the minimal example as it is", async () => {
  const example = await readFile(join(EXAMPLES, "minimal.mjs"), "utf8");
  const shown = /## Use it as a library\n\n```js\n(.*?)```/s.exec(
    await readFile(join(EXAMPLES, "../README.md"), "utf8"),
  )?.[1];
  expect(shown).toBe(example.slice(example.indexOf("import {")));
});

test.each(Object.entries(EXPECTED))("%s prints what it should", async (name, { lines: expected, files }) => {
  const out = await temporaryFolder();
  const { lines, temporary } = await run(name, ...(files === undefined ? [] : [out]));
  expect(lines).toEqual(expected.map((line) => expect.stringMatching(line) as string));
  // those that can keep their files are run with a folder; what lies there are pictures
  if (files === undefined) expect(await readdir(temporary)).toEqual([]);
  for (const file of files ?? []) {
    const path = join(out, file);
    expect((await stat(path)).size).toBeGreaterThan(500);
    const { data } = await decodeRgb(await readFile(path), path);
    expect(new Set(data).size).toBeGreaterThan(50);
  }
  if (name === "reward-gradient.mjs") {
    const scores = lines.flatMap((line) => /score (.+)$/.exec(line)?.[1] ?? []).map(Number);
    expect(scores.at(-1)! - scores[0]!).toBeGreaterThan(0.3);
  }
});
