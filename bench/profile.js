/** @file ONNX Runtime's profile of a program, added up. */

import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** Rows of the table by shapes. */
const COSTLIEST = 24;

/**
 * Where `runs` equal runs of a program spent their time, the first left out, from the profile that a device opened with `prefix` wrote
 * when the program was disposed of: by op, and the costliest by op and shapes of the inputs. Milliseconds a run, the most first.
 */
export async function readProfile(prefix, label, runs) {
  const start = `${basename(prefix)}-${label}_`;
  const name = (await readdir(dirname(prefix))).find((entry) => entry.startsWith(start));
  if (name === undefined) throw new Error(`${prefix}: expected a profile of ${label}, got none`);
  const events = JSON.parse(await readFile(join(dirname(prefix), name), "utf8"));
  const kernels = events.filter(({ cat, name }) => cat === "Node" && name.endsWith("_kernel_time"));
  const kept = kernels.slice(kernels.length / runs);
  const total = kept.reduce((sum, { dur }) => sum + dur, 0);
  const sum = (label) => {
    const groups = new Map();
    for (const event of kept) {
      const key = label(event.args);
      const { calls, ms } = groups.get(key) ?? { calls: 0, ms: 0 };
      groups.set(key, { calls: calls + 1 / (runs - 1), ms: ms + event.dur / 1000 / (runs - 1) });
    }
    const rows = [...groups].map(([key, { calls, ms }]) => ({
      calls,
      ms,
      share: ((runs - 1) * ms * 1000) / total,
      op: key,
    }));
    return rows.sort((a, b) => b.ms - a.ms);
  };
  const shapes = ({ input_type_shape }) =>
    input_type_shape.map((input) => `[${Object.values(input)[0].join(",")}]`).join(" ");
  return {
    ops: sum(({ op_name }) => op_name),
    costliest: sum((args) => `${args.op_name} ${shapes(args)}`).slice(0, COSTLIEST),
  };
}
