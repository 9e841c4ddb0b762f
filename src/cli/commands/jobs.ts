/** @file Opening a queue for an administrator, and doing something to some of its jobs. */

import { EXIT, UsageError } from "../../errors.js";
import type { JobQueue, JobStatus } from "../../queue/contract.js";
import { unlessAborted } from "../../util/abort.js";
import type { CommandContext } from "../context.js";
import { printable } from "../output.js";
import { addressOf } from "../queued.js";

/** Jobs that are listed at once: a server with many of them would take too long for its answer. */
const LISTED = 1000;
/** Questions to the server at once. */
const TOGETHER = 50;

/** Opens the queue, runs `work`, and closes it whatever happens. @throws QueueError when it cannot be used */
export async function withJobs<T>(
  { terminal, signal }: CommandContext,
  flags: { readonly queue?: string | undefined },
  work: (queue: JobQueue) => Promise<T>,
): Promise<T> {
  const address = addressOf("queue", flags.queue, terminal);
  const { openQueue } = await import("../../queue/open.js");
  const queue = await openQueue(address);
  try {
    return await unlessAborted(work(queue), signal);
  } finally {
    await queue.close();
  }
}

/** Something that is done to single jobs. */
export interface JobDeed {
  /** Of the command, for errors. */
  readonly command: string;
  /** The option that stands for all of them, and the states that these are in. */
  readonly every: { readonly option: string; readonly given: boolean; readonly states: readonly JobStatus["state"][] };
  /** What was done, for the last line. */
  readonly done: string;
  /** Why it was not. */
  readonly not: string;
  readonly act: (queue: JobQueue, id: string) => Promise<boolean>;
}

/** Does it to the jobs that are named, or to all. @returns the exit code */
export async function doToJobs(
  context: CommandContext,
  ids: readonly string[],
  flags: { readonly queue?: string | undefined },
  deed: JobDeed,
): Promise<number> {
  const { command, every } = deed;
  if (ids.length > 0 === every.given) {
    throw new UsageError(
      `${command}: expected ids of jobs or ${every.option}, got ${every.given ? "both" : "neither"}`,
    );
  }
  const { stderr } = context.terminal;
  return withJobs(context, flags, async (queue) => {
    let count = 0;
    let missed = false;
    for await (const chosen of every.given ? all(queue, every.states) : [[...new Set(ids)]]) {
      for (let from = 0; from < chosen.length; from += TOGETHER) {
        const some = chosen.slice(from, from + TOGETHER);
        const done = await Promise.all(some.map(async (id) => deed.act(queue, id)));
        for (const [index, id] of some.entries()) {
          if (done[index] === true) count++;
          // what ended by itself meanwhile needs no word
          else if (!every.given) {
            missed = true;
            stderr.write(`${printable(id)}: ${deed.not}\n`);
          }
        }
      }
    }
    stderr.write(`${deed.done} ${count} job${count === 1 ? "" : "s"}\n`);
    return missed ? EXIT.partial : EXIT.ok;
  });
}

/** Jobs in these states, each once, also those that stay in them whatever is done. */
async function* all(queue: JobQueue, states: readonly JobStatus["state"][]): AsyncGenerator<readonly string[], void> {
  const seen = new Set<string>();
  for (let limit = LISTED; ;) {
    const listed = await queue.list({ states }, limit);
    const ids = listed.map(({ id }) => id).filter((id) => !seen.has(id));
    if (ids.length === 0) return;
    yield ids;
    for (const id of ids) seen.add(id);
    limit = LISTED + listed.length - ids.length;
  }
}
