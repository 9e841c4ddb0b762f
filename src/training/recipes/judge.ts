/** @file Recipe: the judge, a contrastive dual encoder in CLIP's form, on groups of near misses. */

import { div, exp, input, matMul, min, mul, reduceSum, sqrt, transpose } from "../../graph/builder.js";
import type { Value } from "../../graph/types.js";
import type { ClipConfig } from "../../models/clip.js";
import { buildClipImageEmbedding, buildClipTextEmbedding, clipLogitScale } from "../../models/clip.js";
import { describeForTraining, sampleGroup } from "../../demo/dataset.js";
import { renderScene } from "../../demo/render.js";
import { rootScope } from "../../nn/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Tokenizer } from "../../tokenizers/types.js";
import { clipTensor, freePrompt, sampleRandom, tokenTensors } from "../demo-samples.js";
import { contrastive } from "../losses.js";
import type { Recipe } from "../loop.js";
import type { RecipeSettings } from "./recipe-settings.js";
import { startValues } from "./recipe-settings.js";

/** Settings of the judge's training. */
export interface JudgeSettings extends RecipeSettings {
  /** Scenes that differ by one change, next to each other in a batch; divides the batch size. */
  readonly groupSize: number;
}

/** The network and its tokenizer. */
export interface JudgeParts {
  readonly config: ClipConfig;
  readonly tokenizer: Tokenizer;
}

/** Words of a description that are kept: nearly all, or a near miss would fit it as well. */
const KEEP = 0.9;
/** exp(logit_scale) is held at most here, as in CLIP's training. */
const LARGEST_SCALE = 100;

/** x / |x|, row by row. */
function normalized(x: Value): Value {
  return div(x, sqrt(reduceSum(mul(x, x), [1])));
}

/** Parameters are named as in the dual encoder's file. */
export function judgeRecipe(parts: JudgeParts, settings: JudgeSettings, start?: ReadonlyMap<string, Tensor>): Recipe {
  const { config, tokenizer } = parts;
  const { batchSize, groupSize, seed = 1 } = settings;
  const size = config.vision.imageSize;
  const scope = rootScope({ mode: "training" });
  const images = buildClipImageEmbedding(scope, config, input("pixels", "float32", [batchSize, 3, size, size]));
  const texts = buildClipTextEmbedding(scope, config, input("ids", "int64", [batchSize, tokenizer.maxLength]));
  const scale = min(exp(clipLogitScale(scope)), LARGEST_SCALE);
  const logits = mul(matMul(normalized(images), transpose(normalized(texts), [1, 0])), scale);
  const loss = contrastive(logits, batchSize);
  return {
    ...settings,
    task: "judge",
    seed,
    accumulate: settings.accumulate ?? 1,
    objective: { loss, metrics: { scale }, parameters: startValues(loss, seed, start) },
    batch(cursor) {
      const samples = Array.from({ length: batchSize / groupSize }, (_, group) => {
        const random = sampleRandom(seed, cursor + group * groupSize);
        return sampleGroup(random, groupSize).map((scene) => ({
          picture: renderScene(scene, random),
          prompt: freePrompt(random, describeForTraining(random, scene, KEEP)),
        }));
      }).flat();
      const { ids } = tokenTensors(
        tokenizer,
        samples.map(({ prompt }) => prompt),
      );
      return {
        pixels: clipTensor(
          samples.map(({ picture }) => picture),
          size,
        ),
        ids,
      };
    },
  };
}
