/** @file What a bundle's manifest says before its files are known: inputs, members, how they are summed. */

import { basename } from "node:path";
import { autoencoderFactor } from "../../models/autoencoder-kl.js";
import { IR_VERSION, OPSET } from "../../onnx/encode.js";
import { inputName } from "../../rewards/contract.js";
import type { DescribedTokenizer } from "../../tokenizers/types.js";
import { sha256File } from "../../util/files.js";
import type { WeightEntry } from "../../weights/types.js";
import type { PictureKind, RewardGraphs } from "./graphs.js";
import { BUNDLE_FILES, BUNDLE_FORMAT, type RewardManifest } from "./manifest.js";
import { listPorts } from "./ports.js";
import type { BundleOptions } from "./write-bundle.js";

/** The numbers a picture is meant to have. */
const RANGES: Readonly<Record<PictureKind, readonly [number, number] | null>> = {
  pixels: null,
  image: [0, 1],
  latents: null,
};
const MEANINGS: Readonly<Record<PictureKind, string>> = {
  pixels:
    "RGB, made the square that the network reads as the rewards' `fit` says, then (colour in [0, 1] - mean) / std",
  image:
    "RGB in [0, 1]; resize (antialiased bicubic), centre crop or black borders (`fit`), and normalisation are part of the model",
  latents: "latents as the denoiser has them: the model divides by scalingFactor, decodes, and maps to [0, 1]",
};

/** Folder of a member's tokenizer. */
export function tokenizerFile(name: string): string {
  return `tokenizers/${name}.json`;
}

/** The manifest but for the test and the list of files. @param weightTypes dtypes that weights are stored in */
export async function describeBundle(
  options: BundleOptions,
  graphs: RewardGraphs,
  weightTypes: readonly string[],
): Promise<Omit<RewardManifest, "test" | "files">> {
  const { members, from, decoder, singleFile } = options;
  const score = listPorts(graphs.score);
  const picture = score.inputs.find(({ name }) => name === from)!;
  const inputs = new Set(score.inputs.map(({ name }) => name));
  const [, , rows, columns] = picture.shape as [unknown, unknown, number, number];
  const factor = decoder === undefined ? 1 : autoencoderFactor(decoder.config);
  const range = RANGES[from];
  const sum = members.map(({ name, weight }) => (weight === 1 ? name : `${weight} * ${name}`)).join(" + ");
  return {
    kind: "laurel-reward",
    format: BUNDLE_FORMAT,
    name: members.length === 1 ? members[0]!.name : "ensemble",
    producer: { laurel: options.version },
    onnx: { irVersion: IR_VERSION, opset: OPSET, domains: ["ai.onnx"] },
    from,
    picture: {
      ...picture,
      layout: "NCHW",
      range: range === null ? null : [range[0], range[1]],
      meaning: MEANINGS[from],
      width: columns * factor,
      height: rows * factor,
    },
    decoder:
      decoder === undefined
        ? null
        : {
            name: decoder.name,
            sources: await digests(decoder.weights),
            scalingFactor: decoder.config.scalingFactor,
            shiftFactor: decoder.config.shiftFactor,
            factor,
          },
    models: {
      score: { file: BUNDLE_FILES.score, ...score },
      gradient: { file: BUNDLE_FILES.gradient, ...listPorts(graphs.gradient) },
    },
    rewards: await Promise.all(
      members.map(async ({ name, weight, reward, network }) => {
        const [ids, mask] = [inputName(name, "ids"), inputName(name, "mask")];
        const { fit, mean, std } = network.preprocessing;
        return {
          name,
          weight,
          range: [reward.range[0], reward.range[1]] as [number, number],
          model: { name: reward.model.name, sources: await digests(network.weights) },
          imageSize: network.imageSize,
          mean: [...mean] as [number, number, number],
          std: [...std] as [number, number, number],
          fit,
          tokenizer: described(name, network.tokenizer),
          inputs: { ...(inputs.has(ids) ? { ids } : {}), ...(inputs.has(mask) ? { mask } : {}) },
        };
      }),
    ),
    combination: { kind: "weighted-sum", normalisation: "none", formula: `score = ${sum}` },
    weights: {
      file: singleFile === true ? null : BUNDLE_FILES.weights,
      dtypes: [...weightTypes],
      computedIn: "float32",
    },
  };
}

function described(
  name: string,
  tokenizer: DescribedTokenizer | undefined,
): RewardManifest["rewards"][number]["tokenizer"] {
  if (tokenizer === undefined) return null;
  const { kind, maxLength } = tokenizer.description;
  return { file: tokenizerFile(name), kind, maxLength };
}

/** Name and digest of every file that weights are taken from. */
async function digests(weights: ReadonlyMap<string, WeightEntry>): Promise<{ file: string; sha256: string }[]> {
  const files = [...new Set([...weights.values()].map(({ file }) => file))].sort();
  return Promise.all(files.map(async (file) => ({ file: basename(file), sha256: await sha256File(file) })));
}
