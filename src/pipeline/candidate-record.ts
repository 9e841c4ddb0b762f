/** @file What is stored of a candidate: the record inside its PNG, and the line of candidates.jsonl that adds the file. */

import { basename, extname } from "node:path";
import { z } from "zod";
import { PROMPT_SYNTAXES, type PromptSyntax, promptMeaning } from "../prompts/attention-syntax.js";
import type { Candidate, ScoreDetails } from "../strategies/contract.js";
import { redact } from "../util/secret.js";
import type { FileRecord, ModelRecord, RunManifest } from "./manifest.js";

const sourceSchema = z.strictObject({ name: z.string(), model: z.string(), digest: z.string().nullable() });
const index = z.number().int().nonnegative();

const lineageSchema = z.strictObject({
  strategy: z.string(),
  parent: index.nullable(),
  round: index,
  /** How its prompt came about, where a strategy wrote it. */
  refinement: z
    .strictObject({
      from: z.string().nullable(),
      edit: z.string().nullable(),
      phase: z.enum(["search", "confirm"]),
      flag: z.string().nullable(),
    })
    .optional(),
  /** Seed of the noise it began with, where a strategy copies pictures on their way. */
  origin: z.number().int().nonnegative().optional(),
  /** Where it went on as a copy of another, first to last. */
  path: z
    .array(z.strictObject({ step: index, from: index }))
    .readonly()
    .optional(),
});

/** All that determined a candidate, and its score. Nothing volatile: no time, run, path or rank, so equal requests give equal bytes. */
export const candidateRecordSchema = z.strictObject({
  schemaVersion: z.literal(1),
  index,
  seed: z.number().int().nonnegative(),
  /** The seed a server says it used; null where it did not say, or seeds are Laurel's own. */
  reportedSeed: z.number().nullable().default(null),
  prompt: z.string(),
  negativePrompt: z.string().nullable(),
  settings: z.strictObject({
    steps: z.number().nullable(),
    guidance: z.number().nullable(),
    sampler: z.string().nullable(),
    /** How far it went from the initial picture; null without one. */
    strength: z.number().nullable().default(null),
    /** How the prompts were read. */
    promptSyntax: z.enum(PROMPT_SYNTAXES).default("plain"),
    clipSkip: z.number().nullable().default(null),
    /** From which share of the way on the LoRAs had all of their scale, where they were annealed. */
    loraAnneal: z.number().optional(),
  }),
  /** The prompt as the reward read it; null where it read it as it stands. */
  rewardPrompt: z.string().nullable().default(null),
  /** The prompt as a server rewrote it before drawing; null where it did not. */
  revisedPrompt: z.string().nullable().default(null),
  /** Where the picture comes from: a file, or the server that drew it; null where it was drawn here. */
  source: z.string().nullable().default(null),
  /** Textual inversion embeddings: name of the file without ending, and SHA-256. */
  embeddings: z.array(z.strictObject({ name: z.string(), sha256: z.string() })).default([]),
  /** LoRAs, where there were any: name of the file without ending, SHA-256, scale. */
  loras: z.array(z.strictObject({ name: z.string(), sha256: z.string(), scale: z.number() })).optional(),
  /** SHA-256 of the pictures it was made from, as the run keeps them; null for one that there is none of. */
  inputs: z
    .strictObject({ init: z.string().nullable(), mask: z.string().nullable() })
    .default({ init: null, mask: null }),
  /** Pixels of the image. */
  width: z.number().int().positive(),
  height: z.number().int().positive(),
  lineage: lineageSchema,
  evaluations: z.number().nonnegative(),
  /** Null when the reward gave no finite number. */
  score: z.number().nullable(),
  /** Of an ensemble, the score of each member as it gave it, by its name in the manifest's models. */
  scores: z.record(z.string(), z.number().nullable()).optional(),
  /** Scores by rewards that chose nothing. */
  heldOut: z.record(z.string(), z.number().nullable()).optional(),
  backend: sourceSchema,
  reward: sourceSchema,
  /** Version of Laurel. */
  laurel: z.string(),
});

/** One line of candidates.jsonl. */
export const candidateLineSchema = candidateRecordSchema.extend({
  /** Path of the PNG, relative to the run's folder, with forward slashes. */
  image: z.string(),
  /** Size of the PNG. */
  bytes: z.number().int().positive(),
  /** SHA-256 of the PNG, hex. */
  sha256: z.string(),
});

