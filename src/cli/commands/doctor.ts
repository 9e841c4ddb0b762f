/** @file `laurel doctor`: the checks of the installation, each printed as soon as it is done. */

import { loadBackendConfig } from "../../backends/load-config.js";
import { EXIT } from "../../errors.js";
import type { Check } from "../../installation/check.js";
import { diagnose, exitCodeOf } from "../../installation/diagnose.js";
import { resolveModel } from "../../library/named-models.js";
import { modelLocation } from "../../weights/hub/location.js";
import { throwIfAborted, unlessAborted } from "../../util/abort.js";
import type { Action, CommandContext } from "../context.js";
import { palette, printable, printJson, warningLine } from "../output.js";
import type { DoctorFlags } from "./doctor.entry.js";

export const doctor: Action<DoctorFlags> = async (context, _, flags) => {
  const { terminal, signal } = context;
  const checks: Check[] = [];
  const backend = flags.backend === undefined ? undefined : await loadBackendConfig(flags.backend);
  const path = (given: string | undefined) => (given === undefined ? undefined : resolveModel(modelLocation(given)));
  const paths = { model: await path(flags.model), rewardModel: await path(flags.rewardModel) };
  const findings = diagnose({
    out: flags.out,
    environment: terminal.environment,
    backend,
    device: flags.device,
    ...paths,
    signal,
  });
  for (;;) {
    throwIfAborted(signal, "the check");
    const next = await unlessAborted(findings.next(), signal);
    if (next.done === true) break;
    checks.push(next.value);
    if (flags.json !== true) terminal.stdout.write(checkLines(next.value, context));
  }
  const exitCode = exitCodeOf(checks);
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, ok: exitCode === EXIT.ok, checks });
  const count = (status: Check["status"]): number => checks.filter((check) => check.status === status).length;
  if (flags.quiet !== true && (count("warn") > 0 || count("fail") > 0)) {
    const text = `${checks.length} checks: ${count("fail")} failed, ${count("warn")} with a warning`;
    terminal.stderr.write(`${warningLine(terminal, text)}\n`);
  }
  return exitCode;
};

function checkLines({ status, name, detail, hint }: Check, { terminal }: CommandContext): string {
  const style = palette(terminal.stdout, terminal.environment);
  const colour = { ok: style.green, warn: style.yellow, fail: style.red }[status];
  const line = `${colour(status.padEnd(4))}  ${name.padEnd(11)}  ${printable(detail)}\n`;
  return hint === undefined ? line : `${line}${" ".repeat(19)}${style.dim(hint)}\n`;
}
