/** @file Sharing a backend and a reward between items: at most so many groups at once, the earlier item first. */

import PQueue from "p-queue";
import type { GeneratedGroup, ImageBackend, StepwiseModel } from "../../backends/contract.js";
import { drawGroups } from "../../backends/groups.js";
import type { Reward } from "../../rewards/contract.js";
import { intercept } from "../../util/intercept.js";

/** Backend and reward as the items of a run see them. */
export interface SharedModels {
  /** Both for one item: its requests wait behind those of items before it. */
  for(item: number): { readonly backend: ImageBackend; readonly reward: Reward };
}

/** Puts a queue before the backend, as wide as the groups it may draw at once, and one before the reward. */
export function shareModels(backend: ImageBackend, reward: Reward): SharedModels {
  const concurrency = backend.capabilities.concurrency ?? 1;
  const drawing = new PQueue({ concurrency });
  const scoring = new PQueue({ concurrency: reward.concurrency ?? 1 });
  const generate = backend.capabilities.concurrency === undefined ? generateInTurn : generateApart;
  return {
    for(item) {
      const priority = -item;
      return {
        backend: {
          name: backend.name,
          model: backend.model,
          capabilities: backend.capabilities,
          defaults: backend.defaults,
          stepwise:
            backend.stepwise === undefined
              ? undefined
              : stepInTurn(backend.stepwise, (task) => drawing.add(task, { priority })),
          dispose: () => backend.dispose(),
          generate: (request, options) =>
            generate(backend, (task) => drawing.add(task, { priority }), concurrency, request, options),
        },
        // what else it shows, such as its network, stays to be seen
        reward: intercept(reward, {
          score: (prompt, images, options) => scoring.add(() => reward.score(prompt, images, options), { priority }),
        }),
      };
    },
  };
}

type Generate = ImageBackend["generate"];
type Queued = <T>(task: () => Promise<T>) => Promise<T>;
type GenerateQueued = (
  backend: ImageBackend,
  queued: Queued,
  concurrency: number,
  ...given: Parameters<Generate>
) => ReturnType<Generate>;

/** The same model, which waits for its turn before each piece of work. */
function stepInTurn(model: StepwiseModel, queued: Queued): StepwiseModel {
  return intercept(model, {
    begin: (...given) => queued(() => model.begin(...given)),
    step: (...given) => queued(() => model.step(...given)),
    preview: (...given) => queued(() => model.preview(...given)),
    decode: (...given) => queued(() => model.decode(...given)),
    scoreGradient: (...given) => queued(() => model.scoreGradient(...given)),
    pullBack: (...given) => queued(() => model.pullBack(...given)),
  });
}

/** For a backend that draws one group after the other, each when it is asked for it: the request stays one. */
const generateInTurn: GenerateQueued = async function* (backend, queued, _, request, options) {
  const groups = backend.generate(request, options);
  try {
    for (;;) {
      const { value, done } = await queued((): Promise<IteratorResult<GeneratedGroup, void>> => groups.next());
      if (done === true) return;
      yield value;
    }
  } finally {
    await groups.return(undefined);
  }
};

/** For a backend of independent requests, which would draw ahead out of turn: each group is a request of its own. */
const generateApart: GenerateQueued = async function* (backend, queued, concurrency, request, options = {}) {
  yield* drawGroups(request, concurrency, options, ({ seed, count }, watched) =>
    queued(async () => {
      const images: GeneratedGroup["images"][number][] = [];
      const warnings: string[] = [];
      if (!watched.signal.aborted) {
        for await (const group of backend.generate({ ...request, seed, count }, watched)) {
          images.push(...group.images);
          warnings.push(...group.warnings);
        }
      }
      return { images, warnings };
    }),
  );
};
