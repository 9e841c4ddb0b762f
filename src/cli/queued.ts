/** @file `--queue` and `--store`: a pipeline's models are those of workers on other machines. */

import { UsageError } from "../errors.js";
import type { Models } from "../library/models.js";
import type { PipelinePlan } from "../pipeline/document/plan.js";
import type { JobQueue } from "../queue/contract.js";
import type { Storage } from "../storage/contract.js";
import type { CommandContext } from "./context.js";
import type { FlagsOf } from "./declare.js";
import { judgesOfPlan } from "./judges.js";
import type { SUBMIT_OPTIONS } from "./options.js";
import { type Terminal, warnTo } from "./output.js";

/** What is said of the queue. */
export type SubmitFlags = Partial<FlagsOf<typeof SUBMIT_OPTIONS>>;

/** The names of environment variables that queue and storage are looked for in. */
const ENVIRONMENT = { queue: "LAUREL_QUEUE", store: "LAUREL_STORE" } as const;

/** What no queue can do, by what a document or a run begins with. */
const DONE_HERE = {
  generate: "of laurel generate, which is drawn here",
  export: "that exports a reward, which is done here",
  train: "that begins with a training, whose model no worker has; run laurel train alone, copy what came of it to the workers, and draw with that", // prettier-ignore
} as const;

/** @throws UsageError for an option that says something of a queue where there is none */
export function expectNoQueue(flags: SubmitFlags, what: keyof typeof DONE_HERE = "generate"): void {
  const names = { queue: "--queue", store: "--store", capability: "--capability", inFlight: "--in-flight", priority: "--priority", wait: "--wait" } as const; // prettier-ignore
  for (const [key, name] of Object.entries(names)) {
    if (flags[key as keyof typeof names] === undefined) continue;
    throw new UsageError(
      key === "queue"
        ? `--queue: expected the run of a pipeline that draws and scores, got one ${DONE_HERE[what]}`
        : `${name}: expected --queue beside it, got none`,
    );
  }
}

/** The address of queue or storage: as it is given, or out of the environment. @throws UsageError where there is none */
export function addressOf(
  what: keyof typeof ENVIRONMENT,
  given: string | undefined,
  { environment }: Pick<Terminal, "environment">,
): string {
  const name =
    given === undefined ? ENVIRONMENT[what] : what === "queue" && /^[A-Z_][A-Z0-9_]*$/.test(given) ? given : undefined;
  if (name === undefined) return given!;
  const value = environment[name];
  if (value !== undefined && value.trim() !== "") return value.trim();
  const form = what === "queue" ? "redis://host or postgres://host/database" : "a folder or s3://bucket/prefix";
  throw new UsageError(`--${what}: expected ${form}, here or as ${name} in the environment, got neither`);
}

/** Opens queue and storage, runs `work`, and closes both whatever happens. */
export async function withQueue<T>(
  { terminal }: CommandContext,
  flags: { readonly queue?: string | undefined; readonly store?: string | undefined },
  onNotice: (message: string) => void,
  work: (queue: JobQueue, storage: Storage) => Promise<T>,
): Promise<T> {
  const addresses = {
    queue: addressOf("queue", flags.queue, terminal),
    store: addressOf("store", flags.store, terminal),
  };
  const { openStorage } = await import("../storage/open.js");
  const { patient } = await import("../storage/patient.js");
  const { openQueue } = await import("../queue/open.js");
  // its package's own switch: what it warns of, the versions of Node that its successors take, no user of a command can change
  process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] ??= "true";
  const { environment } = terminal;
  const storage = patient(await openStorage(addresses.store, { environment }), { onNotice });
  try {
    const queue = await openQueue(addresses.queue);
    try {
      return await work(queue, storage);
    } finally {
      await queue.close();
    }
  } finally {
    await storage.close();
  }
}

/** Runs `work` with the models of the workers that `flags` lead to. */
export function withQueuedModels<T>(
  context: CommandContext,
  plan: PipelinePlan,
  flags: SubmitFlags,
  work: (models: Models) => Promise<T>,
): Promise<T> {
  const { terminal, signal } = context;
  const warn = warnTo(terminal);
  return withQueue(context, flags, warn, async (queue, storage) => {
    const { capabilityOf } = await import("../cluster/protocol.js");
    const { openWorkers } = await import("../cluster/submit.js");
    const { rewards, ...judges } = judgesOfPlan(plan);
    const choice = { ...judges, rewards: [...rewards], heldOut: [...judges.heldOut] };
    const capability = flags.capability ?? capabilityOf(plan.backend);
    const { inFlight, priority, wait } = flags;
    const waitMs = wait === undefined ? undefined : wait * 1000;
    const options = { signal, inFlight, priority, waitMs, onWarning: warn, onNotice: warn };
    return work(await openWorkers(queue, storage, capability, choice, options));
  });
}
