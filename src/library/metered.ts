/** @file Counts what a strategy has its models do, from outside, so that what it spends does not depend on what it says. */

import type { ImageBackend, StepwiseModel } from "../backends/contract.js";
import { sameInit, type StartingPicture } from "../diffusion/init-encoder.js";
import type { Reward } from "../rewards/contract.js";
import type { WorkMeter } from "../strategies/search/work-meter.js";
import { intercept } from "../util/intercept.js";
import type { Models } from "./models.js";

/**
 * The same models; `meter` counts evaluations, decoding, encoding, scores and gradients. The text encoders' work is left out: it is once a prompt.
 */
export function metered({ backend, reward }: Models, meter: WorkMeter): Models {
  return { backend: meteredBackend(backend, meter), reward: meteredReward(reward, meter) };
}

function meteredReward(reward: Reward, meter: WorkMeter): Reward {
  return intercept(reward, {
    score: (prompt, images, options) => {
      meter.count("scoring", images.length);
      return reward.score(prompt, images, options);
    },
  });
}

function meteredBackend(backend: ImageBackend, meter: WorkMeter): ImageBackend {
  const { stepwise } = backend;
  let last: StartingPicture = {};
  const encode = (request: StartingPicture): void => {
    if (request.init === undefined) return;
    // the model keeps what it encoded last
    if (!sameInit(last, request)) meter.count("encoding", 1);
    last = request;
  };
  return intercept(backend, {
    stepwise: stepwise === undefined ? undefined : meteredSteps(stepwise, meter, encode),
    async *generate(request, options) {
      encode(request);
      for await (const group of backend.generate(request, options)) {
        for (const { evaluations } of group.images) meter.count("evaluation", evaluations);
        meter.count("decoding", group.images.length);
        yield group;
      }
    },
  });
}

/** @param encode counts the picture that a request starts from */
function meteredSteps(
  model: StepwiseModel,
  meter: WorkMeter,
  encode: (request: StartingPicture) => void,
): StepwiseModel {
  return intercept(model, {
    begin: (request, options) => {
      encode(request);
      return model.begin(request, options);
    },
    step: (trajectory, states, options) => {
      meter.count("evaluation", states.length * (trajectory.guided ? 2 : 1));
      return model.step(trajectory, states, options);
    },
    preview: (trajectory, states, options) => {
      meter.count("decoding", states.length);
      return model.preview(trajectory, states, options);
    },
    decode: (trajectory, states, options) => {
      meter.count("decoding", states.length);
      return model.decode(trajectory, states, options);
    },
    scoreGradient: (trajectory, states, judge, options) => {
      meter.price(model.gradientOperations(trajectory, judge));
      meter.count("scoringGradient", states.length);
      return model.scoreGradient(trajectory, states, judge, options);
    },
    pullBack: (trajectory, steps, cotangents, options = {}) => {
      const { guided, request } = trajectory;
      // without the denoiser there is nothing to compute; at a guidance of 1 nothing comes back through the negative prompt
      const passes = options.through === false ? 0 : guided && request.guidance !== 1 ? 2 : 1;
      meter.count("evaluationGradient", steps.length * passes);
      return model.pullBack(trajectory, steps, cotangents, options);
    },
  });
}
