/** @file Sharing a backend and a reward between items: at most so many requests at once, the earlier item first. */

import PQueue from "p-queue";
import type { GeneratedGroup, ImageBackend } from "../../backends/contract.js";
import type { Reward } from "../../rewards/contract.js";

/** Backend and reward as the items of a run see them. */
export interface SharedModels {
  /** Both for one item: its requests wait behind those of items before it. */
  for(item: number): { readonly backend: ImageBackend; readonly reward: Reward };
}

/**
 * Puts a queue before the backend and one before the reward.
 * @param concurrency groups the backend draws at once
 */
export function shareModels(backend: ImageBackend, reward: Reward, concurrency: number): SharedModels {
  const drawing = new PQueue({ concurrency });
  // a device works on one thing at a time
  const scoring = new PQueue({ concurrency: 1 });
  return {
    for(item) {
      const priority = -item;
      return {
        backend: {
          ...forward(backend),
          async *generate(request, options) {
            const groups = backend.generate(request, options);
            try {
              for (;;) {
                const { value, done } = await drawing.add(
                  (): Promise<IteratorResult<GeneratedGroup, void>> => groups.next(),
                  { priority },
                );
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
          score: (prompt, images, options) => scoring.add(() => reward.score(prompt, images, options), { priority }),
          dispose: () => reward.dispose(),
        },
      };
    },
  };
}

function forward(backend: ImageBackend): Omit<ImageBackend, "generate"> {
  return {
    name: backend.name,
    model: backend.model,
    capabilities: backend.capabilities,
    defaults: backend.defaults,
    dispose: () => backend.dispose(),
  };
}
