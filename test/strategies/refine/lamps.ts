/** @file A world for refiners: pictures are grey, words of the prompt make them lighter or darker, seeds add the same noise to every prompt. */

import type { GeneratedGroup, ImageBackend, ImageRequest } from "#laurel/backends/contract";
import { resolveRequest } from "#laurel/backends/resolve";
import { truncationWarning } from "#laurel/prompts/truncation";
import type { Reward } from "#laurel/rewards/contract";
import type { StrategyContext, StrategyEvent } from "#laurel/strategies/contract";
import type { Refiner } from "#laurel/strategies/refine/contract";
import { conclude, type Conclusion, type Draw } from "#laurel/strategies/refine/conclusion";
import { refineWith } from "#laurel/strategies/refine/refine";
import { parseVocabulary, type Vocabulary } from "#laurel/strategies/refine/vocabulary";
import { smallRandom } from "#laurel/util/statistics";
import { parseLocated } from "#laurel/util/yaml/parse";
import { createBrightnessReward } from "../../backends/brightness-reward.js";
import { createProceduralBackend } from "../../backends/procedural-backend.js";

/** Levels of grey that words add; a prompt of more than `room` words is cut. */
export interface Lamps {
  readonly words: Readonly<Record<string, number>>;
  readonly noise?: number;
  readonly room?: number;
  readonly batch?: number;
}

/** Draws `lamps`. */
export function lampBackend(lamps: Lamps, requests: ImageRequest[] = []): ImageBackend {
  const backend = createProceduralBackend();
  const { noise = 12, room = 40 } = lamps;
  return {
    ...backend,
    async *generate(request, options): AsyncGenerator<GeneratedGroup, void> {
      requests.push(request);
      const words = request.prompt.split(/[\s,]+/u);
      const level = words.slice(0, room).reduce((sum, word) => sum + (lamps.words[word] ?? 0), 80);
      const lost = words.slice(room).join(" ");
      for await (const { images, warnings } of backend.generate(request, options)) {
        const grey = images.map(({ image, ...one }) => {
          const value = Math.round(level + noise * (2 * smallRandom(one.seed)() - 1));
          return { ...one, image: { ...image, data: image.data.map(() => Math.max(0, Math.min(255, value))) } };
        });
        yield { images: grey, warnings: lost === "" ? warnings : [...warnings, truncationWarning("lamp: long", lost)] };
      }
    },
  };
}

/** A vocabulary from YAML text. */
export function vocabularyOf(yaml: string): Vocabulary {
  return parseVocabulary(parseLocated(`version: 1\n${yaml}`, "words.yaml"));
}

/** What a refinement did. */
export interface Outcome {
  readonly events: readonly StrategyEvent[];
  readonly requests: readonly ImageRequest[];
  /** Prompts that the reward was asked to score pictures against. */
  readonly scoredAgainst: ReadonlySet<string>;
  readonly draws: readonly Draw[];
  readonly conclusion: Conclusion;
  readonly done: Extract<StrategyEvent, { type: "done" }>;
  readonly warnings: readonly string[];
}

/** Runs a refinement of `prompt` to its end, or until `stopAfter` candidates are scored. */
export async function refineLamps(
  refiner: Refiner,
  lamps: Lamps,
  prompt: string,
  count: number,
  change: Partial<StrategyContext> & { readonly stopAfter?: number } = {},
): Promise<Outcome> {
  const requests: ImageRequest[] = [];
  const scoredAgainst = new Set<string>();
  const backend = lampBackend(lamps, requests);
  const brightness = createBrightnessReward();
  const reward: Reward = {
    ...brightness,
    score: (against, images, options) => {
      if (images.length > 0) scoredAgainst.add(against);
      return brightness.score(against, images, options);
    },
  };
  const { request } = resolveRequest(backend, { prompt, seed: 100, count, batch: lamps.batch });
  const { stopAfter = Infinity, ...rest } = change;
  const events: StrategyEvent[] = [];
  const draws: Draw[] = [];
  for (const { index, seed, score, prompt: drawn = "", lineage } of rest.finished ?? []) {
    draws.push({ index, seed, score, prompt: drawn, refinement: lineage!.refinement! });
  }
  for await (const event of refineWith(refiner).run({
    backend,
    reward,
    request,
    budget: { candidates: count },
    ...rest,
  })) {
    events.push(event);
    if (event.type !== "scored") continue;
    const { index, seed, prompt: drawn, lineage } = event.candidate;
    draws.push({ index, seed, prompt: drawn, score: event.score, refinement: lineage.refinement! });
    if (draws.length >= stopAfter) break;
  }
  const last = events.at(-1);
  const done =
    last?.type === "done" ? last : { type: "done" as const, reason: "complete" as const, ranking: [], evaluations: 0 };
  const warnings = events.flatMap((event) => (event.type === "warning" ? event.message : []));
  draws.sort((a, b) => a.index - b.index);
  return { events, requests, scoredAgainst, draws, conclusion: conclude(draws, prompt), done, warnings };
}
