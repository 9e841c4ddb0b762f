/** @file Small runs for tests, made with the procedural backend. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { RunConfig, RunRequest } from "#laurel/pipeline/manifest";
import type { NewRun } from "#laurel/pipeline/run-store";

/** A folder that is removed after the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "laurel-test-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A run of `count` candidates for the procedural backend and the brightness reward. */
export function newRun(change: Partial<RunConfig> = {}): NewRun {
  const request: RunRequest = {
    prompt: "a few rectangles",
    negativePrompt: null,
    promptSyntax: "plain",
    clipSkip: null,
    embeddings: [],
    loras: [],
    loraAnneal: null,
    strategy: { name: "best-of-n" },
    count: 10,
    budget: { evaluations: null, seconds: null, until: null },
    keep: 3,
    diverse: false,
    seed: null,
    steps: 4,
    guidance: null,
    sampler: "paint",
    width: 16,
    height: 16,
    strength: null,
    batch: 4,
    backend: null,
    model: null,
    variant: null,
    prediction: null,
    rewardModel: null,
    rewards: [],
    heldOut: [],
  };
  return {
    request,
    config: { ...request, seed: 500, batch: 4, rewardPrompt: null, ...change },
    models: {
      backend: { name: "procedural", model: "rectangles", path: null, digest: "ab".repeat(32) },
      reward: { name: "brightness", model: "brightness", path: null, digest: "cd".repeat(32) },
    },
    warnings: [],
    createdAt: new Date("2026-11-22T18:33:01.500Z"),
  };
}
