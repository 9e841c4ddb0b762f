/** @file What two runs differ in: what was asked for, and the pictures and scores that came of it. */

import { type AnyRun, candidatesOf } from "../pipeline/any-run.js";

/** A setting that two runs differ in; undefined where one says nothing. */
export interface SettingDifference {
  /** `config.steps`, `document.steps.0.generate.count`, `models.backend.digest`. */
  readonly path: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** How the candidates of two runs compare. Each is named by its index, in a pipeline by item and place. */
export interface CandidateComparison {
  /** Candidates that both runs have. */
  readonly compared: number;
  /** Those whose files differ. */
  readonly different: readonly string[];
  /** Those whose scores differ. */
  readonly scores: readonly { readonly name: string; readonly before: number | null; readonly after: number | null }[];
  readonly onlyBefore: number;
  readonly onlyAfter: number;
}

/** The settings two runs differ in, by path. Times, names and what follows from the work itself are left out. */
export function compareSettings(before: AnyRun, after: AnyRun): SettingDifference[] {
  const [first, second] = [leavesOf(settingsOf(before)), leavesOf(settingsOf(after))];
  const paths = [...new Set([...first.keys(), ...second.keys()])].sort();
  return paths.flatMap((path) => {
    const [one, other] = [first.get(path), second.get(path)];
    return one === other ? [] : [{ path, before: one, after: other }];
  });
}

function settingsOf(run: AnyRun): unknown {
  const { models, versions } = run.manifest;
  if (run.kind === "generate") return { kind: run.kind, config: run.manifest.config, models, versions };
  const { document, items, backend } = run.plan;
  return { kind: run.kind, document, backend, items: items.length, seed: run.manifest.seed, models, versions };
}

/** Values by the path that leads to them. */
function leavesOf(value: unknown, path = "", leaves = new Map<string, unknown>()): Map<string, unknown> {
  if (typeof value === "object" && value !== null) {
    for (const [key, inner] of Object.entries(value)) leavesOf(inner, path === "" ? key : `${path}.${key}`, leaves);
  } else if (value !== undefined && value !== null) leaves.set(path, value);
  return leaves;
}

/** Compares the candidates of two runs, files by their digests. Memory holds a digest and a score for each of the first run. */
export async function compareCandidates(before: AnyRun, after: AnyRun): Promise<CandidateComparison> {
  const known = new Map<string, readonly [digest: string, score: number | null]>();
  for await (const { name, line } of candidatesOf(before)) known.set(name, [line.sha256, line.score]);
  const different: string[] = [];
  const scores: CandidateComparison["scores"][number][] = [];
  let compared = 0;
  let onlyAfter = 0;
  for await (const { name, line } of candidatesOf(after)) {
    const one = known.get(name);
    if (one === undefined) {
      onlyAfter++;
      continue;
    }
    compared++;
    if (one[0] !== line.sha256) different.push(name);
    if (one[1] !== line.score) scores.push({ name, before: one[1], after: line.score });
  }
  return { compared, different, scores, onlyBefore: known.size - compared, onlyAfter };
}
