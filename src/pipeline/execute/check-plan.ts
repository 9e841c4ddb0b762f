/** @file What can be told before anything is drawn: settings that the backend refuses, exports to nowhere. */

import type { ImageBackend } from "../../backends/contract.js";
import { resolveRequest } from "../../backends/resolve.js";
import { UsageError } from "../../errors.js";
import { type PipelinePlan, requestSettings } from "../document/plan.js";
import { exportFolder } from "./export.js";

/** @throws UsageError naming the item and step whose settings `backend` cannot draw with, or the export that has no folder */
export function checkPlan({ items, steps }: PipelinePlan, backend: ImageBackend): void {
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
        resolveRequest(backend, { ...settings, prompt: item.drawn, seed: 0, count: 1 });
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        throw new UsageError(`item ${item.id}, steps.${i}.${step.kind}: ${error.message}`, { cause: error });
      }
    }
  }
}
