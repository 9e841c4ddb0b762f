import { readFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import { describe, expect, it } from "vitest";
import { UsageError } from "#laurel/errors";
import { decodeImage } from "#laurel/image/decode";
import { encodePng } from "#laurel/image/png";

const folder = new URL("../fixtures/image/", import.meta.url);
const read = (file: string) => Uint8Array.from(readFileSync(new URL(file, folder)));

async function failure(bytes: Uint8Array): Promise<string> {
  const error: unknown = await decodeImage(bytes, "folder/picture").catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(UsageError);
  return (error as Error).message;
}

describe("decodeImage", () => {
  it("names the file and what is wrong when it is no image", async () => {
    const expected = /^folder\/picture: expected a PNG, JPEG, WebP, GIF, TIFF or AVIF image, got /;
    expect(await failure(new Uint8Array(0))).toMatch(expected);
    expect(await failure(Buffer.from("hello"))).toMatch(expected);
    expect(await failure(Buffer.from("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"))).toMatch(
      /got an SVG drawing$/,
    );
  });

  it("refuses truncated files of every format", async () => {
    for (const file of ["rgb.png", "rgb.jpg", "rgb.webp", "palette.gif", "rgb-interlaced.png"]) {
      const bytes = read(file);
      expect(await failure(bytes.subarray(0, Math.floor(bytes.length * 0.6))), file).toMatch(
        /^folder\/picture: expected /,
      );
    }
  });

  it("refuses a PNG with a wrong checksum, broken data, or without an image", async () => {
    const flipped = read("rgb.png");
    flipped[60] = (flipped[60] as number) ^ 1;
    expect(await failure(flipped)).toBe(
      "folder/picture: expected a sound PNG file, got a wrong checksum in its IDAT chunk",
    );
    const broken = read("rgb.png");
    broken.fill(0, 41, 80);
    fixChecksum(broken, 33);
    expect(await failure(broken)).toMatch(/^folder\/picture: expected .*PNG (data|rows)/);
    const asText = Buffer.concat([read("rgb.png").subarray(0, 4), read("rgb.png").subarray(5)]);
    expect(await failure(asText)).toMatch(/got a PNG file whose first bytes are damaged/);
    const empty = read("rgb.png").subarray(0, 33);
    expect(await failure(empty)).toBe("folder/picture: expected a PNG file with an image, got one without IDAT");
  });

  it("refuses images that claim more than 100 megapixels, before making room for them", async () => {
    const claim = async (width: number, height: number) => {
      const bytes = await encodePng({ width: 1, height: 1, data: new Uint8Array(3) });
      const view = new DataView(bytes.buffer);
      view.setUint32(16, width);
      view.setUint32(20, height);
      fixChecksum(bytes, 8);
      return failure(bytes);
    };
    expect(await claim(20_000, 20_000)).toBe("folder/picture: expected 1 to 100 million pixels, got 20000 x 20000");
    expect(await claim(2 ** 31, 2 ** 31)).toMatch(/got 2147483648 x 2147483648$/);
    expect(await claim(0, 5)).toMatch(/got 0 x 5$/);
    // Within the limit the missing rows are noticed without a buffer for them.
    expect(await claim(9000, 9000)).toMatch(/got at most \d+ \(truncated file\)$/);
  });

  it("reads a PNG that lacks its end, as long as all rows are there", async () => {
    const bytes = read("rgb.png");
    expect((await decodeImage(bytes.subarray(0, bytes.length - 12), "x")).width).toBe(71);
  });
});

/** Recomputes the checksum of the chunk that starts at `offset`. */
function fixChecksum(bytes: Uint8Array, offset: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const end = offset + 8 + view.getUint32(offset);
  view.setUint32(end, crc32(bytes.subarray(offset + 4, end)));
}
