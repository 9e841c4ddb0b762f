import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { UsageError } from "#laurel/errors";
import { decodeImage } from "#laurel/image/decode";
import { cropForClip } from "#laurel/image/preprocess";

const folder = new URL("../fixtures/image/inputs/", import.meta.url);
const read = (file: string) => Uint8Array.from(readFileSync(new URL(file, folder)));
const { size, cases } = JSON.parse(readFileSync(new URL("inputs.json", folder), "utf8")) as {
  size: number;
  cases: { file: string; width: number; height: number; square: string }[];
};

/**
 * How far an AVIF's square of pixels may be off, of 255: the reference turns YUV into RGB with libyuv, sharp with libheif, which
 * rounds otherwise and repeats the subsampled colour where libyuv interpolates. The bounds are what was measured, for noise
 * (colour edges everywhere), for smooth pictures smaller than the square, and for nearly transparent pixels, whose colour is
 * divided by their alpha. Every other format is exact.
 */
const AVIF_BOUNDS: Record<string, number> = {
  "avif-422.avif": 3,
  "avif-422-noise.avif": 26,
  "avif-420.avif": 4,
  "avif-420-noise.avif": 38,
  "avif-limited-range.avif": 6,
  "avif-alpha.avif": 37,
  "avif-alpha-edges.avif": 28,
  "avif-profile.avif": 5,
  "avif-10bit.avif": 3,
  "avif-animated.avif": 9,
};

function bound(file: string): number {
  return file.endsWith(".avif") ? (AVIF_BOUNDS[file] ?? 2) : 0;
}

const IGNORED =
  /^(?<file>\S+): its (EXIF orientation \(6\)|rotation or mirroring) is ignored, as in the reference: it sees/;

describe("the pixels a reward sees of", () => {
  for (const { file, width, height, square } of cases) {
    it(`${file} are the reference's${bound(file) === 0 ? "" : `, to ${bound(file)} of 255`}`, async () => {
      const image = await decodeImage(read(file), file);
      expect([image.width, image.height]).toEqual([width, height]);
      const expected = inflateSync(Buffer.from(square, "base64"));
      const { data } = cropForClip(image, size);
      expect(data.length).toBe(expected.length);
      const worst = data.reduce((largest, value, i) => Math.max(largest, Math.abs(value - (expected[i] ?? NaN))), 0);
      expect(worst).toBeLessThanOrEqual(bound(file));
    });
  }
});

describe("what a picture's file says and the reference ignores", () => {
  it("is named in a warning: EXIF orientation, and rotation in AVIF", async () => {
    for (const suffix of ["png", "jpg", "webp", "avif"]) {
      const file = `${suffix === "jpg" ? "jpeg" : suffix}-orientation-6.${suffix}`;
      const { warnings } = await decodeImage(read(file), file);
      expect(warnings.filter((warning) => IGNORED.exec(warning)?.groups?.["file"] === file)).toHaveLength(1);
    }
  });

  it("is not named when it is upright or damaged", async () => {
    expect((await decodeImage(read("jpeg-orientation-1.jpg"), "x")).warnings).toEqual([]);
    expect((await decodeImage(read("jpeg-444.jpg"), "x")).warnings).toEqual([]);
    // Pillow turns TIFF.
    expect((await decodeImage(read("tiff-orientation-6.tif"), "x")).warnings).toEqual([]);
    const png = read("png-orientation-6.png");
    const at = Buffer.from(png).indexOf("eXIf") + 4;
    png.fill(0xff, at + 4, at + 8);
    expect((await decodeImage(png, "x")).warnings).toEqual([]);
  });

  it("is told of AVIF's colours, whose arithmetic is another", async () => {
    const { warnings } = await decodeImage(read("avif-444.avif"), "x.avif");
    expect(warnings).toEqual([
      expect.stringMatching(/^x\.avif: AVIF colours are computed otherwise than in the reference/),
    ]);
  });
});

describe("pictures that cannot be read", () => {
  const failure = async (bytes: Uint8Array): Promise<string> => {
    const error: unknown = await decodeImage(bytes, "picture").catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UsageError);
    return (error as Error).message;
  };

  it("are refused by name: JPEG of 12 bits, or lossless", async () => {
    const frame = Buffer.from([0xff, 0xc0]);
    const deep = read("jpeg-444.jpg");
    deep[Buffer.from(deep).indexOf(frame) + 4] = 12;
    expect(await failure(deep)).toMatch(/^picture: expected /);
    const lossless = read("jpeg-444.jpg");
    lossless[Buffer.from(lossless).indexOf(frame) + 1] = 0xc3;
    expect(await failure(lossless)).toMatch(/^picture: expected /);
  });

  it("are refused as TIFF whose colours sharp and Pillow take differently", async () => {
    const ycbcr = read("tiff-rgb.tif");
    const photometric = Buffer.from(ycbcr).indexOf(Buffer.from([0x06, 0x01, 3, 0, 1, 0, 0, 0]));
    ycbcr[photometric + 8] = 6;
    expect(await failure(ycbcr)).toBe(
      "picture: expected a TIFF file in grey, RGB, CMYK or with a palette, got photometric interpretation 6",
    );
  });

  it("are refused when a GIF ends, names a code it has not, or has no frame", async () => {
    const gif = read("gif-transparent.gif");
    for (const end of [5, 8, 40, 400, 800, gif.length - 20]) {
      expect(await failure(gif.subarray(0, end)), String(end)).toMatch(/^picture: expected /);
    }
    const plain = read("gif-offset.gif");
    const frame = Buffer.from(plain).indexOf(Buffer.from([0x2c, 8, 0, 5, 0]));
    const empty = Uint8Array.from([...plain.subarray(0, frame), 0x3b]);
    expect(await failure(empty)).toBe("picture: expected a GIF file with a frame, got its end");
    const wrong = plain.slice();
    wrong.fill(0xff, frame + 13, frame + 16);
    expect(await failure(wrong)).toMatch(/^picture: expected sound GIF data, got code \d+$/);
    const short = Uint8Array.from([...plain.subarray(0, frame + 11), 2, 0x0c, 0x01, 0, 0x3b]);
    expect(await failure(short)).toMatch(/^picture: expected sound GIF data, got /);
    const huge = plain.slice();
    huge.fill(0xff, frame + 5, frame + 9);
    expect(await failure(huge)).toBe("picture: expected 1 to 100 million pixels, got 65535 x 65535");
  });
});
