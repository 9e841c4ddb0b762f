/** @file Weighted prompts from text to conditioning and picture, against transformers and diffusers. */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { UsageError } from "#laurel/errors";
import { openStableDiffusion, type StableDiffusion } from "#laurel/diffusion/stable-diffusion";
import type { PromptSyntax } from "#laurel/prompts/attention-syntax";
import { emphasise } from "#laurel/prompts/emphasis";
import { type Device, openDevice } from "#laurel/runtime/device";
import { float32 } from "#laurel/tensor/tensor";
import { saveSafetensors } from "#laurel/weights/safetensors";

interface Case {
  of: "transformers" | "diffusers";
  prompt: string;
  negative?: string;
  syntax?: PromptSyntax;
  clip_skip?: number;
  files?: string[];
  states: string;
}

const fixture = (path: string): string => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));
const { cases: CASES } = JSON.parse(await readFile(fixture("prompts/conditioning.json"), "utf8")) as { cases: Case[] };
const WINDOW = 20;
const WIDTH = 32;

let device: Device;
let model: StableDiffusion;
beforeAll(async () => {
  device = openDevice();
  model = await openStableDiffusion(fixture("models/tiny-sd"), device);
});
afterAll(() => device.close());

const ask = { seed: 1, steps: 2, sampler: "ddim", guidance: 1, promptSyntax: "a1111" } as const;

async function conditioning(request: object): Promise<Float32Array> {
  const { trajectory } = await model.begin({ prompt: "", ...ask, ...request });
  return trajectory.conditioning.data;
}

async function picture(request: object): Promise<Uint8Array> {
  for await (const group of model.generate({ prompt: "", ...ask, ...request })) return group.images[0]!.image.data;
  throw new Error("expected a picture, got none");
}

