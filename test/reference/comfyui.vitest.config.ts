/** @file Runs the tests against a real ComfyUI, which are no part of `npm test`: see comfyui.py. */

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/reference/comfyui.conformance.ts"],
    testTimeout: 300_000,
    hookTimeout: 60_000,
    pool: "forks",
    maxWorkers: 1,
  },
});