/** What is stored of a candidate, as its PNG holds it. */
export type CandidateRecord = z.infer<typeof candidateRecordSchema>;
/** One line of candidates.jsonl: the record, and the file. */
export type CandidateLine = z.infer<typeof candidateLineSchema>;
/** The model that drew or scored a candidate. */
export type SourceRecord = CandidateRecord["backend"];

/** The files a candidate was made from. */
export interface MadeFrom {
  readonly inputs: { readonly [Name in "init" | "mask"]: { readonly sha256: string } | null };
  readonly embeddings: readonly FileRecord[];
  readonly loras: readonly FileRecord[];
}

/** What records say of the models of a run, and of Laurel. */
export interface Sources {
  readonly backend: SourceRecord;
  readonly reward: SourceRecord;
  readonly laurel: string;
}

/** What the records of a run's candidates say of its models. */
export function sourcesOf({ models, versions }: Pick<RunManifest, "models" | "versions">): Sources {
  const source = ({ name, model, digest }: ModelRecord): SourceRecord => ({ name, model, digest });
  return { backend: source(models.backend), reward: source(models.reward), laurel: versions.laurel };
}

/** The record of a scored candidate. */
export function candidateRecord(
  candidate: Candidate,
  judged: { readonly score: number | null } & ScoreDetails,
  sources: Sources,
  { inputs, embeddings, loras }: MadeFrom,
): CandidateRecord {
  const { settings, image } = candidate;
  const promptSyntax = settings.promptSyntax ?? "plain";
  return {
    schemaVersion: 1,
    index: candidate.index,
    seed: candidate.seed,
    reportedSeed: candidate.reportedSeed ?? null,
    prompt: candidate.prompt,
    negativePrompt: candidate.negativePrompt ?? null,
    settings: {
      steps: settings.steps ?? null,
      guidance: settings.guidance ?? null,
      sampler: settings.sampler ?? null,
      strength: settings.strength ?? null,
      promptSyntax,
      clipSkip: settings.clipSkip ?? null,
      ...(settings.loraAnneal === undefined || loras.length === 0 ? {} : { loraAnneal: settings.loraAnneal }),
    },
    rewardPrompt: rewardPrompt(candidate.prompt, promptSyntax),
    revisedPrompt: told(candidate.revisedPrompt),
    source: told(candidate.source),
    embeddings: embeddings.map(named),
    ...(loras.length === 0 ? {} : { loras: loras.map((file, i) => ({ ...named(file), scale: scaleOf(settings, i) })) }),
    inputs: { init: inputs.init?.sha256 ?? null, mask: inputs.mask?.sha256 ?? null },
    width: image.width,
    height: image.height,
    lineage: { ...candidate.lineage },
    evaluations: candidate.evaluations,
    score: judged.score,
    ...(judged.scores === undefined ? {} : { scores: { ...judged.scores } }),
    ...(judged.heldOut === undefined ? {} : { heldOut: { ...judged.heldOut } }),
    ...sources,
  };
}

function named({ path, sha256 }: FileRecord): { name: string; sha256: string } {
  return { name: basename(path, extname(path)), sha256 };
}

function scaleOf({ loras = [] }: Candidate["settings"], i: number): number {
  return loras[i]?.scale ?? 1;
}

/** What a server said, which may be what it was sent. */
function told(text: string | undefined): string | null {
  return text === undefined ? null : redact(text);
}

/** The prompt as a reward reads it, or null where it reads it as it stands. */
export function rewardPrompt(prompt: string, syntax: PromptSyntax): string | null {
  const meaning = promptMeaning(prompt, syntax);
  return meaning === prompt ? null : meaning;
}

/** Candidates of one folder of images. */
const SHARD_SIZE = 1000;

/** Where a candidate's PNG lies in its run: `images/<shard>/<index>-<seed>.png`, zero-padded so that names sort by index. */
export function candidateImagePath({ index, seed }: { readonly index: number; readonly seed: number }): string {
  const shard = Math.floor(index / SHARD_SIZE);
  return `images/${String(shard).padStart(2, "0")}/${String(index).padStart(4, "0")}-${seed}.png`;
}
