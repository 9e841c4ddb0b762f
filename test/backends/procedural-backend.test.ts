/** @file The conformance suite on a backend small enough to read. */

import { describe } from "vitest";
import { backendConformance } from "./conformance.js";
import { createProceduralBackend } from "./procedural-backend.js";

describe("the procedural backend", () => {
  backendConformance({ open: async () => createProceduralBackend(), prompt: "a few rectangles" });
});

describe("the procedural backend on pictures", () => {
  backendConformance({ open: async () => createProceduralBackend({ pictures: true }), prompt: "a few rectangles" });
});
