/** @file What `laurel runs rm` takes. */

import { InvalidArgumentError } from "commander";
import { declare, type FlagsOf, type Option, toggle } from "../declare.js";
import { OUT_OPTION } from "../options.js";

const HOURS = { h: 1, d: 24, w: 24 * 7 } as const;

/** An age in hours. */
const OLDER_THAN: Option<number, undefined> = {
  help: "those in --out that began longer ago: 12h, 30d or 8w",
  value: "age",
  parse: (text) => {
    const [, count, unit] = /^(\d{1,6})([hdw])$/.exec(text) ?? [];
    if (unit === undefined) throw new InvalidArgumentError(`Expected an age such as 30d, got ${JSON.stringify(text)}.`);
    return Number(count) * HOURS[unit as keyof typeof HOURS];
  },
  default: undefined,
  completion: "nothing",
};

export const RUNS_RM = declare({
  summary: "remove runs with all their files",
  arguments: [
    {
      name: "run",
      help: "folders of runs, or their names in --out",
      what: "a run",
      optional: true,
      variadic: true,
      completion: "directory",
    },
  ],
  options: { ...OUT_OPTION, olderThan: OLDER_THAN, yes: toggle("do not ask", "y") },
  examples: ["laurel runs rm outputs/20261122-183301-a-red-circle-9f3a", "laurel runs rm --older-than 30d --yes"],
  notes: "A run that a process works on is refused, and then none is removed.",
});

/** Options of `laurel runs rm`. */
export type RunsRmFlags = FlagsOf<typeof RUNS_RM.options>;
