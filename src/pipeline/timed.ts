/** @file Measures where a run's time goes, from outside the backend and the reward. */

import type { ImageBackend, StepwiseModel } from "../backends/contract.js";
import type { Reward } from "../rewards/contract.js";
import { intercept } from "../util/intercept.js";

/** Milliseconds, added to while the run goes on. */
export interface Clock {
  generateMs: number;
  scoreMs: number;
}

/** The same backend and reward; time spent waiting for them is added to `clock`. */
export function withTimings(
  backend: ImageBackend,
  reward: Reward,
  clock: Clock,
): { backend: ImageBackend; reward: Reward } {
  const { stepwise } = backend;
  return {
    backend: intercept(backend, {
      stepwise: stepwise === undefined ? undefined : timedSteps(stepwise, clock),
      async *generate(request, options) {
        const groups = backend.generate(request, options);
        try {
          for (;;) {
            const { value, done } = await timed(groups.next(), clock, "generateMs");
            if (done === true) return;
            yield value;
          }
        } finally {
          await groups.return(undefined);
        }
      },
    }),
    reward: intercept(reward, { score: (...given) => timed(reward.score(...given), clock, "scoreMs") }),
  };
}

/** The same model; time spent stepping, decoding and differentiating is added to `clock`. */
function timedSteps(model: StepwiseModel, clock: Clock): StepwiseModel {
  const generating = <T>(work: Promise<T>): Promise<T> => timed(work, clock, "generateMs");
  return intercept(model, {
    begin: (...given) => generating(model.begin(...given)),
    step: (...given) => generating(model.step(...given)),
    preview: (...given) => generating(model.preview(...given)),
    decode: (...given) => generating(model.decode(...given)),
    scoreGradient: (...given) => generating(model.scoreGradient(...given)),
    pullBack: (...given) => generating(model.pullBack(...given)),
  });
}

async function timed<T>(work: Promise<T>, clock: Clock, kind: keyof Clock): Promise<T> {
  const startedAt = performance.now();
  try {
    return await work;
  } finally {
    clock[kind] += performance.now() - startedAt;
  }
}
