/** @file The reward as a loss: denoiser steps, decoder, preprocessing and reward networks as one differentiable graph (refl and draft). */

import { decodedPicture } from "../../diffusion/networks.js";
import { add, clip, concat, constant, input, mul, neg, reduceMean, relu, slice, sub } from "../../graph/builder.js";
import type { Value } from "../../graph/types.js";
import { buildClipText } from "../../models/clip-text.js";
import { buildUnet } from "../../models/unet-2d-condition.js";
import { rootScope, type Scope } from "../../nn/scope.js";
import type { DifferentiableReward } from "../../rewards/contract.js";
import { preprocessImage } from "../../rewards/preprocess-graph.js";
import type { LinearForm, Sampler } from "../../samplers/contract.js";
import { float32 } from "../../tensor/tensor.js";
import type { WeightEntry } from "../../weights/types.js";
import type { Objective } from "../gradient-program.js";
import { meanOf } from "../losses.js";
import { PREFIXES, type TunedModel } from "./tuned-model.js";

/** A reward that guides the training. */
export interface GuideReward {
  readonly reward: DifferentiableReward;
  readonly weight: number;
}

/** Rows of a gradient, and whether each costs two evaluations. */
export interface RowSettings {
  readonly rows: number;
  /** Classifier-free guidance where above 1. */
  readonly guidance: number;
}

/** Rows of one differentiated step. */
export interface OneStepSettings extends RowSettings {
  /** The sampler's bound on |x0|. @default none */
  readonly clip?: number | undefined;
}

/** Prefix of a reward's parameters and text inputs in a combined graph. */
export function rewardPrefix({ name }: DifferentiableReward): string {
  return `reward.${name}`;
}

/** A denoiser in a graph: `[rows, C, h, w]` and timesteps `[rows]` to what guidance makes of its predictions. */
export type DenoiserPart = (sample: Value, timestep: Value) => Value;

/**
 * The denoiser of the model in training with its prompts: input `conditioning` [rows, L, width], or where the text encoder is trained `ids`
 * int64 [rows, L]; with guidance the rows of the empty prompt come first, so twice as many.
 */
export function denoiserPart(model: TunedModel, { rows, guidance }: RowSettings): DenoiserPart {
  const { configs, tokenizer, trainsText } = model;
  const guided = guidance > 1;
  const count = guided ? 2 * rows : rows;
  const width = configs.unet.crossAttentionWidth;
  const context = trainsText
    ? buildClipText(
        model.scope(PREFIXES.text, "training", "one"),
        configs.text,
        input("ids", "int64", [count, tokenizer.maxLength]),
      ).lastHiddenState
    : input("conditioning", "float32", [count, tokenizer.maxLength, width]);
  // one scope for all steps: they share their parameters
  const scope = model.scope(PREFIXES.unet, "training", "one");
  const predict = (sample: Value, timestep: Value): Value =>
    buildUnet(scope, configs.unet, { sample, timestep, encoderHiddenStates: context });
  if (!guided) return predict;
  return (sample, timestep) => {
    const both = predict(concat([sample, sample], 0), concat([timestep, timestep], 0));
    const [negative, positive] = [slice(both, 0, 0, rows), slice(both, 0, rows, count)];
    return add(negative, mul(sub(positive, negative), guidance));
  };
}

/** Clean latents `[rows, C, h, w]`, scaled, to the loss over the rewards of their pictures. */
function rewardLoss(
  model: TunedModel,
  clean: Value,
  guides: readonly GuideReward[],
  lossOf: (total: Value) => Value,
): Pick<Objective, "loss" | "metrics" | "cuts"> {
  const { autoencoder } = model.configs;
  const image = decodedPicture(rootScope({ prefix: PREFIXES.vae, mode: "training" }), autoencoder, clean);
  const metrics: Record<string, Value> = {};
  let total: Value | undefined;
  for (const { reward, weight } of guides) {
    const scope: Scope = rootScope({ prefix: rewardPrefix(reward), mode: "training" });
    const score = reward.network.build(scope, preprocessImage(image, model.defaults, reward.network));
    metrics[`reward/${reward.name}`] = meanOf(score);
    const part = weight === 1 ? score : mul(score, weight);
    total = total === undefined ? part : add(total, part);
  }
  return { loss: reduceMean(lossOf(total!), [0], { keepDims: false }), metrics, cuts: [clean, image] };
}

/** The weights of all networks of a reward objective, by the names they have in its graph. */
function frozenWeights(model: TunedModel, guides: readonly GuideReward[]): Map<string, WeightEntry> {
  const frozen = new Map(model.weights);
  for (const { reward } of guides)
    for (const [name, entry] of reward.network.weights) frozen.set(`${rewardPrefix(reward)}.${name}`, entry);
  return frozen;
}

