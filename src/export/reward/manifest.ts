/** @file manifest.json of a bundle: what its files are, what they take and give, and a known answer. */

import { join } from "node:path";
import { z } from "zod";
import { ModelError } from "../../errors.js";
import { parseJson, readText } from "../../util/read-file.js";

/** The manifest's form that this version writes and reads. */
export const BUNDLE_FORMAT = 1;
/** Names of the files of a bundle. */
export const BUNDLE_FILES = {
  manifest: "manifest.json",
  score: "reward.onnx",
  gradient: "reward_grad.onnx",
  weights: "weights.safetensors",
} as const;

const count = z.number().int().positive();
const triple = z.tuple([z.number(), z.number(), z.number()]);
const port = z.object({
  name: z.string(),
  dtype: z.enum(["float32", "int64"]),
  /** A name is a size that every run chooses. */
  shape: z.array(z.union([count, z.string()])),
});

const member = z.object({
  name: z.string(),
  weight: z.number(),
  /** The interval nearly all its scores lie in. */
  range: z.tuple([z.number(), z.number()]),
  model: z.object({ name: z.string(), sources: z.array(z.object({ file: z.string(), sha256: z.string() })) }),
  imageSize: count,
  mean: triple,
  std: triple,
  /** How an image becomes its pixels: the middle of it, or all of it in a black square. */
  fit: z.enum(["crop", "pad"]).default("crop"),
  /** Null for a reward that reads no text. */
  tokenizer: z.object({ file: z.string(), kind: z.enum(["word-piece", "byte-pair"]), maxLength: count }).nullable(),
  /** Names of the inputs that an encoding's parts are fed to; none without a tokenizer. */
  inputs: z.object({ ids: z.string().optional(), mask: z.string().optional() }),
});

const MANIFEST = z.object({
  kind: z.literal("laurel-reward"),
  format: z.literal(BUNDLE_FORMAT),
  name: z.string(),
  producer: z.object({ laurel: z.string() }),
  onnx: z.object({ irVersion: count, opset: count, domains: z.array(z.string()) }),
  from: z.enum(["pixels", "image", "latents"]),
  picture: port.extend({
    layout: z.literal("NCHW"),
    /** Least and greatest value it is meant to have; null where it has none. */
    range: z.tuple([z.number(), z.number()]).nullable(),
    meaning: z.string(),
    width: count,
    height: count,
  }),
  decoder: z
    .object({
      name: z.string(),
      sources: z.array(z.object({ file: z.string(), sha256: z.string() })),
      scalingFactor: z.number(),
      shiftFactor: z.number(),
      factor: count,
    })
    .nullable(),
  models: z.object({
    score: z.object({ file: z.string(), inputs: z.array(port), outputs: z.array(port) }),
    gradient: z.object({ file: z.string(), inputs: z.array(port), outputs: z.array(port) }),
  }),
  rewards: z.array(member).min(1),
  combination: z.object({ kind: z.literal("weighted-sum"), normalisation: z.literal("none"), formula: z.string() }),
  weights: z.object({ file: z.string().nullable(), dtypes: z.array(z.string()), computedIn: z.literal("float32") }),
  test: z.object({
    prompts: z.array(z.string()).min(1),
    ids: z.record(z.string(), z.array(z.array(z.number().int()))),
    input: z.object({ multiplier: count, offset: count, low: z.number(), high: z.number() }),
    shape: z.array(count),
    upstream: z.array(z.number()),
    scores: z.array(z.number()),
    gradientNorm: z.number(),
    gradientFirst: z.array(z.number()),
    tolerance: z.object({ score: z.number(), gradient: z.number() }),
  }),
  files: z.array(z.object({ path: z.string(), bytes: z.number().int().nonnegative(), sha256: z.string() })),
});

/** Content of a bundle's manifest.json. */
export type RewardManifest = z.infer<typeof MANIFEST>;
/** An input or output of one of its models. */
export type ManifestPort = z.infer<typeof port>;

/** Reads a bundle's manifest. @throws ModelError when there is none, or it is of another kind, format or form */
export async function readRewardManifest(directory: string): Promise<RewardManifest> {
  const path = join(directory, BUNDLE_FILES.manifest);
  const json = parseJson(await readText(path, { expected: "the manifest of an exported reward" }), path);
  const { kind, format } = (json ?? {}) as { kind?: unknown; format?: unknown };
  if (kind !== "laurel-reward" || format !== BUNDLE_FORMAT) {
    const actual = kind === "laurel-reward" ? `format ${String(format)}` : `kind ${JSON.stringify(kind ?? "none")}`;
    throw new ModelError(`${path}: expected an exported reward of format ${BUNDLE_FORMAT}, got ${actual}`);
  }
  const result = MANIFEST.safeParse(json);
  if (result.success) return result.data;
  const faults = result.error.issues.map(({ path: at, message }) => `${at.join(".")}: ${message}`);
  throw new ModelError(`${path}: expected the manifest of an exported reward, got ${faults.join("; ")}`);
}
