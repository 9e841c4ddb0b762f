/** @file Best-of-n: draw n candidates from consecutive seeds, score them all, rank them. */

import type { Strategy, StrategyContext, StrategyEvent } from "./contract.js";
import { Drawing } from "./drawing.js";

/** The strategy `best-of-n`. */
export const bestOfN: Strategy = { name: "best-of-n", run };

async function* run(context: StrategyContext): AsyncGenerator<StrategyEvent, void> {
  const { request, budget, finished = [] } = context;
  const total = Math.min(request.count, budget.candidates);
  const drawing = new Drawing({ ...context, finished: finished.filter(({ index }) => index < total) });
  const lineage = { strategy: bestOfN.name, parent: null, round: 0 };
  yield* drawing.draw({ request: { ...request, count: total }, first: 0, lineage });
  yield drawing.done(drawing.scored.size === total ? "complete" : drawing.reason);
}
