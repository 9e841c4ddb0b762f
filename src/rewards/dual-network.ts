/** @file A network of two encoders whose score is the cosine of what they make of image and prompt. */

import { div, mul, reduceSum, sqrt } from "../graph/builder.js";
import type { Dim } from "../graph/dims.js";
import type { Value } from "../graph/types.js";
import type { Preprocessing } from "../image/preprocess.js";
import { batchOf } from "../nn/dimension.js";
import type { Scope } from "../nn/scope.js";
import type { DescribedTokenizer } from "../tokenizers/types.js";
import type { WeightEntry } from "../weights/types.js";
import type { RewardNetwork, TextFeeds } from "./contract.js";

/** Two encoders. The prompt's tokens are inputs under the scope's prefix. */
export interface DualNetwork extends RewardNetwork {
  readonly tokenizer: DescribedTokenizer;
  /** What the cosine is multiplied with. */
  readonly factor: number;
  /** What beside weights and preprocessing determines the vectors, as data: configurations, where the tokenizer lies. */
  readonly keys: { readonly image: unknown; readonly text: unknown };
  /** The images' vectors `[N, width]`, of any length. */
  buildImage(scope: Scope, pixels: Value): Value;
  /** The prompts' vectors `[batch, width]`, of any length; declares the text inputs. */
  buildText(scope: Scope, batch: Dim): Value;
}

/** What a dual network is, beside its encoders. */
export interface DualParts {
  readonly imageSize: number;
  readonly preprocessing: Preprocessing;
  readonly factor: number;
  readonly keys: DualNetwork["keys"];
  readonly tokenizer: DescribedTokenizer;
  readonly weights: ReadonlyMap<string, WeightEntry>;
  readonly buildImage: DualNetwork["buildImage"];
  readonly buildText: DualNetwork["buildText"];
  readonly textFeeds: (prefix: string, prompts: readonly string[]) => TextFeeds;
}

/** The network of two encoders: factor * cos(text, image). */
export function dualNetwork(parts: DualParts): DualNetwork {
  return {
    ...parts,
    build: (scope, pixels) => buildCosine(scope, parts, pixels),
  };
}

/** factor * <t, v> / (|t| |v|), `[N]`. */
export function buildCosine(
  scope: Scope,
  { buildImage, buildText, factor }: Pick<DualNetwork, "buildImage" | "buildText" | "factor">,
  pixels: Value,
): Value {
  const text = buildText(scope, batchOf(pixels));
  const image = buildImage(scope, pixels);
  const product = (a: Value, b: Value): Value => reduceSum(mul(a, b), [1], { keepDims: false });
  const cosine = div(product(text, image), mul(sqrt(product(text, text)), sqrt(product(image, image))));
  return factor === 1 ? cosine : mul(cosine, factor);
}
