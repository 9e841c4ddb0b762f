/** @file Candidates that start from a picture: the draws that begin them, and what is put back while they are repainted. */

import type { Sampler } from "../samplers/contract.js";
import { TorchGenerator } from "../tensor/random.js";
import type { EncodedInit, Posterior } from "./init-encoder.js";
import { type LatentScale, toDenoiserLatents } from "./latent-scale.js";
import type { LatentState } from "./latents.js";

/** What a candidate drew of the picture it starts from; each array is of its latents' shape. */
export interface InitLatents {
  /** The picture; undefined where the candidate keeps nothing of it. */
  readonly picture: Float32Array | undefined;
  /** The noise the candidate began with, of unit variance. */
  readonly noise: Float32Array;
  /** The picture without its masked part; undefined where the denoiser does not read it. */
  readonly masked: Float32Array | undefined;
}

/**
 * The start of the candidate with this seed. Its draws come in the order of diffusers' img2img and inpainting pipelines (v0.38.0): the picture's
 * latents, the noise, the masked picture's latents, which the inpainting pipeline draws even where its denoiser does not read them.
 * @param scale of the autoencoder's latents
 */
export function beginInitState(
  seed: number,
  size: number,
  sampler: Sampler,
  encoded: EncodedInit,
  scale: LatentScale,
): LatentState {
  const generator = new TorchGenerator(seed);
  const draw = ({ mean, deviation }: Posterior, eps: Float32Array): Float32Array =>
    toDenoiserLatents(
      eps.map((value, i) => mean[i]! + Math.fround(deviation[i]! * value)),
      scale,
    );
  const { picture: posterior, repaint } = encoded;
  const picture = posterior === undefined ? undefined : draw(posterior, generator.randn(size));
  const noise = generator.randn(size);
  const last = repaint === undefined ? undefined : generator.randn(size);
  const masked = last === undefined || repaint?.masked === undefined ? undefined : draw(repaint.masked, last);
  const latents =
    encoded.fromNoise || picture === undefined
      ? noise.map((value) => value * sampler.initialScale)
      : noised(sampler, 0, picture, noise);
  const init: InitLatents = { picture, noise, masked };
  return {
    seed,
    stepIndex: 0,
    latents,
    clean: undefined,
    history: [],
    init,
    random: generator.state(),
    evaluations: 0,
  };
}

/** The state with the picture put back, at its noise level, wherever it is not repainted. Nothing changes for a denoiser that reads the mask. */
export function keepUnmasked(state: LatentState, sampler: Sampler, encoded: EncodedInit | undefined): LatentState {
  const kept = keptLatents(state, encoded);
  if (kept === undefined) return state;
  const { mask, picture, noise } = kept;
  const there = state.stepIndex < sampler.noising.length ? noised(sampler, state.stepIndex, picture, noise) : picture;
  return { ...state, latents: blend(mask, state.latents, there) };
}

/** Clean latents that were predicted for the state, with the picture put back wherever it is not repainted. */
export function keepUnmaskedClean(
  clean: Float32Array,
  state: LatentState,
  encoded: EncodedInit | undefined,
): Float32Array {
  const kept = keptLatents(state, encoded);
  return kept === undefined ? clean : blend(kept.mask, clean, kept.picture);
}

/** The share of each place [h, w] that is repainted, where the picture is put back after each step; undefined where it is not. */
export function keptMask(state: LatentState, encoded: EncodedInit | undefined): Float32Array | undefined {
  return keptLatents(state, encoded)?.mask;
}

function keptLatents({ init }: LatentState, encoded: EncodedInit | undefined) {
  const repaint = encoded?.repaint;
  if (repaint === undefined || repaint.masked !== undefined || init?.picture === undefined) return undefined;
  return { mask: repaint.mask, picture: init.picture, noise: init.noise };
}

/** The picture at the noise level of an evaluation. */
function noised(sampler: Sampler, evaluation: number, picture: Float32Array, noise: Float32Array): Float32Array {
  const weights = sampler.noising[evaluation]!;
  return picture.map((value, i) => weights.sample * value + weights.noise * noise[i]!);
}

/** `inside` where the mask [h, w] is 1, `outside` where it is 0, for every channel. */
function blend(mask: Float32Array, inside: Float32Array, outside: Float32Array): Float32Array {
  return inside.map((value, i) => {
    const share = mask[i % mask.length]!;
    return share * value + (1 - share) * outside[i]!;
  });
}