describe("conditioning", () => {
  const golden = (one: Case): Float32Array =>
    new Float32Array(Uint8Array.from(Buffer.from(one.states, "base64")).buffer);
  const named = CASES.map((one, i) => [`${i}: ${one.of}, ${JSON.stringify(one.prompt)}`, one] as const);

  test.each(named)("%s", async (_, one) => {
    const expected = golden(one);
    const { trajectory } = await model.begin({
      ...ask,
      prompt: one.prompt,
      negativePrompt: one.negative,
      guidance: one.negative === undefined ? 1 : 3,
      promptSyntax: one.syntax ?? "a1111",
      clipSkip: one.clip_skip,
      embeddings: (one.files ?? []).map((name) => fixture(`prompts/${name}`)),
    });
    const actual = trajectory.conditioning;
    const halves = one.negative === undefined ? 1 : 2;
    expect(actual.shape).toEqual([halves, expected.length / halves / WIDTH, WIDTH]);
    const error = actual.data.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
    // states are of about 1; what is lost is float32's in the text encoder and in bringing back the mean
    expect(error).toBeLessThanOrEqual(1e-5);
    // nothing is cut in this syntax
    expect(trajectory.warnings).toEqual([]);
  });

  test("the fixture can tell: weights, skipped layers, chunks and embeddings each make more than a rounding", async () => {
    const plain = await conditioning({ prompt: "a red circle" });
    const star = { embeddings: [fixture("prompts/star.pt")] };
    const pairs = [
      [plain, await conditioning({ prompt: "a (red:1.01) circle" })],
      [plain, await conditioning({ prompt: "a red circle", clipSkip: 2 })],
      [await conditioning({ prompt: "a star circle" }), await conditioning({ prompt: "a star circle", ...star })],
    ] as const;
    for (const [a, b] of pairs) expect(Math.max(...a.map((value, i) => Math.abs(value - b[i]!)))).toBeGreaterThan(1e-3);
    expect(await conditioning({ prompt: "a red circle BREAK" })).toEqual(plain);
    expect((await conditioning({ prompt: "BREAK a red circle" })).slice(WINDOW * WIDTH)).toEqual(plain);
  });

  test("without syntax it is the plain one, bit for bit, with an embedding at hand or not", async () => {
    for (const clipSkip of [1, 2]) {
      const plain = await conditioning({ prompt: "a red circle", promptSyntax: "plain", clipSkip });
      for (const prompt of ["a red circle", "(a red circle:1)", "[(a red circle)]"]) {
        expect(await conditioning({ prompt, clipSkip })).toEqual(plain);
        expect(await conditioning({ prompt, clipSkip, embeddings: [fixture("prompts/star.pt")] })).toEqual(plain);
      }
    }
  });

  test("an embedding that was written anew is read anew", async () => {
    const folder = await mkdtemp(join(tmpdir(), "laurel-embedding-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const path = join(folder, "star.safetensors");
    const states: Float32Array[] = [];
    for (const value of [0.5, -0.5]) {
      await saveSafetensors(
        path,
        new Map([["emb_params", float32([2, WIDTH], new Float32Array(2 * WIDTH).fill(value))]]),
      );
      states.push(await conditioning({ prompt: "a star", embeddings: [path] }));
    }
    expect(states[0]).not.toEqual(states[1]);
  });

  test("a half of guidance does not depend on the other, but for the empty chunks at its end", async () => {
    const long = await conditioning({ prompt: "a circle BREAK (red:2)", negativePrompt: "a [square]", guidance: 2 });
    const size = WINDOW * WIDTH;
    expect(long.slice(0, size)).toEqual(await conditioning({ prompt: "a [square]" }));
    expect(long.slice(size, 2 * size)).toEqual(await conditioning({ prompt: "" }));
    expect(long.slice(2 * size)).toEqual(await conditioning({ prompt: "a circle BREAK (red:2)" }));
  });
});

describe("pictures", () => {
  test("weight 1 gives the bytes of the plain prompt; another weight, layer, chunk or embedding another picture", async () => {
    const plain = await picture({ prompt: "a red star", promptSyntax: "plain" });
    expect(await picture({ prompt: "a red star" })).toEqual(plain);
    expect(await picture({ prompt: "a (red:1) ([star])" })).toEqual(plain);
    const others = [
      { prompt: "a (red:1.6) star" },
      { prompt: "a red star", clipSkip: 2 },
      { prompt: "a red BREAK star" },
      { prompt: "a red star", embeddings: [fixture("prompts/star.pt")] },
    ];
    const pictures = [plain, ...(await Promise.all(others.map(picture)))].map((one) =>
      Buffer.from(one).toString("base64"),
    );
    expect(new Set(pictures).size).toBe(pictures.length);
  });

  test("in groups of any size they are the same", async () => {
    const request = {
      ...ask,
      prompt: "a (red:1.4) circle BREAK a blue square",
      negativePrompt: "[green]",
      guidance: 3,
    };
    const drawn: Uint8Array[][] = [];
    for (const batch of [1, 3]) {
      const images: Uint8Array[] = [];
      for await (const group of model.generate({ ...request, count: 3, batch }))
        images.push(...group.images.map(({ image }) => image.data));
      drawn.push(images);
    }
    expect(drawn[0]).toEqual(drawn[1]);
  });
});

describe("requests", () => {
  const long = "a red circle above ".repeat(8);

  test("what does not fit is cut and said in plain prompts, and read in the other syntax", async () => {
    const plain = await model.begin({ ...ask, prompt: long, promptSyntax: "plain" });
    expect(plain.trajectory.warnings).toHaveLength(1);
    expect(plain.trajectory.conditioning.shape[1]).toBe(WINDOW);
    const chunked = await model.begin({ ...ask, prompt: long });
    expect(chunked.trajectory.warnings).toEqual([]);
    expect(chunked.trajectory.conditioning.shape[1]).toBe(2 * WINDOW);
  });

  test("what is not followed is a warning that names the prompt", async () => {
    const { trajectory } = await model.begin({
      ...ask,
      prompt: "a [red|blue] circle",
      negativePrompt: "x AND y",
      guidance: 2,
    });
    expect(trajectory.warnings).toEqual([
      'negative prompt: composition with AND is not supported and is read as a word, got "AND"',
      'prompt: alternation [a|b] is not supported and is read as text in square brackets, got "[red|blue]"',
    ]);
  });

  test("embeddings in plain prompts are a warning", () => {
    const { warnings } = model.resolve({ prompt: "a", seed: 1, embeddings: ["star.pt"] });
    expect(warnings).toEqual(["embeddings: they have no effect in plain prompts; the prompt syntax a1111 reads them"]);
  });

  test.each([
    [{ clipSkip: 0 }, "clip skip: expected a whole number from 1 to 2, got 0"],
    [{ clipSkip: 3 }, "clip skip: expected a whole number from 1 to 2, got 3"],
    [{ clipSkip: 1.5 }, "clip skip: expected a whole number from 1 to 2, got 1.5"],
    [{ promptSyntax: "compel" as PromptSyntax }, "prompt syntax: expected one of plain, a1111, got compel"],
    [{ prompt: "(a:1.2.3)" }, 'prompt: expected a number as weight, got "1.2.3"'],
    [{ prompt: 7 as unknown as string }, "prompt: expected text, got number"],
    [{ embeddings: [""] }, 'embedding: expected a file, got ""'],
  ])("%j is refused", async (wrong, message) => {
    await expect(model.begin({ prompt: "a", ...ask, ...wrong })).rejects.toThrow(message);
    await expect(model.begin({ prompt: "a", ...ask, ...wrong })).rejects.toBeInstanceOf(UsageError);
  });
});

describe("emphasis", () => {
  test("multiplies, then brings the mean back", () => {
    // mean of 1 2 3 4 is 2.5; weighted 2 4 3 4 it is 3.25
    const scale = 2.5 / 3.25;
    const states = Float32Array.from([1, 2, 3, 4]);
    expect([...emphasise(states, [2, 1])]).toEqual([2, 4, 3, 4].map((value) => Math.fround(value * scale)));
    expect([...states]).toEqual([1, 2, 3, 4]);
    expect(emphasise(states, [1, 1])).toBe(states);
  });

  test("without a mean there is none to bring back", () => {
    expect([...emphasise(Float32Array.from([1, 2, 3, 6]), [3, -1])]).toEqual([3, 6, -3, -6]);
  });
});
