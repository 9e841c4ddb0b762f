/** @file What the commands of `laurel jobs` share. */

import { type Argument, textual } from "../declare.js";

/** The queue whose jobs are meant. */
export const JOBS_OPTIONS = {
  queue: textual("queue server: redis://host, postgres://host/database, or the environment variable that says it (default: LAUREL_QUEUE)", "address", "an address"), // prettier-ignore
};

/** Jobs by their ids. */
export const JOB_IDS: Argument = {
  name: "id",
  help: "ids of jobs, as laurel jobs list shows them",
  what: "a job's id",
  optional: true,
  variadic: true,
  completion: "nothing",
};
