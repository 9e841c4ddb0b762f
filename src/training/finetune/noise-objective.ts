/** @file Noise prediction as a loss: plain and weighted (sft, ReFL's pre-training), and as preferences (Diffusion-DPO). */

import { cast, input, less, mul, reduceMean, slice, softplus, sub } from "../../graph/builder.js";
import type { Value } from "../../graph/types.js";
import type { Objective } from "../gradient-program.js";
import { meanOf } from "../losses.js";
import { denoiserPart, type RowSettings } from "./reward-objective.js";
import type { TunedModel } from "./tuned-model.js";

/** mean over C, h, w of (prediction - target)^2: [rows]. */
function rowErrors(model: TunedModel, { rows, guidance }: RowSettings): Value {
  const shape = [rows, model.configs.autoencoder.latentChannels, model.size.height, model.size.width];
  const prediction = denoiserPart(model, { rows, guidance })(
    input("sample", "float32", shape),
    input("timestep", "float32", [rows]),
  );
  const difference = sub(prediction, input("target", "float32", shape));
  return reduceMean(mul(difference, difference), [1, 2, 3], { keepDims: false });
}

/**
 * Weighted noise prediction: `mean_i(weight_i * mean((prediction_i - target_i)^2))`. With weights of 1 it is the loss the model was trained with; with
 * weights by reward the paper's reward-weighted baseline (Lee et al. 2023, arXiv 2302.12192).
 * Inputs: `sample`, `target` [rows, C, h, w], `timestep`, `weight` [rows], and the prompts' as in {@link denoiserPart}.
 * @param guidance above 1 it is the guided prediction that learns: the right one for pictures that were drawn with guidance
 */
export function noiseObjective(model: TunedModel, rows: number, guidance = 1): Objective {
  const errors = rowErrors(model, { rows, guidance });
  const loss = meanOf(mul(errors, input("weight", "float32", [rows])));
  return { loss, metrics: { error: meanOf(errors) }, parameters: model.start, frozen: model.weights };
}

/**
 * Diffusion-DPO (Wallace et al. 2023, arXiv 2311.12908, equation 14; weighting function constant as in its released trainer):
 *
 *     e    = |prediction - target|^2 of the model in training, e_ref that of the base, at the same noise and timestep
 *     loss = -mean(log sigmoid(-beta / 2 ((e_w - e_w_ref) - (e_l - e_l_ref))))
 *
 * with errors averaged over elements. Rows: all better pictures, then the worse ones in the same order. Inputs as in {@link noiseObjective}, `reference`
 * [2 pairs] instead of weights.
 */
export function preferenceObjective(model: TunedModel, pairs: number, beta: number, guidance = 1): Objective {
  const gain = sub(rowErrors(model, { rows: 2 * pairs, guidance }), input("reference", "float32", [2 * pairs]));
  const margin = sub(slice(gain, 0, 0, pairs), slice(gain, 0, pairs, 2 * pairs));
  const loss = meanOf(softplus(mul(margin, beta / 2)));
  const accuracy = meanOf(cast(less(margin, 0), "float32"));
  return { loss, metrics: { accuracy }, parameters: model.start, frozen: model.weights };
}
