/** @file Which strategy a refine step stands for. */

import { UsageError } from "../errors.js";
import type { PipelinePlan, PlanStep } from "../pipeline/document/plan.js";
import type { Strategy } from "../strategies/contract.js";

/** The strategy of a refine step of `plan`. @throws UsageError for a refiner that cannot be had */
export function refinerOf(plan: PipelinePlan): (step: Extract<PlanStep, { kind: "refine" }>) => Promise<Strategy> {
  return (step) =>
    Promise.reject(new UsageError(`${plan.file}: refine: expected an available refiner, got ${step.refiner}`));
}
