/** @file States on their way: the random stream of diffusers, what is kept, what can be gone back to. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { beginState, forkState, type LatentState, nextState } from "#laurel/diffusion/latents";
import type { Sampler } from "#laurel/samplers/contract";
import { createSampler, SAMPLER_NAMES, type SamplerName } from "#laurel/samplers/sampler";
import { parseSchedulerConfig } from "#laurel/samplers/scheduler-config";

interface Case {
  sampler: SamplerName;
  config: Record<string, unknown>;
  steps: number;
  eta: number;
  start: number;
  samples: string[];
  noises: (string | null)[];
}
const { seed, cases } = JSON.parse(
  readFileSync(new URL("../fixtures/samplers/trajectories.json", import.meta.url), "utf8"),
) as { seed: number; cases: Case[] };

/** The reference script's stand-in for the denoiser. */
function model(state: LatentState, sampler: Sampler): Float32Array {
  const c = (sampler.timesteps[state.stepIndex]! - 500) / 1000;
  const scale = sampler.inputScales[state.stepIndex]!;
  return state.latents.map((value) => (value * scale * 0.8 + c) / (1 + (value * scale) ** 2 * 0.5));
}

/** All states of a trajectory, the beginning first. */
function travel(begun: LatentState, sampler: Sampler): LatentState[] {
  const states = [begun];
  while (states.at(-1)!.stepIndex < sampler.timesteps.length) {
    states.push(nextState(states.at(-1)!, sampler, model(states.at(-1)!, sampler), 1));
  }
  return states;
}

/** max |a - b| / max |b| */
function relative(actual: Float32Array, expected: Float32Array): number {
  const largest = (values: Float32Array): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return largest(actual.map((value, i) => value - expected[i]!)) / largest(expected);
}

describe("the random stream stands where diffusers' CPU generator stands", () => {
  // the Brownian path of DPM-Solver++ SDE has a stream of its own in the reference
  const drawing = cases.filter(({ sampler, start, noises }) => {
    return start === 0 && !sampler.startsWith("dpmpp-sde") && noises.some((noise) => noise !== null);
  });

  test("for every sampler that draws from it", () => {
    expect([...new Set(drawing.map(({ sampler }) => sampler))].sort()).toEqual([
      "ddim",
      "ddpm",
      "dpmpp-2m-sde",
      "dpmpp-2m-sde-karras",
      "euler-a",
      "lcm",
    ]);
  });

  test.each(drawing.map((one, i) => [`${one.sampler} ${one.steps} (${i})`, one] as const))("%s", (_, one) => {
    const sampler = createSampler(one.sampler, parseSchedulerConfig(one.config, "test"), one.steps, { eta: one.eta });
    const last = travel(beginState(seed, 16, sampler), sampler).at(-1)!;
    const expected = new Float32Array(Uint8Array.from(Buffer.from(one.samples.at(-1)!, "base64")).buffer);
    // 1e-5 of the update, and the normal numbers themselves agree to 2e-6 with torch's; the rescaled schedule starts at level 4096
    expect(relative(last.latents, expected)).toBeLessThanOrEqual(
      one.config["rescale_betas_zero_snr"] === true ? 5e-5 : 2e-5,
    );
  });
});

describe.each(SAMPLER_NAMES)("%s", (name) => {
  const config = parseSchedulerConfig({ beta_schedule: "scaled_linear", beta_start: 0.00085, beta_end: 0.012 }, "test");
  const sampler = createSampler(name, config, 6);
  const states = travel(beginState(3, 16, sampler), sampler);

  test("every state can be gone back to", () => {
    for (const state of states.slice(0, -1)) {
      expect(travel(state, sampler).at(-1)!.latents).toEqual(states.at(-1)!.latents);
    }
  });

  test("each step predicts clean latents, counts what it cost and keeps no more than it needs", () => {
    expect(states[0]!.clean).toBeUndefined();
    states.slice(1).forEach((state, i) => {
      expect(state.clean!.every(Number.isFinite)).toBe(true);
      expect(state.evaluations).toBe(i + 1);
      expect(state.history.length).toBeLessThanOrEqual(5);
    });
  });

  test("forks part where the sampler draws noise, and nowhere else", () => {
    const parts = states.map((state) => {
      const left = travel(forkState(state, 10), sampler).at(-1)!.latents;
      return relative(left, travel(forkState(state, 11), sampler).at(-1)!.latents) > 1e-3;
    });
    const weighty = sampler.steps.map(({ next }) => Math.abs(next.noise ?? 0) > 1e-3);
    expect(parts).toEqual(states.map((_, i) => weighty.slice(i).includes(true)));
  });
});
