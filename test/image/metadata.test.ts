import sharp from "sharp";
import { describe, expect, it, test } from "vitest";
import { parseInfotext } from "#laurel/image/infotext";
import { readGenerationData } from "#laurel/image/metadata";
import { encodePng, type PngText } from "#laurel/image/png";

const PICTURE = { width: 2, height: 2, data: new Uint8Array(12).fill(90) };
const read = async (...text: PngText[]): Promise<unknown> =>
  readGenerationData(await encodePng(PICTURE, text), "x.png");

describe("an infotext", () => {
  test.each([
    ["a cat\nSteps: 20, Sampler: Euler a, Seed: 7", "a cat", undefined, { Steps: "20", Sampler: "Euler a", Seed: "7" }],
    [
      "a cat,\nblack\nNegative prompt: dog\nblur\nSteps: 20, Sampler: Euler, Seed: 7",
      "a cat,\nblack",
      "dog\nblur",
      { Seed: "7" },
    ],
    // fewer than three pairs: part of the prompt
    ["a cat: the story\nSteps: 20, Seed: 7", "a cat: the story\nSteps: 20, Seed: 7", undefined, {}],
    [
      'x\nSteps: 1, Lora hashes: "a: 1, b: 2", Seed: 3, Size: 64x64',
      "x",
      undefined,
      { "Lora hashes": "a: 1, b: 2", Size: "64x64" },
    ],
    ["Negative prompt: only\nSteps: 1, Seed: 2, Size: 8x8", "", "only", { Seed: "2" }],
    ["", "", undefined, {}],
  ])("%j", (text, prompt, negativePrompt, pairs) => {
    const parsed = parseInfotext(text);
    expect(parsed).toMatchObject({ prompt, negativePrompt });
    for (const [key, value] of Object.entries(pairs)) expect(parsed.pairs.get(key)).toBe(value);
    if (Object.keys(pairs).length === 0) expect(parsed.pairs.size).toBe(0);
  });
});

describe("generation data", () => {
  it("comes from Laurel's own record first", async () => {
    const record = {
      keyword: "laurel",
      value: JSON.stringify({ prompt: "a red circle", negativePrompt: null, seed: 4 }),
    };
    const other = { keyword: "parameters", value: "a cat\nSteps: 1, Seed: 2, Size: 2x2" };
    expect(await read(record, other)).toEqual({
      prompt: "a red circle",
      negativePrompt: undefined,
      seed: 4,
      source: "laurel",
    });
    expect(await read(other)).toEqual({ prompt: "a cat", negativePrompt: undefined, seed: 2, source: "infotext" });
  });

  it("follows ComfyUI's graph from the sampler to the text", async () => {
    const graph = {
      "3": { class_type: "KSampler", inputs: { seed: 11, positive: ["8", 0], negative: ["7", 0] } },
      "6": { class_type: "CLIPTextEncode", inputs: { text: "a barn", clip: ["4", 1] } },
      "7": { class_type: "CLIPTextEncode", inputs: { text: "ugly" } },
      "8": { class_type: "ControlNetApply", inputs: { conditioning: ["6", 0] } },
    };
    expect(await read({ keyword: "prompt", value: JSON.stringify(graph) })).toEqual({
      prompt: "a barn",
      negativePrompt: "ugly",
      seed: 11,
      source: "comfyui",
    });
    const circle = { "1": { inputs: { positive: ["2", 0] } }, "2": { inputs: { conditioning: ["2", 0] } } };
    expect(await read({ keyword: "prompt", value: JSON.stringify(circle) })).toBeUndefined();
  });

  it("reads NovelAI's comment", async () => {
    const comment = { keyword: "Comment", value: JSON.stringify({ prompt: "a boat", uc: "lowres", seed: 9 }) };
    expect(await read({ keyword: "Software", value: "NovelAI" }, comment)).toEqual({
      prompt: "a boat",
      negativePrompt: "lowres",
      seed: 9,
      source: "novelai",
    });
  });

  it.each(["utf-16le", "utf-16be"])("reads the user comment of a JPEG (%s)", async (encoding) => {
    const text = Buffer.from("a cat\nSteps: 1, Seed: 2, Size: 2x2", "utf16le");
    if (encoding === "utf-16be") text.swap16();
    const comment = Buffer.concat([Buffer.from("UNICODE\0"), text]);
    const bytes = await jpegWithComment(comment);
    expect(await readGenerationData(bytes, "x.jpg")).toMatchObject({ prompt: "a cat", seed: 2 });
  });

  it.each([
    [{ keyword: "laurel", value: "{" }],
    [{ keyword: "laurel", value: "[]" }],
    [{ keyword: "prompt", value: JSON.stringify({ __proto__: 1, a: null, b: { inputs: { positive: [{}, 0] } } }) }],
    [{ keyword: "parameters", value: "  " }],
  ])("makes nothing of %j", async (text) => {
    expect(await read(text)).toBeUndefined();
  });

  it("makes nothing of what is no picture", async () => {
    expect(await readGenerationData(new Uint8Array([1, 2, 3]), "x")).toBeUndefined();
  });
});

/** A JPEG whose EXIF block holds nothing but a user comment (tag 0x9286 in the Exif sub-directory 0x8769). */
async function jpegWithComment(comment: Uint8Array): Promise<Uint8Array> {
  const tiff = Buffer.alloc(44);
  tiff.write("II", 0, "latin1");
  tiff.writeUInt16LE(42, 2);
  tiff.writeUInt32LE(8, 4);
  tiff.writeUInt16LE(1, 8); // IFD0: one entry, the Exif sub-directory
  tiff.writeUInt16LE(0x8769, 10);
  tiff.writeUInt16LE(4, 12);
  tiff.writeUInt32LE(1, 14);
  tiff.writeUInt32LE(26, 18);
  tiff.writeUInt16LE(1, 26); // one entry: the comment
  tiff.writeUInt16LE(0x9286, 28);
  tiff.writeUInt16LE(7, 30);
  tiff.writeUInt32LE(comment.byteLength, 32);
  tiff.writeUInt32LE(44, 36);
  const payload = Buffer.concat([Buffer.from("Exif\0\0", "latin1"), tiff, comment]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(payload.byteLength + 2);
  const jpeg = await sharp(PICTURE.data, { raw: { width: 2, height: 2, channels: 3 } })
    .jpeg()
    .toBuffer();
  return Buffer.concat([jpeg.subarray(0, 2), Buffer.from([0xff, 0xe1]), length, payload, jpeg.subarray(2)]);
}
