/** @file What can be told before anything is drawn: settings that the backend refuses, exports to nowhere. */

import type { ImageBackend } from "../../backends/contract.js";
import { resolveRequest } from "../../backends/resolve.js";
import { UsageError } from "../../errors.js";
import type { Reward } from "../../rewards/contract.js";
import { expectMeans } from "../../strategies/check.js";
import { strategyOf } from "../../strategies/open.js";
import { type PipelinePlan, requestSettings } from "../document/plan.js";
import { exportFolder } from "./export.js";

/** What draws and what scores. */
interface Models {
  readonly backend: ImageBackend;
  readonly reward: Reward;
}

/**
 * @throws UsageError naming the item and step whose settings the backend cannot draw with, or whose strategy these models or its budget do not allow, or the
 * export that has no folder
 */
export async function checkPlan({ items, steps }: PipelinePlan, { backend, reward }: Models): Promise<void> {
  const checked = new Set<string>();
  for (const item of items) {
    for (const [i, step] of steps.entries()) {
      if (step.kind === "export" && item.index === 0) exportFolder(step, item);
      if (step.kind !== "generate" && step.kind !== "refine") continue;
      const settings = requestSettings({ ...item.settings, ...step.settings, strength: undefined });
      const key = JSON.stringify([i, settings]);
      if (checked.has(key)) continue;
      checked.add(key);
      try {
        const { request } = resolveRequest(backend, { ...settings, prompt: item.drawn, seed: 0, count: 1 });
        if (step.kind === "refine" || step.strategy === undefined) continue;
        const means = { backend, reward };
        expectMeans(step.strategy.name, means);
        const { count } = step;
        await strategyOf(step.strategy).check?.({
          ...means,
          request: { ...request, count },
          budget: { candidates: count },
        });
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        throw new UsageError(`item ${item.id}, steps.${i}.${step.kind}: ${error.message}`, { cause: error });
      }
    }
  }
}