/**
 * ReFL's loss (arXiv 2304.05977, algorithm 1; ImageReward/ReFL.py): one differentiated denoiser step from x_t to the predicted clean latents, whose
 * picture is scored.
 *
 *     x0   = clean.sample x_t + clean.output output(inputScale x_t, t)
 *     loss = mean(relu(margin - sum_i w_i r_i(decode(x0)))) * scale
 *
 * Inputs: `sample` [rows, C, h, w] as the sampler has it, `inputScale`, `cleanSample` and `cleanOutput` [rows, 1, 1, 1], `timestep` [rows], those of
 * {@link denoiserPart} and of the rewards. Without a margin the loss is `-mean(reward)` (DRaFT, arXiv 2309.17400, equation 2).
 */
export function oneStepObjective(
  model: TunedModel,
  guides: readonly GuideReward[],
  rows: OneStepSettings,
  hinge: { readonly margin: number; readonly scale: number } | undefined,
): Objective {
  const { autoencoder } = model.configs;
  const shape = [rows.rows, autoencoder.latentChannels, model.size.height, model.size.width];
  const perRow = (name: string): Value => input(name, "float32", [rows.rows, 1, 1, 1]);
  const sample = input("sample", "float32", shape);
  const output = denoiserPart(model, rows)(
    mul(sample, perRow("inputScale")),
    input("timestep", "float32", [rows.rows]),
  );
  const clean = clamped(add(mul(sample, perRow("cleanSample")), mul(output, perRow("cleanOutput"))), rows.clip);
  const loss = rewardLoss(model, clean, guides, (total) =>
    hinge === undefined ? neg(total) : mul(relu(sub(hinge.margin, total)), hinge.scale),
  );
  return { ...loss, parameters: model.start, frozen: frozenWeights(model, guides) };
}

/**
 * DRaFT-K's loss (arXiv 2309.17400): the sampler's last `count` steps are part of the graph, the picture they end in is scored.
 * Inputs: `sample` and `history.<i>` as the step before left them, `noise.<k>` where step k draws noise, each [rows, C, h, w] and only
 * where a step reads it; those of {@link denoiserPart} and of the rewards.
 */
export function lastStepsObjective(
  model: TunedModel,
  guides: readonly GuideReward[],
  rows: RowSettings,
  sampler: Sampler,
  count: number,
): Objective {
  const { autoencoder } = model.configs;
  const shape = [rows.rows, autoencoder.latentChannels, model.size.height, model.size.width];
  const first = sampler.steps.length - count;
  const denoise = denoiserPart(model, rows);
  let sample: Value = input("sample", "float32", shape);
  let history: Value[] = (sampler.steps[first - 1]?.history ?? []).map((_, i) =>
    input(`history.${i}`, "float32", shape),
  );
  const cuts: Value[] = [];
  for (let step = first; step < sampler.steps.length; step++) {
    const { clean: toClean, clip: bound, next, history: registers, drawsNoise } = sampler.steps[step]!;
    const scale = sampler.inputScales[step]!;
    const timestep = constantTimestep(sampler.timesteps[step]!, rows.rows);
    const output = denoise(scale === 1 ? sample : mul(sample, scale), timestep);
    const predicted = add(mul(sample, toClean.sample), mul(output, toClean.output));
    const clean = clamped(predicted, bound);
    const noise = drawsNoise ? input(`noise.${step - first}`, "float32", shape) : undefined;
    const sources = { clean, sample, output, history, noise };
    history = registers.map((form) => formValue(form, sources));
    sample = formValue(next, sources);
    cuts.push(sample);
  }
  const loss = rewardLoss(model, sample, guides, neg);
  return {
    ...loss,
    cuts: [...cuts, ...(loss.cuts ?? [])],
    parameters: model.start,
    frozen: frozenWeights(model, guides),
  };
}

function clamped(clean: Value, bound: number | undefined): Value {
  return bound === undefined ? clean : clip(clean, -bound, bound);
}

function constantTimestep(timestep: number, rows: number): Value {
  return constant(float32([rows], new Float32Array(rows).fill(timestep)));
}

interface FormSources {
  readonly clean: Value;
  readonly sample: Value;
  readonly output: Value;
  readonly history: readonly Value[];
  readonly noise: Value | undefined;
}

/** A sampler's linear form as a value. */
function formValue(form: LinearForm, sources: FormSources): Value {
  const terms: Value[] = [];
  const term = (weight: number | undefined, value: Value | undefined): void => {
    if (weight === undefined || weight === 0 || value === undefined) return;
    terms.push(weight === 1 ? value : mul(value, weight));
  };
  term(form.clean, sources.clean);
  term(form.sample, sources.sample);
  term(form.output, sources.output);
  form.history?.forEach((weight, i) => term(weight, sources.history[i]));
  term(form.noise, sources.noise);
  return terms.reduce((left, right) => add(left, right));
}
