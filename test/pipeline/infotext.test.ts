import { expect, test } from "vitest";
import type { CandidateRecord } from "#laurel/pipeline/candidate-record";
import { infotext } from "#laurel/pipeline/infotext";

const record: CandidateRecord = {
  schemaVersion: 1,
  index: 3,
  seed: 45,
  reportedSeed: null,
  prompt: "a red circle above a blue square",
  negativePrompt: null,
  settings: { steps: 20, guidance: 3, sampler: "dpmpp-2m", strength: null, promptSyntax: "plain", clipSkip: null },
  rewardPrompt: null,
  revisedPrompt: null,
  source: null,
  embeddings: [],
  inputs: { init: null, mask: null },
  width: 64,
  height: 96,
  lineage: { strategy: "best-of-n", parent: null, round: 0 },
  evaluations: 40,
  score: 0.83121,
  backend: { name: "local", model: "stable-diffusion", digest: "0123456789abcdef" },
  reward: { name: "image-reward", model: "image-reward", digest: null },
  laurel: "0.1.0",
};

test("how far a picture was changed is A1111's denoising strength", () => {
  const changed = { ...record, settings: { ...record.settings, strength: 0.75 } };
  expect(parse(infotext(changed))["Denoising strength"]).toBe("0.75");
  expect(infotext(record)).not.toContain("Denoising");
});

test("what a server reports is told where it differs from what was asked", () => {
  const told = { ...record, reportedSeed: 1045, revisedPrompt: "a red circle:\nin oil" };
  expect(parse(infotext(told))).toMatchObject({
    Seed: "45",
    "Reported seed": "1045",
    "Revised prompt": "a red circle:\nin oil",
  });
  expect(infotext({ ...record, reportedSeed: 45 })).toBe(infotext(record));
});

/** The parser of AUTOMATIC1111 v1.10.1, modules/infotext_utils.py, as far as prompts and pairs go. */
function parse(text: string): Record<string, string> {
  const pair = /\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/g;
  const lines = text.trim().split("\n");
  let last = lines.pop() ?? "";
  if ([...last.matchAll(pair)].length < 3) {
    lines.push(last);
    last = "";
  }
  const prompt: string[] = [];
  const negative: string[] = [];
  let target = prompt;
  for (const line of lines) {
    if (line.startsWith("Negative prompt:")) {
      target = negative;
      target.push(line.slice("Negative prompt:".length).trim());
    } else {
      target.push(line.trim());
    }
  }
  const pairs = [...last.matchAll(pair)].map(([, key = "", value = ""]) => [
    key,
    value.startsWith('"') ? (JSON.parse(value) as string) : value,
  ]);
  return {
    Prompt: prompt.join("\n"),
    "Negative prompt": negative.join("\n"),
    ...(Object.fromEntries(pairs) as object),
  };
}

test("the line is spelled as AUTOMATIC1111 spells it, with the score as a normal key", () => {
  expect(infotext(record)).toBe(
    "a red circle above a blue square\n" +
      "Steps: 20, Sampler: DPM++ 2M, CFG scale: 3, Seed: 45, Size: 64x96, Model hash: 0123456789, Model: stable-diffusion, ImageReward: 0.8312, Version: laurel 0.1.0",
  );
});

test("its own parser reads everything back", () => {
  const text = infotext({
    ...record,
    prompt: "two lines:\nsecond, with commas",
    negativePrompt: "blur, text: any\nmore",
    backend: { ...record.backend, model: 'a "strange": name, with\nall' },
  });
  expect(parse(text)).toEqual({
    Prompt: "two lines:\nsecond, with commas",
    "Negative prompt": "blur, text: any\nmore",
    Steps: "20",
    Sampler: "DPM++ 2M",
    "CFG scale": "3",
    Seed: "45",
    Size: "64x96",
    "Model hash": "0123456789",
    Model: 'a "strange": name, with\nall',
    ImageReward: "0.8312",
    Version: "laurel 0.1.0",
  });
});

test.each([
  ["dpmpp-2m-sde-karras", { Sampler: "DPM++ 2M SDE", "Schedule type": "Karras" }],
  ["pndm", { Sampler: "PLMS" }],
  ["of another backend", { Sampler: "of another backend" }],
])("the sampler %s has its name and schedule", (sampler, expected) => {
  const parsed = parse(infotext({ ...record, settings: { ...record.settings, sampler } }));
  expect(parsed).toMatchObject(expected);
  expect("Schedule type" in parsed).toBe("Schedule type" in expected);
});

test("a missing score is said, and the line still has three pairs when settings are unknown", () => {
  const unknown = { ...record.settings, steps: null, guidance: null, sampler: null };
  const parsed = parse(
    infotext({ ...record, score: null, settings: unknown, backend: { ...record.backend, digest: null } }),
  );
  expect(parsed).toMatchObject({ Seed: "45", ImageReward: "none", Prompt: record.prompt });
});

test("prompt, clip skip and embeddings are written as the web UI writes them", () => {
  const text = infotext({
    ...record,
    prompt: "a (red:1.3) star",
    settings: { ...record.settings, promptSyntax: "a1111", clipSkip: 2 },
    embeddings: [{ name: "star", sha256: "0123456789abcdef" }],
  });
  expect(text).toContain("Clip skip: 2, ");
  expect(parse(text)).toMatchObject({
    Prompt: "a (red:1.3) star",
    "Clip skip": "2",
    "TI hashes": "star: 0123456789ab",
  });
  // the last layer is what is meant where nothing is said
  expect(infotext({ ...record, settings: { ...record.settings, clipSkip: 1 } })).toBe(infotext(record));
});
