/** @file The models and rewards that have names: what to fetch for each, from where, and under which licence. */

import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { isFilePath, isRepositoryId, isRevision, MAIN } from "./repository.js";

const CONFIGS = new URL("../../../configs/", import.meta.url);
const FOLDERS = {
  model: fileURLToPath(new URL("models", CONFIGS)),
  reward: fileURLToPath(new URL("rewards", CONFIGS)),
} as const;

/** What a reward is, which says how its parts are opened. */
export const REWARD_KINDS = ["image-reward", "clip-score", "aesthetic", "blip-score", "pickscore", "hps"] as const;

const link = z.string().regex(/^https?:\/\/\S+$/, "expected an http(s) address");
const licenceSchema = z
  .strictObject({
    name: z.string().min(1).describe("As its owner calls it."),
    link: link.describe("Where its text is."),
    covers: z.string().optional().describe("What it is the licence of, where there are several."),
  })
  .describe("Shown before anything is fetched.");
const path = z.string().refine(isFilePath, "expected a path inside the repository");
const repositoryFields = {
  repository: z
    .string()
    .refine((id) => isRepositoryId(id), "expected organisation/name")
    .describe("On the hub."),
  revision: z.string().refine(isRevision, "expected a branch, a tag or a commit").default(MAIN).describe("In it."),
  formerly: z
    .array(z.string().refine((id) => isRepositoryId(id, true), "expected the name of a repository"))
    .default([])
    .describe("Names it had, under which other programs may have fetched it."),
};
const files = z.array(z.string().min(1)).min(1).describe("Paths or patterns of what is needed.");
const folderPart = z.strictObject({ ...repositoryFields, files });
const filePart = z.strictObject({ ...repositoryFields, file: path.describe("The one file that is needed.") });
const addressPart = z.strictObject({
  url: link.describe("A file that is on no hub."),
  file: path.describe("What it is called on the disk."),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable()
    .describe("Of its bytes; null where it is not known."),
});

/** A model for `--model`. */
export const modelEntrySchema = z.strictObject({
  model: z.string().min(1).describe("What it is, for people."),
  ...repositoryFields,
  files,
  licences: z.array(licenceSchema).min(1),
  notes: z.string().optional().describe("What else a user should know, shown with it."),
});
/** A reward for `--reward` and `--reward-model`. */
export const rewardEntrySchema = z.strictObject({
  reward: z.string().min(1).describe("What it is, for people."),
  kind: z.enum(REWARD_KINDS),
  parts: z.record(z.string().regex(/^[a-z]+$/), z.union([filePart, folderPart, addressPart])),
  licences: z.array(licenceSchema).min(1),
  notes: z.string().optional().describe("What else a user should know, shown with it."),
});

/** What a reward is, which says how its parts are opened. */
export type RewardKind = (typeof REWARD_KINDS)[number];
/** A licence, with its link. */
export type Licence = z.infer<typeof licenceSchema>;
/** A part of a reward: a file or several of a repository, or a file at an address. */
export type RewardPart = z.infer<typeof rewardEntrySchema>["parts"][string];
/** A file at a plain address. */
export type AddressPart = z.infer<typeof addressPart>;
/** A model with a name. */
export type ModelEntry = z.infer<typeof modelEntrySchema> & { readonly name: string };
/** A reward with a name. */
export type RewardEntry = z.infer<typeof rewardEntrySchema> & { readonly name: string };
/** A model or a reward with a name. */
export type CatalogueEntry = ModelEntry | RewardEntry;

/** The names of what the catalogue holds, of one sort or of both. */
export function catalogueNames(sort?: "model" | "reward"): string[] {
  const sorts = sort === undefined ? (["model", "reward"] as const) : [sort];
  return sorts.flatMap((one) =>
    readdirSync(FOLDERS[one])
      .filter((name) => name.endsWith(".yaml"))
      .map((name) => basename(name, ".yaml"))
      .sort(),
  );
}

/** The model of that name; undefined when there is none. @throws DocumentError when its file is wrong */
export async function findModel(name: string): Promise<ModelEntry | undefined> {
  if (!catalogueNames("model").includes(name)) return undefined;
  return { name, ...(await readEntry(modelEntrySchema, join(FOLDERS.model, `${name}.yaml`))) };
}

/** The reward of that name; undefined when there is none. @throws DocumentError when its file is wrong */
export async function findReward(name: string): Promise<RewardEntry | undefined> {
  if (!catalogueNames("reward").includes(name)) return undefined;
  return { name, ...(await readEntry(rewardEntrySchema, join(FOLDERS.reward, `${name}.yaml`))) };
}

/** Imports what reads YAML when it is needed: a model given by its path does not wait for it. */
async function readEntry<T>(schema: z.ZodType<T>, file: string): Promise<T> {
  const [{ readLocated }, { validateLocated }] = await Promise.all([
    import("../../util/yaml/parse.js"),
    import("../../util/yaml/validate.js"),
  ]);
  return validateLocated(schema, await readLocated(file));
}
