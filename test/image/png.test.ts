import { deflateSync } from "node:zlib";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { toRgb } from "#laurel/image/convert";
import { decodePng } from "#laurel/image/png-decode";
import { encodePng, readPngText, packedPicture } from "#laurel/image/png";
import { readChunks, writeChunks } from "#laurel/image/png-chunks";
import type { RgbImage } from "#laurel/image/types";

/** A picture in which every row filter has a use. */
function picture(width: number, height: number): RgbImage {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i++) {
    const x = Math.floor(i / 3) % width;
    const y = Math.floor(i / 3 / width);
    data[i] = y % 5 === 0 ? (i * 7919) % 251 : x * 3 + y * 5 + (i % 3);
  }
  return { width, height, data };
}

describe("encodePng", () => {
  it("writes what a decoder reads back to the byte, for widths down to one pixel", async () => {
    for (const [width, height] of [
      [1, 1],
      [1, 9],
      [7, 1],
      [40, 33],
    ] as const) {
      const image = picture(width, height);
      expect(toRgb(decodePng(await encodePng(image), "x"))).toEqual(image);
    }
  });

  it("gives equal bytes for equal pictures and texts", async () => {
    const text = [{ keyword: "laurel", value: "{}" }];
    expect(await encodePng(picture(20, 20), text)).toEqual(await encodePng(picture(20, 20), text));
  });

  it("keeps texts in order: Latin-1 as tEXt, anything else or on request as iTXt", async () => {
    const text = [
      { keyword: "parameters", value: "a café\nSteps: 20, Sampler: Euler" },
      { keyword: "prompt", value: "猫 and 🙂" },
      { keyword: "laurel", value: '{"score":1}', international: true },
      { keyword: "empty", value: "" },
      // Latin-1 bytes that are UTF-8 too would be read as UTF-8.
      { keyword: "twofold", value: "Ã©" },
    ];
    const png = await encodePng(picture(2, 2), text);
    expect(readPngText(png)).toEqual([
      { ...text[0], international: false },
      { ...text[1], international: true },
      text[2],
      { ...text[3], international: false },
      { ...text[4], international: true },
    ]);
    expect(Array.from(readChunks(png, "x"), (chunk) => chunk.type)).toEqual([
      "IHDR",
      "tEXt",
      "iTXt",
      "iTXt",
      "tEXt",
      "iTXt",
      "IDAT",
      "IEND",
    ]);
  });

  it("refuses keywords that PNG does not allow, and pixels of another count", async () => {
    for (const keyword of ["", " a", "a ", "a\0b", "x".repeat(80), "日"]) {
      await expect(encodePng(picture(1, 1), [{ keyword, value: "" }])).rejects.toThrow(/^PNG text: expected a keyword/);
    }
    await expect(encodePng({ width: 2, height: 2, data: new Uint8Array(5) })).rejects.toThrow(
      "encodePng: expected 12 bytes of RGB, got 5",
    );
  });
});

describe("readPngText", () => {
  const latin1 = (text: string) => Uint8Array.from(Buffer.from(text, "latin1"));
  const file = (type: string, data: Uint8Array) =>
    writeChunks([
      { type, data },
      { type: "IEND", data: new Uint8Array() },
    ]);

  it("reads compressed texts, and the UTF-8 that some programs write where Latin-1 belongs", () => {
    const packed = deflateSync("a long text");
    expect(readPngText(file("zTXt", Buffer.concat([latin1("k\0\0"), packed])))[0]?.value).toBe("a long text");
    const compressed = Buffer.concat([latin1("k\0\x01\0de\0\0"), deflateSync("überall")]);
    expect(readPngText(file("iTXt", compressed))[0]?.value).toBe("überall");
    expect(readPngText(file("tEXt", Buffer.from("k\0猫")))[0]?.value).toBe("猫");
    expect(readPngText(file("tEXt", latin1("k\0caf\xe9")))[0]?.value).toBe("café");
  });

  it("leaves out texts that are damaged or unpack without bound", () => {
    const bomb = Buffer.concat([latin1("k\0\0"), deflateSync(Buffer.alloc(64 * 2 ** 20))]);
    for (const [type, data] of [
      ["zTXt", bomb],
      ["zTXt", latin1("k\0\0nonsense")],
      ["iTXt", latin1("k\0\0\0no end of the language")],
      ["iTXt", latin1("k\0\0\0\0\0\xff")],
      ["tEXt", latin1("no separator")],
    ] as const) {
      expect(readPngText(file(type, data))).toEqual([]);
    }
  });
});

describe("packedPicture", () => {
  const image = { width: 3, height: 2, data: Uint8Array.from({ length: 18 }, (_, i) => i * 13) };

  it("has a picture out of our own file written with the bytes it came with", async () => {
    const png = await encodePng(image);
    const opened = packedPicture(png)!;
    const text = [{ keyword: "parameters", value: "a red circle" }];
    expect(await encodePng(opened, text)).toEqual(await encodePng(image, text));
    expect({ ...opened }).toEqual(image);
    // the packed pixels are what is written: nothing was packed again
    opened.data.fill(0);
    expect(await encodePng(opened)).toEqual(png);
  });

  it("unpacks pixels when they are read, and then says when they are damaged", async () => {
    const chunks = [...readChunks(await encodePng(image), "x")];
    const damaged = chunks.map(({ type, data }) => ({ type, data: type === "IDAT" ? data.subarray(0, 4) : data }));
    const opened = packedPicture(writeChunks(damaged), "here")!;
    expect([opened.width, opened.height]).toEqual([3, 2]);
    expect(() => opened.data).toThrow(/^here: expected/);
    expect(() => packedPicture(Buffer.from("<html>"), "here")).toThrow(/^here: expected a PNG file/);
  });

  it("leaves other programs' files to be decoded", async () => {
    const grey = await sharp(Buffer.alloc(4, 100), { raw: { width: 2, height: 2, channels: 1 } })
      .toColourspace("b-w")
      .png()
      .toBuffer();
    expect(packedPicture(grey)).toBeUndefined();
  });
});
