/**
 * @file Kills `laurel run` with SIGKILL at random moments and resumes it, again and again; the result must be that of an undisturbed run, byte for byte.
 *
 * npm run bench -- kill [--kills 100] [--candidates 1000] [--seed 1] [--steps N] [--keep]
 */

import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { smallRandom } from "../dist/util/statistics.js";
import { LAUREL, report } from "./measure.js";
import { compare, contentOf, runIn, stored } from "./run-content.js";

/** 14 drawn, and 3 made from each of the 2 best. */
const PER_ITEM = 20;
const BATCH = 4;
/** Share of the kills that come at a moment of the first seconds, whatever the process is doing then. */
const STARTING = 0.2;
const STARTING_MS = 2000;
const COLOURS = ["red", "green", "blue", "yellow", "purple", "orange", "pink", "white"];
const SHAPES = ["circle", "square", "triangle", "star"];

export const options = {
  kills: { type: "string", default: "100" },
  candidates: { type: "string", default: "1000" },
  seed: { type: "string", default: "1" },
  steps: { type: "string" },
  keep: { type: "boolean", default: false },
};

export async function run(flags) {
  const kills = Number(flags.kills);
  const items = Math.ceil(Number(flags.candidates) / PER_ITEM);
  const candidates = items * PER_ITEM;
  const random = smallRandom(Number(flags.seed));
  const folder = await mkdtemp(join(tmpdir(), "laurel-bench-kill-"));
  try {
    const file = join(folder, "pipeline.yaml");
    await writeFile(file, pipeline(items, flags.steps));

    const undisturbed = join(folder, "undisturbed");
    const reference = await laurel(["run", file, "--out", undisturbed, "--quiet"]);
    if (reference.code !== 0) throw new Error(`the undisturbed run: exit ${reference.code}\n${reference.stderr}`);
    const expected = await contentOf(await runIn(undisturbed));
    const groupMs = (1000 * reference.seconds * BATCH) / candidates;
    log(`undisturbed: ${reference.seconds.toFixed(1)} s`);

    const out = join(folder, "killed");
    await mkdir(out);
    const met = { starting: 0, working: 0, finishing: 0 };
    let ended = 0;
    for (let killed = 0; killed < kills;) {
      const directory = await runIn(out);
      const before = directory === undefined ? 0 : await stored(directory);
      const wanted = (2 * (candidates - before)) / (kills - killed + 1);
      const moment =
        random() < STARTING
          ? { stored: 0, thenMs: STARTING_MS * random() }
          : { stored: before + Math.ceil(random() * wanted), thenMs: 2 * groupMs * random() };
      const args = directory === undefined ? ["run", file, "--out", out] : ["resume", directory];
      const session = await laurel([...args, "--quiet"], { out, ...moment });
      if (session.code === null) killed++;
      else if (session.code === 0) ended++;
      else throw new Error(`after ${killed} kills: exit ${session.code}\n${session.stderr}`);
      const after = directory === undefined ? 0 : await stored(directory);
      if (session.code === null) met[after === candidates ? "finishing" : after > before ? "working" : "starting"]++;
      log(`${killed} killed, ${after} of ${candidates} stored`);
      if (ended > kills) throw new Error("the run ends before it can be killed; give it more candidates");
    }
    const last = await laurel(["resume", await runIn(out), "--quiet"]);
    if (last.code !== 0) throw new Error(`the last resume: exit ${last.code}\n${last.stderr}`);
    const actual = await contentOf(await runIn(out));

    const differences = compare(expected, actual);
    for (const difference of differences.slice(0, 20)) log(difference);
    const details = {
      kills,
      candidates,
      candidateLines: actual.candidates,
      itemLines: actual.items,
      files: actual.files.size,
      killedWhile: met,
      endedBeforeTheKill: ended,
      lastResumeSeconds: last.seconds,
    };
    report(
      "laurel run, killed and resumed: files that differ from an undisturbed run",
      differences.length,
      "files",
      "0",
      details,
    );
    if (differences.length > 0) process.exitCode = 1;
  } finally {
    if (flags.keep) log(`kept: ${folder}`);
    else await rm(folder, { recursive: true, force: true });
  }
}

function pipeline(items, steps) {
  const prompts = Array.from({ length: items }, (_, i) => {
    const shape = (n) => `${COLOURS[(i * 3 + n * 5) % COLOURS.length]} ${SHAPES[(i + n) % SHAPES.length]}`;
    return `a ${shape(0)} above a ${shape(1)}${i < 32 ? "" : " on a black background"}`;
  });
  return JSON.stringify({
    version: 1,
    name: "kill",
    prompts: prompts.map((prompt, i) => ({ id: `p${i}`, prompt })),
    settings: { batch: BATCH, ...(steps === undefined ? {} : { steps: Number(steps) }) },
    seed: 1000,
    steps: [
      { generate: { count: PER_ITEM - 6 } },
      { score: null },
      { select: { keep: 2 } },
      { img2img: { count: 3, strength: 0.6 } },
      { score: null },
      { select: { keep: 2 } },
      { export: { to: "best" } },
      { export: { to: "table", format: "csv", what: "all" } },
    ],
  });
}

/**
 * Runs the executable. With a moment, kills it `thenMs` milliseconds after the run under `out` has `stored` candidates; `code` is null when that
 * ended it.
 */
async function laurel(args, moment) {
  const startedAt = performance.now();
  const child = spawn(process.execPath, [LAUREL, ...args], { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
  const closed = new Promise((resolve) => child.on("close", resolve));
  if (moment !== undefined) {
    await storedUnder(moment.out, moment.stored, child);
    await Promise.race([closed, sleep(moment.thenMs)]);
    child.kill("SIGKILL");
  }
  const code = await closed;
  return { code, stderr, seconds: (performance.now() - startedAt) / 1000 };
}

/** Waits until the run under `out` has `count` candidates or the process has ended. */
async function storedUnder(out, count, child) {
  while (count > 0 && child.exitCode === null) {
    const directory = await runIn(out);
    if (directory !== undefined && (await stored(directory)) >= count) return;
    await sleep(20);
  }
}

function log(text) {
  process.stderr.write(`${text}\n`);
}
