/** @file What `laurel worker` takes. */

import { decimal, declare, type FlagsOf, otherwise, textual, toggle, whole } from "../declare.js";
import { QUEUE_OPTIONS, SESSION_OPTIONS } from "../options.js";

export const WORKER = declare({
  heading: "Machines",
  summary: "draw and score for runs of other machines",
  arguments: [],
  options: {
    ...QUEUE_OPTIONS,
    capabilities: otherwise(
      "local,score",
      textual(
        "what this worker does: score, local, local:MODEL, a backend's name, or NAME=FILE.yaml for a backend's configuration",
        "name,...",
        "capabilities",
      ),
    ),
    concurrency: whole("jobs of one capability at once; more than 1 serves backends on servers", 1, 1000),
    rate: textual(
      "over all workers, at most so many jobs of a capability in so many seconds",
      "jobs/seconds",
      "a rate",
    ),
    lock: decimal("a worker that is silent for so long is given up, and its jobs go to others (default: 30)", 0.5, 3600, "seconds"), // prettier-ignore
    maxStalls: whole("times a job may be taken from workers that vanished before it is put aside (default: 3)", 0, 1000), // prettier-ignore
    grace: decimal("how long jobs may still take when the worker is told to stop (default: 30)", 0, 86_400, "seconds"),
    idleExit: decimal("end when there was nothing to do for so long (default: never)", 0.1, 1e9, "seconds"),
    name: textual("what listings call this worker (default: host and process)", "name", "a name"),
    listen: textual("serve /healthz and /metrics (Prometheus) there", "[host:]port", "an address"),
    ...SESSION_OPTIONS,
    jsonl: toggle("print one JSON object a line and job on stdout"),
    quiet: toggle("no line for each job", "q"),
  },
  examples: [
    "laurel worker --queue redis://10.0.0.5 --store s3://pictures/laurel",
    "laurel worker --queue redis://10.0.0.5 --store /mnt/shared/laurel --capabilities local:sd-1.5,score",
    "laurel worker --capabilities portraits=comfyui.yaml --concurrency 4 --listen 9464",
  ],
  notes:
    "Queue and storage may be given as LAUREL_QUEUE and LAUREL_STORE, which keeps passwords out of process lists. The first Ctrl-C lets jobs end, the second does not.",
});

/** Options of `laurel worker`. */
export type WorkerFlags = FlagsOf<typeof WORKER.options>;
