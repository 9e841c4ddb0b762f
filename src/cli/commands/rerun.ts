/** @file `laurel rerun`: the same run again, and whether it gives the same bytes. */

import { EXIT } from "../../errors.js";
import { compareCandidates } from "../../library/compare-runs.js";
import { repeatPipeline } from "../../library/pipelines.js";
import { compareRuns, repeatRun } from "../../library/runs.js";
import { type AnyRun, readAnyRun } from "../../pipeline/any-run.js";
import { readRun } from "../../pipeline/run-store.js";
import type { Action, CommandContext } from "../context.js";
import { palette, printable } from "../output.js";
import type { RerunFlags } from "./rerun.entry.js";
import { expectNoQueue } from "../queued.js";
import { withPipelineModels, workOnPipeline } from "./run.js";
import { printResult, withModels, workOn } from "./run-command.js";

/** The exit code tells whether every image that both runs have is the same. */
export const rerun: Action<RerunFlags> = async (context, [path = ""], flags) => {
  const before = await readAnyRun(path);
  if (before.kind === "pipeline") return rerunPipeline(context, before, flags);
  expectNoQueue(flags);
  const old = await readRun(path);
  return withModels(context, old.manifest.config, async (models) => {
    const run = await repeatRun(flags.out, old, models, { durable: flags.durable });
    const { result, report } = await workOn(context, run, models, flags);
    const reproduced = compareRuns(old, run.snapshot());
    printResult(context, { ...result, ...{ reproduced } }, report, flags);
    return verdict(context, reproduced, old.manifest.runId, flags);
  });
};

function rerunPipeline(
  context: CommandContext,
  old: Extract<AnyRun, { kind: "pipeline" }>,
  flags: RerunFlags,
): Promise<number> {
  return withPipelineModels(context, old.plan, flags, async (models) => {
    const run = await repeatPipeline(flags.out, old, models, { durable: flags.durable });
    let reproduced: Awaited<ReturnType<typeof compareCandidates>> | undefined;
    const exitCode = await workOnPipeline(context, run, models, flags, async () => {
      const { directory, manifest, plan } = run;
      reproduced = await compareCandidates(old, { kind: "pipeline", directory, manifest, plan });
      return { reproduced };
    });
    const differs = reproduced === undefined ? EXIT.ok : verdict(context, reproduced, old.manifest.runId, flags);
    return differs === EXIT.ok ? exitCode : differs;
  });
}

/** Says how many images are the same, where that is wanted. */
function verdict(
  { terminal: { stderr, environment } }: CommandContext,
  { compared, different }: { readonly compared: number; readonly different: readonly unknown[] },
  runId: string,
  flags: RerunFlags,
): number {
  if (flags.json !== true && flags.quiet !== true) {
    const { yellow, green } = palette(stderr, environment);
    const text = `${compared - different.length} of ${compared} images are identical to ${printable(runId)}`;
    stderr.write(`${(different.length > 0 ? yellow : green)(text)}\n`);
  }
  return different.length > 0 ? EXIT.gate : EXIT.ok;
}
