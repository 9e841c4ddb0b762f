import { readFile } from "node:fs/promises";
import sharp, { type Sharp } from "sharp";
import { deflateSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { pixelParts, withComment } from "#laurel/image/container-edit";
import { withUserComment } from "#laurel/image/exif-edit";
import { parseInfotext, withInfotextPairs } from "#laurel/image/infotext";
import { findGenerationData, readGenerationData } from "#laurel/image/metadata";
import { hashDistance, perceptualHash } from "#laurel/image/perceptual-hash";
import { writeChunks } from "#laurel/image/png-chunks";
import { withPngTexts } from "#laurel/image/png-edit";
import { encodePng, readPngText } from "#laurel/image/png";
import { countOnes, NearHashes } from "#laurel/util/near-hashes";
import { hash64, HashNumbers } from "#laurel/util/hash-numbers";

const PICTURE = { width: 2, height: 2, data: new Uint8Array(12).fill(90) };
const FIXTURES = new URL("../fixtures/pictures/", import.meta.url);

describe("texts of a PNG", () => {
  test("are replaced in their place or put before the pixels; all else stays byte for byte", async () => {
    const png = Buffer.from(
      await encodePng(PICTURE, [
        { keyword: "a", value: "1" },
        { keyword: "b", value: "2" },
      ]),
    );
    // an unknown chunk with a wrong checksum, and bytes behind the end
    const foreign = Buffer.concat([Buffer.from([0, 0, 0, 2]), Buffer.from("vpAgxy"), Buffer.from([1, 2, 3, 4])]);
    const file = Buffer.concat([png.subarray(0, 33), foreign, png.subarray(33), Buffer.from("behind")]);
    const edited = Buffer.concat(
      withPngTexts(
        file,
        [
          { keyword: "b", value: "two" },
          { keyword: "c", value: "猫" },
        ],
        "x",
      ),
    );
    expect(readPngText(edited).map(({ keyword, value }) => [keyword, value])).toEqual([
      ["a", "1"],
      ["b", "two"],
      ["c", "猫"],
    ]);
    const without = (bytes: Buffer): string =>
      bytes.toString("latin1").replace(/....[ti][ET]Xt[bc]\0.*?(?=....(IDAT|iTXt))/gs, "");
    expect(without(edited)).toBe(without(file));
    expect(edited.subarray(-6).toString()).toBe("behind");
    expect(Buffer.concat(withPngTexts(edited, [{ keyword: "b", value: "2" }], "x")).length).toBe(edited.length - 2);
  });

  test("of a damaged file are refused", async () => {
    const png = await encodePng(PICTURE);
    for (const bytes of [
      png.subarray(0, -12),
      png.subarray(0, 40),
      new Uint8Array(0),
      writeChunks([{ type: "IEND", data: new Uint8Array(0) }]),
    ])
      expect(() => withPngTexts(bytes, [], "x.png")).toThrow(/^x\.png: expected a/);
  });

  test("that unpack to gigabytes, or are huge, are left out in no time", async () => {
    const bomb = deflateSync(Buffer.alloc(64 << 20));
    const png = Buffer.from(await encodePng(PICTURE));
    const zTXt = Buffer.from(
      writeChunks([{ type: "zTXt", data: Buffer.concat([Buffer.from("parameters\0\0"), bomb]) }]),
    ).subarray(8);
    const huge = Buffer.from(writeChunks([{ type: "tEXt", data: Buffer.alloc(17 << 20, "prompt\0a") }])).subarray(8);
    const file = Buffer.concat([png.subarray(0, 33), zTXt, huge, png.subarray(33)]);
    expect(await readGenerationData(file, "x.png")).toBeUndefined();
  });
});

describe("a user comment", () => {
  const text = "ein Kätzchen 猫\nSteps: 1, Seed: 2, Size: 40x30";
  const source = sharp(Buffer.from(Uint8Array.from({ length: 4800 }, (_, i) => (i * 37) % 256)), { raw: { width: 40, height: 30, channels: 4 } }); // prettier-ignore
  const exif = { IFD0: { Copyright: "me" }, IFD2: { FNumber: "1.4" } };

  test.each([
    ["a JPEG", () => source.clone().jpeg().toBuffer()],
    ["a JPEG with EXIF data", () => source.clone().jpeg().withExif(exif).toBuffer()],
    ["a plain WebP", () => source.clone().removeAlpha().webp().toBuffer()],
    ["a lossless WebP with transparency", () => source.clone().webp({ lossless: true }).toBuffer()],
    ["a WebP with EXIF data", () => source.clone().webp().withExif(exif).toBuffer()],
  ])("of %s is set; pixels and other data stay, and writing twice adds nothing", async (_, make) => {
    const before = await make();
    const once = Buffer.concat(withComment(before, "a cat", "x"));
    const after = Buffer.concat(withComment(once, text, "x"));
    expect(await readGenerationData(after, "x")).toMatchObject({ prompt: "ein Kätzchen 猫", seed: 2 });
    expect(await sharp(after).raw().toBuffer()).toEqual(await sharp(before).raw().toBuffer());
    expect((await sharp(after).metadata()).hasAlpha).toBe((await sharp(before).metadata()).hasAlpha);
    expect(Buffer.concat(withComment(after, text, "x"))).toEqual(after);
    // a comment is none of the pixels
    expect(Buffer.concat(pixelParts(after))).toEqual(Buffer.concat(pixelParts(before)));
    expect(Buffer.concat(pixelParts(before)).length).toBeGreaterThan(40);
    const had = (await sharp(before).metadata()).exif?.includes("me") === true;
    expect((await sharp(after).metadata()).exif?.includes("me") === true).toBe(had);
  });

  test("finds EXIF data behind bytes that fill up, and stands on an even place behind a chunk that lacks its last byte", async () => {
    const jpeg = await source.clone().jpeg().withExif(exif).toBuffer();
    const at = jpeg.indexOf(Buffer.from([0xff, 0xe1]));
    const filled = Buffer.concat([jpeg.subarray(0, at), Buffer.from([0xff, 0xff]), jpeg.subarray(at)]);
    expect(
      Buffer.concat(withComment(filled, text, "x"))
        .toString("latin1")
        .split("Exif\0\0").length,
    ).toBe(2);
    const webp = await source.clone().removeAlpha().webp({ quality: 40 }).toBuffer();
    const pixels = webp.subarray(12);
    const size = pixels.readUInt32LE(4) - (pixels.readUInt32LE(4) % 2) - 1;
    pixels.writeUInt32LE(size, 4);
    const odd = Buffer.concat([webp.subarray(0, 12), pixels.subarray(0, 8 + size)]);
    odd.writeUInt32LE(odd.length - 8, 4);
    const written = Buffer.concat(withComment(odd, text, "x"));
    expect(written.indexOf("EXIF") % 2).toBe(0);
    expect(await readGenerationData(written, "x")).toMatchObject({ seed: 2 });
  });

  test("that does not fit, or EXIF data that are damaged, are refused", async () => {
    const jpeg = await source.clone().jpeg().toBuffer();
    expect(() => withComment(jpeg, "x".repeat(40_000), "x.jpg")).toThrow(/^x\.jpg: expected a comment of which a JPEG/);
    for (const bad of [
      "",
      "II",
      "MM\0*\0\0\xff\xff",
      "II*\0\x08\0\0\0\xff\xff",
      "MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\xff\xff\xff\xff\0\0\0\0",
    ])
      expect(() => withUserComment(Buffer.from(bad, "latin1"), "a", "x")).toThrow(/^x: expected EXIF data/);
  });
});

describe("pairs of an infotext", () => {
  const pairs = [["Size", "2x2"], ["ImageReward", "0.5"], ["Scored by", "laurel"]] as const; // prettier-ignore
  test.each([
    ["a cat\nSteps: 1, Seed: 2, Size: 9x9", "a cat\nSteps: 1, Seed: 2, Size: 2x2, ImageReward: 0.5, Scored by: laurel"],
    [
      "a\nImageReward: -1.25, Seed: 2, Steps: 3, ",
      "a\nImageReward: 0.5, Seed: 2, Steps: 3, Size: 2x2, Scored by: laurel",
    ],
    [
      'a\nModel: "x, ImageReward: 3", Seed: 2, Steps: 3',
      'a\nModel: "x, ImageReward: 3", Seed: 2, Steps: 3, Size: 2x2, ImageReward: 0.5, Scored by: laurel',
    ],
    ["a cat", "a cat\nSize: 2x2, ImageReward: 0.5, Scored by: laurel"],
    ["", "Size: 2x2, ImageReward: 0.5, Scored by: laurel"],
  ])("%j", (text, expected) => {
    const written = withInfotextPairs(text, pairs);
    expect(written).toBe(expected);
    expect(withInfotextPairs(written, pairs)).toBe(expected);
    expect(parseInfotext(written).pairs.get("ImageReward")).toBe("0.5");
  });
});

describe("the prompt of a ComfyUI graph", () => {
  const find = async (graph: unknown): Promise<unknown> =>
    findGenerationData(await encodePng(PICTURE, [{ keyword: "prompt", value: JSON.stringify(graph) }]), "x");
  const node = (inputs: Record<string, unknown>, class_type = "Node") => ({ class_type, inputs });
  const saver = { s: node({ images: ["d", 0] }), d: node({ samples: ["k", 0] }) };

  test("that real ComfyUI saved is found; several different ones are told apart", async () => {
    const read = async (name: string) => findGenerationData(await readFile(new URL(name, FIXTURES)), name);
    expect(await read("comfyui.png")).toMatchObject({
      prompt: 'a "red" circle\nin the rain',
      negativePrompt: "blurry",
      seed: 11,
    });
    expect(await read("comfyui-same.png")).toMatchObject({ prompt: "a boat" });
    expect(await read("comfyui-several.png")).toEqual({ missing: "its ComfyUI graph draws several prompts" });
  });

  test.each([
    [
      "the sampler that leads to the picture counts, not another",
      {
        ...saver,
        k: node({ positive: ["t", 0], latent_image: ["l", 0] }),
        t: node({ text: "a barn" }),
        o: node({ positive: ["u", 0], seed: 1 }),
        u: node({ text: "a boat" }),
      },
      "a barn",
    ],
    [
      "a refiner behind a sampler counts",
      {
        ...saver,
        k: node({ positive: ["t", 0], latent_image: ["b", 0] }),
        t: node({ text: "fine" }),
        b: node({ positive: ["u", 0], latent_image: ["l", 0] }),
        u: node({ text: "rough" }),
      },
      "fine",
    ],
    [
      "guiders",
      {
        ...saver,
        k: node({ guider: ["g", 0], latent_image: ["l", 0], noise: ["n", 0] }),
        g: node({ conditioning: ["f", 0] }),
        f: node({ conditioning: ["t", 0], guidance: 3 }),
        t: node({ clip_l: "x", t5xxl: "a fox" }),
      },
      "a fox",
    ],
    [
      "a ControlNet hands on its first output",
      {
        ...saver,
        k: node({ positive: ["c", 0], negative: ["c", 1], seed: 1 }),
        c: node({ positive: ["t", 0], negative: ["u", 0] }),
        t: node({ text: "yes" }),
        u: node({ text: "no" }),
      },
      "yes",
    ],
    [
      "texts of other nodes, joined",
      {
        ...saver,
        k: node({ positive: ["t", 0], seed: 1 }),
        t: node({ text: ["j", 0] }),
        j: node({ string_a: "a", string_b: ["p", 0], delimiter: ", " }),
        p: node({ value: "b" }),
      },
      "a, b",
    ],
    [
      "reroutes",
      { ...saver, k: node({ positive: ["r", 0], seed: 1 }), r: node({ "": ["t", 0] }), t: node({ text: "far" }) },
      "far",
    ],
  ])("%s", async (_, graph, prompt) => {
    expect(await find(graph)).toMatchObject({ prompt });
  });

  test.each([
    [
      "conditionings of different texts",
      {
        ...saver,
        k: node({ positive: ["c", 0], seed: 1 }),
        c: node({ conditioning_1: ["t", 0], conditioning_2: ["u", 0] }),
        t: node({ text: "a" }),
        u: node({ text: "b" }),
      },
      /several prompts/,
    ],
    ["no sampler", { a: node({}) }, /no sampler/],
    [
      "a circle",
      { ...saver, k: node({ positive: ["c", 0], seed: 1 }), c: node({ conditioning: ["c", 0] }) },
      /no text that can be followed/,
    ],
    [
      "texts that join themselves",
      { ...saver, k: node({ positive: ["j", 0], seed: 1 }), j: node({ string_a: ["j", 0], string_b: ["j", 0] }) },
      /no text that can be followed/,
    ],
    ["no graph", [1], /no ComfyUI graph/],
  ])("%s: none, and why", async (_, graph, reason) => {
    expect(await find(graph)).toEqual({ missing: expect.stringMatching(reason) as string });
  });
});

describe("near-duplicates", () => {
  test("resized and compressed pictures have nearly the same hash, others do not, plain ones none", async () => {
    const grid = new URL("../../docs/images/grid.png", import.meta.url);
    const hashOf = async (picture: Sharp) => {
      const { data, info } = await picture.removeAlpha().raw().toBuffer({ resolveWithObject: true });
      return perceptualHash({ width: info.width, height: info.height, data: Uint8Array.from(data) })!;
    };
    const hashes = [];
    for (const left of [0, 214, 428]) {
      const tile = await sharp(await readFile(grid)).extract({ left, top: 0, width: 214, height: 214 }).png().toBuffer(); // prettier-ignore
      const hash = await hashOf(sharp(tile));
      const jpeg = await sharp(tile).jpeg({ quality: 50 }).toBuffer();
      for (const changed of [sharp(tile).resize(128), sharp(tile).resize(300), sharp(jpeg)])
        expect(hashDistance(hash, await hashOf(changed))).toBeLessThanOrEqual(4);
      for (const other of hashes) expect(hashDistance(hash, other)).toBeGreaterThan(10);
      hashes.push(hash);
    }
    expect(perceptualHash({ width: 9, height: 9, data: new Uint8Array(243).fill(7) })).toBeNull();
  });

  test.each([0, 3, 4, 7])("the nearest hash within %i bits is the one that looking at all finds", (distance) => {
    let state = 1;
    const random = (): number => (state = (Math.imul(state, 1103515245) + 12345) >>> 0);
    const hashes: [number, number][] = [];
    const near = new NearHashes();
    for (let i = 0; i < 1200; i++) {
      const from = hashes[random() % Math.max(1, hashes.length)];
      const flip = (half: number): number => (half ^ (1 << (random() >>> 27)) ^ (1 << (random() >>> 27))) >>> 0;
      const hash: [number, number] =
        from !== undefined && i % 2 === 0
          ? [flip(from[0]), flip(from[1])]
          : [(random() * 7) >>> 0, (random() * 13) >>> 0];
      if (i % 3 === 0) {
        const all = hashes.map((other, j) => ({ j, d: countOnes(other[0] ^ hash[0]) + countOnes(other[1] ^ hash[1]) }));
        const best = all.filter(({ d }) => d <= distance).sort((a, b) => a.d - b.d || a.j - b.j)[0];
        expect(near.nearest(hash, distance)).toEqual(best && { value: best.j, distance: best.d });
      }
      near.add(hash, hashes.length);
      hashes.push(hash);
    }
  });
});

test("a table of numbers keeps the last of each key through its growth", () => {
  const table = new HashNumbers();
  for (let i = 0; i < 20_000; i++) table.set(hash64(`k${i % 15_000}`), i);
  expect(table.size).toBe(15_000);
  for (let i = 0; i < 15_000; i += 7) expect(table.get(hash64(`k${i}`))).toBe(i < 5_000 ? i + 15_000 : i);
  expect(table.get(hash64("other"))).toBeUndefined();
});
