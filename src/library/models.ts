/** @file The two models that generating takes, and what a manifest says of them. */

import type { ImageBackend } from "../backends/contract.js";
import { ModelError } from "../errors.js";
import { digestModel } from "../pipeline/digest.js";
import type { ModelRecord, RunManifest } from "../pipeline/manifest.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import type { Reward } from "../rewards/contract.js";

/** What draws and what judges. */
export interface Models {
  readonly backend: ImageBackend;
  readonly reward: Reward;
}

/** What has a name and stands on weights. */
type Identified = Pick<Reward, "name" | "model">;

/** Records of models in use: their files do not change under them. */
const records = new WeakMap<Identified, Promise<ModelRecord>>();

/** What a manifest says of a model. The path is null for a model that ships inside or has no files. */
export function modelRecord(model: Identified): Promise<ModelRecord> {
  const known = records.get(model);
  if (known !== undefined) return known;
  const { name, path } = model.model;
  const embedded: readonly (string | undefined)[] = Object.values(EMBEDDED_MODELS);
  const record = (async (): Promise<ModelRecord> => ({
    name: model.name,
    model: name,
    path: embedded.includes(path) ? null : (path ?? null),
    digest: path === undefined ? null : await digestModel(path),
  }))();
  records.set(model, record);
  return record;
}

/** What a manifest says of both models. */
export async function modelRecords({ backend, reward }: Models): Promise<RunManifest["models"]> {
  const [drawing, judging] = await Promise.all([modelRecord(backend), modelRecord(reward)]);
  return { backend: drawing, reward: judging };
}

/** @throws ModelError when a model is not the one the run was made with. */
export async function expectModels(where: string, expected: RunManifest["models"], models: Models): Promise<void> {
  const actual = await modelRecords(models);
  for (const [what, key] of [
    ["generator", "backend"],
    ["reward", "reward"],
  ] as const) {
    expectModel(where, what, expected[key], actual[key]);
  }
}

/** @throws ModelError when a model is not the one the run was made with. */
export function expectModel(where: string, what: string, expected: ModelRecord, actual: ModelRecord): void {
  if (isSame(expected, actual)) return;
  throw new ModelError(`${where}: expected the ${what} of the run, ${describe(expected)}, got ${describe(actual)}`);
}

/** A model without files is told by its name alone. */
function isSame(a: ModelRecord, b: ModelRecord): boolean {
  return a.name === b.name && a.digest === b.digest && (a.digest !== null || a.model === b.model);
}

function describe({ name, model, digest }: ModelRecord): string {
  return `${name} ${model} (${digest?.slice(0, 12) ?? "no digest"})`;
}
