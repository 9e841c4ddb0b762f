/** @file Measures where a run's time goes, from outside the backend and the reward. */

import type { ImageBackend, StepwiseModel } from "../backends/contract.js";
import type { Reward } from "../rewards/contract.js";

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
  return {
    backend: {
      name: backend.name,
      model: backend.model,
      capabilities: backend.capabilities,
      defaults: backend.defaults,
      stepwise: backend.stepwise === undefined ? undefined : timedSteps(backend.stepwise, clock),
      dispose: () => backend.dispose(),
      async *generate(request, options) {
        const groups = backend.generate(request, options);
        try {
          for (;;) {
            const startedAt = performance.now();
            const { value, done } = await groups.next();
            clock.generateMs += performance.now() - startedAt;
            if (done === true) return;
            yield value;
          }
        } finally {
          await groups.return(undefined);
        }
      },
    },
    reward: {
      name: reward.name,
      model: reward.model,
      range: reward.range,
      ...("network" in reward
        ? {
            get network() {
              return reward.network;
            },
          }
        : {}),
      dispose: () => reward.dispose(),
      async score(prompt, images, options) {
        const startedAt = performance.now();
        try {
          return await reward.score(prompt, images, options);
        } finally {
          clock.scoreMs += performance.now() - startedAt;
        }
      },
    },
  };
}

/** The same model; time spent stepping and decoding is added to `clock`. */
function timedSteps(model: StepwiseModel, clock: Clock): StepwiseModel {
  const timed = async <T>(work: Promise<T>): Promise<T> => {
    const startedAt = performance.now();
    try {
      return await work;
    } finally {
      clock.generateMs += performance.now() - startedAt;
    }
  };
  return {
    begin: (...given) => timed(model.begin(...given)),
    start: (...given) => model.start(...given),
    step: (...given) => timed(model.step(...given)),
    preview: (...given) => timed(model.preview(...given)),
    fork: (...given) => model.fork(...given),
    decode: (...given) => timed(model.decode(...given)),
    operations: (trajectory) => model.operations(trajectory),
    scoreGradient: (...given) => timed(model.scoreGradient(...given)),
    pullBack: (...given) => timed(model.pullBack(...given)),
    gradientOperations: (...given) => model.gradientOperations(...given),
  };
}
