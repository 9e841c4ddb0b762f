/** @file The two models that generating takes, and what a manifest says of them. */

import type { ImageBackend } from "../backends/contract.js";
import { ModelError } from "../errors.js";
import { QueueReward } from "../cluster/queue-reward.js";
import { digestModel } from "../pipeline/digest.js";
import type { MemberRecord, ModelRecord, ModelRecords } from "../pipeline/manifest.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import type { Reward } from "../rewards/contract.js";
import { Ensemble } from "../rewards/ensemble.js";
import { WatchedReward } from "../rewards/held-out.js";
import { sha256 } from "../util/files.js";

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
  const { name, path, also = [], digest } = model.model;
  const embedded: readonly (string | undefined)[] = Object.values(EMBEDDED_MODELS);
  const record = (async (): Promise<ModelRecord> => ({
    name: model.name,
    model: name,
    path: embedded.includes(path) ? null : (path ?? null),
    digest: digest !== undefined ? digest : path === undefined ? null : await digestAll([path, ...also]),
  }))();
  records.set(model, record);
  return record;
}

/** The digest of one path as it is, of several that of their digests. */
async function digestAll(paths: readonly string[]): Promise<string> {
  const digests = await Promise.all(paths.map((path) => digestModel(path)));
  return digests.length === 1 ? digests[0]! : sha256(digests.join("\n"));
}

/** What a manifest says of what judges. */
export type RewardRecords = Omit<ModelRecords, "backend">;

/** What a manifest says of the models: what draws, what chooses and, if there are any, the members of an ensemble and what only watches. */
export async function modelRecords({ backend, reward }: Models): Promise<ModelRecords> {
  return { backend: await modelRecord(backend), ...(await rewardRecords(reward)) };
}

/** What a manifest says of what chooses, of the members of an ensemble and of what only watches. */
export async function rewardRecords(reward: Reward): Promise<RewardRecords> {
  if (reward instanceof QueueReward) return reward.records;
  const guide = reward instanceof WatchedReward ? reward.guide : reward;
  const watching = reward instanceof WatchedReward ? [...reward.heldOut] : [];
  const members = guide instanceof Ensemble ? await Promise.all(guide.members.map(memberRecord)) : undefined;
  const heldOut = await Promise.all(watching.map(async ([name, one]) => ({ ...(await modelRecord(one)), name })));
  return {
    reward: members === undefined ? await modelRecord(guide) : ensembleRecord(guide, members),
    ...(members === undefined ? {} : { members }),
    ...(heldOut.length === 0 ? {} : { heldOut }),
  };
}

async function memberRecord({ name, reward, weight, reference }: Ensemble["members"][number]): Promise<MemberRecord> {
  const { mean, std, source } = reference;
  return { ...(await modelRecord(reward)), name, weight, mean, std, source };
}

/** Its digest is over all that decides its scores. */
function ensembleRecord({ name, model }: Identified, members: readonly MemberRecord[]): ModelRecord {
  const lines = members.map((one) => `${one.weight} ${one.mean} ${one.std} ${one.name} ${one.digest ?? one.model}`);
  return { name, model: model.name, path: null, digest: sha256(lines.join("\n")) };
}

/** @throws ModelError when a model is not the one the run was made with. */
export async function expectModels(where: string, expected: ModelRecords, models: Models): Promise<void> {
  const actual = await modelRecords(models);
  for (const [what, key] of [
    ["generator", "backend"],
    ["reward", "reward"],
  ] as const) {
    expectModel(where, what, expected[key], actual[key]);
  }
  const [before = [], now = []] = [expected.heldOut, actual.heldOut];
  const names = (records: readonly ModelRecord[]): string => records.map(({ name }) => name).join(", ") || "none";
  if (names(before) !== names(now)) {
    throw new ModelError(`${where}: expected the held-out rewards of the run, ${names(before)}, got ${names(now)}`);
  }
  for (const [i, record] of before.entries()) expectModel(where, "held-out reward", record, now[i]!);
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
