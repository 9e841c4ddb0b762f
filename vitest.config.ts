import { defineConfig } from "vitest/config";

// Tests import `#laurel/...`, which package.json maps to dist/: what is tested is what ships.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: "forks",
    maxWorkers: 2,
  },
});
