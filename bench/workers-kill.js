/**
 * @file Kills random workers with SIGKILL while a run of a pipeline goes on; the result must be that of an undisturbed run without a queue, byte for byte.
 *
 * npm run bench -- workers-kill [--worker-kills 200] [--drawn 1000] [--queue-kind redis|postgres] [--workers 4] [--outages] [--keep-folder]
 *
 * With --outages the queue server is stopped and started again in the middle, and the storage (S3) cannot be reached for a minute.
 */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { smallRandom } from "../dist/util/statistics.js";
import { report } from "./measure.js";
import { compare, contentOf, runIn, stored } from "./run-content.js";
import { Fleet, laurel, queueServer, s3Server } from "./workers/servers.js";

const PER_ITEM = 10;
const BATCH = 2;
const COLOURS = ["red", "green", "blue", "yellow", "purple", "orange", "pink", "cyan"];
const SHAPES = ["circle", "square", "triangle"];
/** How long the storage is away. */
const STORAGE_OUTAGE_MS = 60_000;
const QUEUE_OUTAGE_MS = 5000;

export const options = {
  "worker-kills": { type: "string", default: "200" },
  drawn: { type: "string", default: "1000" },
  "queue-kind": { type: "string", default: "redis" },
  workers: { type: "string", default: "4" },
  outages: { type: "boolean", default: false },
  "keep-folder": { type: "boolean", default: false },
};

export async function run(flags) {
  const [kills, workers] = [Number(flags["worker-kills"]), Number(flags.workers)];
  const items = Math.ceil(Number(flags.drawn) / PER_ITEM);
  const candidates = items * PER_ITEM;
  const folder = await mkdtemp(join(tmpdir(), "laurel-bench-workers-"));
  const file = join(folder, "pipeline.yaml");
  await writeFile(file, pipeline(items));
  const queue = await queueServer(flags["queue-kind"], folder);
  const storage = flags.outages ? await s3Server() : undefined;
  const store = storage?.address ?? join(folder, "store");
  await mkdir(join(folder, "store"));
  const fleet = new Fleet(
    ["--queue", queue.address, "--store", store, "--lock", 1.5, "--max-stalls", 1000, "--quiet"],
    storage?.environment,
  );
  try {
    const alone = await laurel(["run", file, "--out", join(folder, "alone"), "--quiet"]).closed;
    if (alone.code !== 0) throw new Error(`the undisturbed run: exit ${alone.code}\n${alone.stderr}`);
    const expected = await contentOf(await runIn(join(folder, "alone")));

    await queue.start();
    fleet.start(workers);
    const out = join(folder, "killed");
    const startedAt = performance.now();
    const given = ["--queue", queue.address, "--store", store, "--in-flight", 16, "--out", out, "--quiet"];
    const submitter = laurel(["run", file, ...given], storage?.environment);
    let ended;
    void submitter.closed.then((result) => (ended = result));
    const progress = async () => {
      const directory = await runIn(out);
      return directory === undefined ? 0 : stored(directory);
    };
    const outages = { queue: 0, storage: 0 };
    const random = smallRandom(1);
    let killed = 0;
    while (killed < kills && ended === undefined) {
      // spread over the run, so that the last falls before its end
      const wanted = (killed * candidates * 0.97) / kills;
      while (ended === undefined && (await progress()) < wanted) await sleep(20);
      if (flags.outages && outages.queue === 0 && wanted >= candidates / 3) {
        await queue.stop();
        await sleep(QUEUE_OUTAGE_MS);
        await queue.start();
        outages.queue = QUEUE_OUTAGE_MS / 1000;
        log(`the queue server was away for ${outages.queue} s`);
      }
      if (flags.outages && outages.storage === 0 && wanted >= (2 * candidates) / 3) {
        storage.cut();
        await sleep(STORAGE_OUTAGE_MS);
        await storage.restore();
        outages.storage = STORAGE_OUTAGE_MS / 1000;
        log(`the storage was away for ${outages.storage} s`);
      }
      await sleep(300 * random());
      await fleet.kill(Math.floor(random() * fleet.size));
      killed++;
      if (killed % 20 === 0) log(`${killed} killed, ${await progress()} of ${candidates} stored`);
    }
    const { code, stderr } = await submitter.closed;
    const seconds = (performance.now() - startedAt) / 1000;
    if (code !== 0) throw new Error(`the run: exit ${code} after ${killed} kills\n${stderr}`);
    if (killed < kills) throw new Error(`the run ended after ${killed} kills of ${kills}`);
    const actual = await contentOf(await runIn(out));
    const differences = compare(expected, actual);
    for (const difference of differences.slice(0, 20)) log(difference);
    report(
      `${killed} workers killed on ${flags["queue-kind"]}: files that differ from an undisturbed run without a queue`,
      differences.length,
      "files",
      "0",
      {
        candidates,
        candidateLines: actual.candidates,
        itemLines: actual.items,
        files: actual.files.size,
        workers,
        seconds,
        queueAwaySeconds: outages.queue,
        storageAwaySeconds: outages.storage,
      },
    );
    if (differences.length > 0 || actual.candidates !== candidates) process.exitCode = 1;
  } finally {
    await fleet.stop();
    await queue.stop().catch(() => undefined);
    storage?.stop();
    if (flags["keep-folder"]) log(`kept: ${folder}`);
    else await rm(folder, { recursive: true, force: true });
  }
}

function pipeline(items) {
  const prompts = Array.from({ length: items }, (_, i) => {
    const shape = (n) => `${COLOURS[(i * 3 + n * 5) % COLOURS.length]} ${SHAPES[(i + n) % SHAPES.length]}`;
    return { id: `p${i}`, prompt: `a ${shape(0)} above a ${shape(1)}${i < 24 ? "" : " on a black background"}` };
  });
  return JSON.stringify({
    version: 1,
    name: "workers",
    prompts,
    settings: { batch: BATCH },
    seed: 1000,
    steps: [
      { generate: { count: PER_ITEM - 4 } },
      { score: null },
      { select: { keep: 2 } },
      { img2img: { count: 2, strength: 0.6 } },
      { score: null },
      { select: { keep: 2 } },
      { export: { to: "best" } },
      { export: { to: "table", format: "csv", what: "all" } },
    ],
  });
}

function log(text) {
  process.stderr.write(`${text}\n`);
}
