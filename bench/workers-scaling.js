/**
 * @file How much faster four workers are than one, against a backend that sleeps and so leaves all of the waiting to the queue, and what a candidate costs the
 * submitting process.
 *
 * npm run bench -- workers-scaling [--sleep 500] [--pictures 160] [--queue-kind redis|postgres]
 */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { report, table } from "./measure.js";
import { runIn, stored } from "./run-content.js";
import { Fleet, laurel, queueServer, sleepingBackend } from "./workers/servers.js";

export const options = {
  sleep: { type: "string", default: "500" },
  pictures: { type: "string", default: "160" },
  "queue-kind": { type: "string", default: "redis" },
};

export async function run(flags) {
  const [pictureMs, pictures] = [Number(flags.sleep), Number(flags.pictures)];
  const folder = await mkdtemp(join(tmpdir(), "laurel-bench-scaling-"));
  const queue = await queueServer(flags["queue-kind"], folder);
  const backend = await sleepingBackend(pictureMs);
  const store = join(folder, "store");
  await mkdir(store);
  const config = join(folder, "sleeping.yaml");
  await writeFile(config, JSON.stringify({ backend: "openai", url: backend.url, model: "sleep", concurrency: 1 }));
  const environment = { OPENAI_API_KEY: "bench" };
  const rows = [];
  try {
    await queue.start();
    for (const workers of [1, 2, 4]) {
      const fleet = new Fleet(
        ["--queue", queue.address, "--store", store, "--capabilities", `sleep=${config},score`, "--quiet"],
        environment,
      );
      fleet.start(workers);
      try {
        const file = join(folder, `pipeline-${workers}.yaml`);
        await writeFile(file, pipeline(pictures, workers));
        const out = join(folder, `out-${workers}`);
        const given = ["--queue", queue.address, "--store", store, "--capability", "sleep", "--out", out, "--quiet"];
        // all workers are there and warm before the clock starts: the first pictures are not counted
        const submitter = laurel(["run", file, ...given], environment);
        const warm = Math.max(8, 4 * workers);
        const firstAt = await reached(out, warm, submitter);
        const lastAt = await reached(out, pictures, submitter);
        const { code, stderr } = await submitter.closed;
        if (code !== 0) throw new Error(`the run: exit ${code}\n${stderr}`);
        rows.push({ workers, perSecond: (1000 * (pictures - warm)) / (lastAt - firstAt) });
      } finally {
        await fleet.stop();
      }
    }
  } finally {
    await queue.stop();
    backend.stop();
    await rm(folder, { recursive: true, force: true });
  }
  table(rows);
  const [one, two, four] = rows.map(({ perSecond }) => perSecond);
  report(`pictures per second of four workers over one, on ${flags["queue-kind"]}`, four / one, "times", ">= 3.6", {
    pictureMs,
    pictures,
    perSecond: { one, two, four },
    ofTheLimit: (four * pictureMs) / 4000,
  });
}

/** When the run under `out` had `count` candidates. */
async function reached(out, count, submitter) {
  let ended = false;
  void submitter.closed.then(() => (ended = true));
  for (;;) {
    const directory = await runIn(out);
    if (ended || (directory !== undefined && (await stored(directory)) >= count)) return performance.now();
    await sleep(5);
  }
}

/** Prompts of their own for each fleet: what one has drawn is not drawn again for the next. */
function pipeline(pictures, workers) {
  const prompts = Array.from({ length: pictures }, (_, i) => ({ id: `p${i}`, prompt: `picture ${i} of ${workers}` }));
  return JSON.stringify({
    version: 1,
    name: "scaling",
    prompts,
    seed: 1,
    steps: [{ generate: { count: 1 } }, { score: null }],
  });
}
