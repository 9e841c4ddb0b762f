/** @file ONNX Runtime's profile of a program, added up by op. */

import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * Where the last `runs` of `count` equal runs of a program spent their time, from the profile that a device opened with `prefix` wrote when the
 * program was disposed of: `[{ op, calls, ms, share }]` a run, the most first.
 */
export async function readProfile(prefix, label, { runs, count }) {
  const start = `${basename(prefix)}-${label}_`;
  const name = (await readdir(dirname(prefix))).find((entry) => entry.startsWith(start));
  if (name === undefined) throw new Error(`${prefix}: expected a profile of ${label}, got none`);
  const events = JSON.parse(await readFile(join(dirname(prefix), name), "utf8"));
  const kernels = events.filter(({ cat, name }) => cat === "Node" && name.endsWith("_kernel_time"));
  const last = kernels.slice(-Math.round((kernels.length / count) * runs));
  const ops = new Map();
  for (const { args, dur } of last) {
    const { calls, ms } = ops.get(args.op_name) ?? { calls: 0, ms: 0 };
    ops.set(args.op_name, { calls: calls + 1 / runs, ms: ms + dur / 1000 / runs });
  }
  const total = [...ops.values()].reduce((sum, { ms }) => sum + ms, 0);
  const rows = [...ops].map(([op, { calls, ms }]) => ({ op, calls, ms, share: ms / total }));
  return rows.sort((a, b) => b.ms - a.ms);
}
