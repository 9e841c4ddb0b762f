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

const picture = { width: 18, height: 13, data: new Uint8Array(18 * 13 * 3) };
const painter = createProceduralBackend({ pictures: true });
const reader = { ...backend, capabilities: { ...backend.capabilities, promptSyntaxes: ["plain", "a1111"] as const } };

test("a picture to start from brings its size, cut to what can be drawn, and the strength of its pipeline", () => {
  const { request, warnings } = resolveRequest(painter, { ...open, init: picture });
  expect(request).toMatchObject({ init: picture, width: 16, height: 12, strength: 0.8 });
  expect(warnings).toEqual(["init: sides are multiples of 4 pixels; the picture of 18 x 13 is resized to 16 x 12"]);
  const given = resolveRequest(painter, { ...open, init: picture, mask: picture, width: 32, height: 8 });
  expect(given.request).toMatchObject({ mask: picture, width: 32, height: 8, strength: 1 });
  expect(given.warnings).toEqual([]);
});

test("pictures that cannot be honoured are left out with a warning each", () => {
  const { request, warnings } = resolveRequest(backend, { ...open, init: picture, mask: picture, strength: 0.5 });
  expect(request).toMatchObject({ init: undefined, mask: undefined, strength: undefined, width: 16, height: 16 });
  expect(warnings).toEqual([
    "procedural: a mask is not supported and was left out, got a picture",
    "procedural: a picture to start from is not supported and was left out, got a picture",
    "procedural: strength is not supported and was left out, got 0.5",
  ]);
});

test.each([
  [{ mask: picture }, "mask: expected a picture (init) that it is a mask of, got none"],
  [{ strength: 0.5 }, "strength: expected a picture (init) to start from, got none"],
  [
    { init: { ...picture, width: 257 }, height: 8 },
    "init: expected sides of at most 256 pixels, or a width and a height to resize it to, got 257 x 13",
  ],
  [{ init: picture, strength: 0 }, "strength: expected a number above 0, up to 1, got 0"],
  [{ init: picture, strength: 1.5 }, "strength: expected a number above 0, up to 1, got 1.5"],
  [{ init: picture, strength: Number.NaN }, "strength: expected a number above 0, up to 1, got NaN"],
  [{ init: picture, strength: 0.24 }, "strength: expected at least 1/4, so that one of 4 steps is taken, got 0.24"],
])("pictures: %o is refused", (change, message) => {
  expect(() => resolveRequest(painter, { ...open, ...change })).toThrow(new UsageError(message));
});

test("a backend that only repaints asks for a picture and a mask", () => {
  const capabilities = { ...painter.capabilities, textToImage: false, imageToImage: false };
  const repainter = { ...painter, capabilities };
  expect(() => resolveRequest(repainter, open)).toThrow(
    "init: expected a picture and a mask, since this model repaints",
  );
  expect(() => resolveRequest(repainter, { ...open, init: picture })).toThrow("mask: expected one, since this model");
  expect(resolveRequest(repainter, { ...open, init: picture, mask: picture }).request.strength).toBe(1);
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

test.each([
  ["!!!", "plain"],
  ["...", "plain"],
  ["((-)), [_]", "a1111"],
] as const)("the prompt %j (%s) has no words, which is a warning", (prompt, promptSyntax) => {
  const { warnings } = resolveRequest(reader, { ...open, prompt, promptSyntax });
  expect(warnings).toEqual([`prompt: expected words, got ${JSON.stringify(prompt)}`]);
});

test.each(["7", "\u732b", "\u{1f431}", "un (chat:1.2)"])("the prompt %j says something", (prompt) => {
  expect(resolveRequest(reader, { ...open, prompt, promptSyntax: "a1111" }).warnings).toEqual([]);
});
