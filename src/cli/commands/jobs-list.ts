/** @file `laurel jobs list`: what waits, is under way and has ended. */

import { EXIT } from "../../errors.js";
import type { JobQueue, JobStatus } from "../../queue/contract.js";
import type { Action } from "../context.js";
import { shortened } from "../items.js";
import { palette, printable, printJson, table, type Terminal } from "../output.js";
import { withJobs } from "./jobs.js";
import type { JobsListFlags } from "./jobs-list.entry.js";

interface QueueFacts {
  readonly name: string;
  readonly counts: Readonly<Record<JobStatus["state"], number>>;
  readonly workers: readonly string[];
}

export const jobsList: Action<JobsListFlags> = async (context, _none, flags) =>
  withJobs(context, flags, async (queue) => {
    const { terminal } = context;
    const { capability, state, limit } = flags;
    const filter = {
      ...(capability === undefined ? {} : { queue: capability }),
      ...(state === undefined ? {} : { states: state }),
    };
    const jobs = await queue.list(filter, limit);
    const queues = await factsOf(queue, capability);
    if (flags.json === true) printJson(terminal, { schemaVersion: 1, address: queue.address, queues, jobs });
    else terminal.stdout.write(jobTable(jobs, terminal));
    if (flags.quiet !== true && flags.json !== true) for (const facts of queues) terminal.stderr.write(lineOf(facts));
    return EXIT.ok;
  });

async function factsOf(queue: JobQueue, only: string | undefined): Promise<readonly QueueFacts[]> {
  const names = only === undefined ? await queue.queues() : [only];
  return Promise.all(
    names.map(async (name) => ({ name, counts: await queue.counts(name), workers: await queue.workers(name) })),
  );
}

function lineOf({ name, counts, workers }: QueueFacts): string {
  const told = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${count} ${state}`);
  const by = workers.length === 0 ? "no worker" : `${workers.length} worker${workers.length === 1 ? "" : "s"}: ${workers.map(printable).join(", ")}`; // prettier-ignore
  return `${printable(name)}: ${told.length === 0 ? "no jobs" : told.join(", ")}; ${by}\n`;
}

function jobTable(jobs: readonly JobStatus[], terminal: Terminal): string {
  const style = palette(terminal.stdout, terminal.environment);
  const now = Date.now();
  const rows = jobs.map((job) => [
    printable(job.id),
    printable(job.queue),
    job.state,
    String(job.priority),
    `${job.attempts}${job.stalled === 0 ? "" : ` (+${job.stalled} lost)`}`,
    age(now - Date.parse(job.addedAt)),
    job.failure === null ? "" : printable(shortened(job.failure.message)),
  ]);
  const columns = [
    { title: "job" },
    { title: "capability" },
    { title: "state" },
    { title: "priority", align: "right" },
    { title: "attempts", align: "right" },
    { title: "age", align: "right" },
    { title: "failure" },
  ] as const;
  return table(columns, rows, (text, row) => {
    if (row === "head") return style.dim(text);
    const state = jobs[row]?.state;
    if (state === "failed") return style.red(text);
    return state === "delayed" ? style.yellow(text) : text;
  });
}

/** 4 s, 12 min, 3 h, 5 d. */
function age(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}
