import { expect, test } from "vitest";
import { checkRequest, resolveRequest } from "#laurel/backends/resolve";
import { UsageError } from "#laurel/errors";
import { createProceduralBackend } from "./procedural-backend.js";

const backend = createProceduralBackend();
const open = {
  prompt: "p",
  negativePrompt: undefined,
  seed: 7,
  count: 3,
  steps: undefined,
  guidance: undefined,
  sampler: undefined,
  width: undefined,
  height: undefined,
  batch: undefined,
};

test("what is left open is filled from the backend's defaults, and zero is a value", () => {
  const guided = { ...backend, capabilities: { ...backend.capabilities, guidance: true } };
  expect(resolveRequest(guided, { ...open, guidance: 0, seed: 0 }).request).toEqual({
    ...open,
    seed: 0,
    steps: 4,
    guidance: 0,
    sampler: "paint",
    width: 16,
    height: 16,
    batch: 4,
  });
});

test("a setting that cannot be honoured is left out with a warning", () => {
  const { request, warnings } = resolveRequest(backend, { ...open, guidance: 3, batch: 100 });
  expect(request.guidance).toBeUndefined();
  expect(request.batch).toBe(8);
  expect(warnings).toEqual([
    "procedural: guidance is not supported and was left out, got 3",
    "procedural: batch was lowered to its limit 8, got 100",
  ]);
});

test.each([
  [{ prompt: " \n" }, "prompt: expected some text, got an empty prompt"],
  [{ count: 10_001 }, "count: expected a whole number from 1 to 10000, got 10001"],
  [{ seed: 1.5 }, "seed: expected a whole number from 0 to 4294967294, got 1.5"],
  [{ seed: 4294967293 }, "seed: expected at most 4294967292, so that 3 candidates have a seed each, got 4294967293"],
  [{ width: 18 }, "width: expected a multiple of 4 from 8 to 256 pixels, got 18"],
  [{ height: 260 }, "height: expected a multiple of 4 from 8 to 256 pixels, got 260"],
  [{ sampler: "brush" }, "sampler: expected one of paint, spray, got brush"],
  [{ steps: 0 }, "steps: expected a whole number from 1 to 1000, got 0"],
  [{ batch: 0 }, "batch: expected a whole number from 1, got 0"],
])("%o is refused", (change, message) => {
  expect(() => resolveRequest(backend, { ...open, ...change })).toThrow(new UsageError(message));
});

test("the last seeds of the range are accepted, and a prompt may have line breaks", () => {
  const { request } = resolveRequest(backend, { ...open, seed: 4294967292, prompt: "a\nb" });
  expect(() => checkRequest(backend, request)).not.toThrow();
});
