/** @file Images that are none, are damaged, or claim more than they hold. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { decodeImageFile } from "#laurel/image/decode";
import { writeChunks } from "#laurel/image/png-chunks";
import type { HostileCase, Table } from "./runner.js";

interface PngOptions {
  readonly width?: number;
  readonly height?: number;
  readonly depth?: number;
  readonly colour?: number;
  /** Compression, filter and interlace method. */
  readonly methods?: readonly [number, number, number];
  /** What IDAT holds, compressed. @default enough zeros for 4 x 4 RGB */
  readonly data?: Uint8Array;
  /** Chunks before IDAT. */
  readonly extra?: readonly { readonly type: string; readonly data: Uint8Array }[];
}

/** A PNG file with whatever its header claims. */
export function png(options: PngOptions = {}): Buffer {
  const { width = 4, height = 4, depth = 8, colour = 2, methods = [0, 0, 0], extra = [] } = options;
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([depth, colour, ...methods], 8);
  return Buffer.from(
    writeChunks([
      { type: "IHDR", data: header },
      ...extra,
      { type: "IDAT", data: options.data ?? deflateSync(Buffer.alloc(4 * 13)) },
      { type: "IEND", data: Buffer.alloc(0) },
    ]),
  );
}

const patched = (bytes: Buffer, at: number, ...values: readonly number[]): Buffer => {
  const copy = Buffer.from(bytes);
  copy.set(values, at);
  return copy;
};

const be16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
const le16 = (value: number): Buffer => Buffer.from([value & 255, value >> 8]);
const le32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** A JPEG up to its scan, with the sides its frame claims. */
function jpeg(width: number, height: number): Buffer {
  const frame = Buffer.concat([
    Buffer.from([0xff, 0xc0, 0, 17, 8]),
    be16(height),
    be16(width),
    Buffer.from([3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]),
  ]);
  return Buffer.concat([
    Buffer.from([0xff, 0xd8, 0xff, 0xdb, 0, 67, 0]),
    Buffer.alloc(64, 1),
    frame,
    Buffer.from([0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0]),
  ]);
}

function gif(width: number, height: number): Buffer {
  return Buffer.concat([
    Buffer.from("GIF89a"),
    le16(width),
    le16(height),
    Buffer.from([0x80, 0, 0, 0, 0, 0, 255, 255, 255, 0x2c, 0, 0, 0, 0]),
    le16(width),
    le16(height),
    Buffer.from([0, 2, 2, 0x4c, 1, 0, 0x3b]),
  ]);
}

/** A WebP with a VP8X header: sides up to 2^24. */
function webp(width: number, height: number): Buffer {
  const chunk = Buffer.concat([
    Buffer.from("VP8X"),
    le32(10),
    Buffer.alloc(4),
    le32(width - 1).subarray(0, 3),
    le32(height - 1).subarray(0, 3),
  ]);
  return Buffer.concat([Buffer.from("RIFF"), le32(chunk.length + 4), Buffer.from("WEBP"), chunk]);
}

/** A TIFF of one strip, uncompressed, of which nothing is there. */
function tiff(width: number, height: number): Buffer {
  const entries: [number, number, number][] = [
    [256, 4, width],
    [257, 4, height],
    [258, 3, 8],
    [259, 3, 1],
    [262, 3, 1],
    [273, 4, 8],
    [277, 3, 1],
    [278, 4, height],
    [279, 4, 4],
  ];
  const fields = entries.map(([tag, type, value]) => Buffer.concat([le16(tag), le16(type), le32(1), le32(value)]));
  return Buffer.concat([Buffer.from("II*\0"), le32(8), le16(entries.length), ...fields, le32(0)]);
}

const avif = Buffer.concat([
  Buffer.from([0, 0, 0, 28]),
  Buffer.from("ftypavif"),
  Buffer.alloc(4),
  Buffer.from("avifmif1miaf"),
  Buffer.alloc(40),
]);

const none = /expected a (PNG, JPEG, WebP, GIF, TIFF or AVIF image|complete \w+ file), got ./;
const tooLarge = /expected 1 to 100 million pixels, got \d+ x \d+|exceeds pixel limit|too (large|big)|got ./i;
const good = png();

const FILES: readonly (readonly [name: string, build: () => Uint8Array | string, message: RegExp])[] = [
  ["text", () => "hello there", /got a file that starts with 68 65 6c 6c/],
  ["random bytes", () => Buffer.from("a7f3901bc2d45e66", "hex"), /got a file that starts with a7 f3 90 1b/],
  ["a PNG signature alone", () => good.subarray(0, 8), /expected a PNG file with an image, got one without IHDR/],
  [
    "a PNG of 100,000 x 100,000",
    () => png({ width: 100_000, height: 100_000 }),
    /expected 1 to 100 million pixels, got 100000 x 100000/,
  ],
  [
    "a PNG of 2^32 - 1 squared",
    () => png({ width: 0xffffffff, height: 0xffffffff }),
    /expected 1 to 100 million pixels/,
  ],
  ["a PNG of width 0", () => png({ width: 0 }), /expected 1 to 100 million pixels, got 0 x 4/],
  ["a PNG of height 0", () => png({ height: 0 }), /expected 1 to 100 million pixels, got 4 x 0/],
  [
    "a PNG of 10,000 x 10,000 without rows",
    () => png({ width: 10_000, height: 10_000 }),
    /expected 300010000 bytes of PNG rows, got at most/,
  ],
  [
    "a 16-bit RGBA PNG of 10,000 x 10,000",
    () => png({ width: 10_000, height: 10_000, depth: 16, colour: 6, data: Buffer.alloc(900_000, 1) }),
    /expected at most \d+ bytes of PNG rows, got 800010000/,
  ],
  [
    "a PNG whose data unpacks to a gigabyte",
    () => png({ data: deflateSync(Buffer.alloc(64 << 20)) }),
    /decompression error/,
  ],
  [
    "a PNG with too few rows",
    () => png({ data: deflateSync(Buffer.alloc(20)) }),
    /expected 52 bytes of PNG rows, got 20 \(truncated file\)/,
  ],
  ["a PNG with no data", () => png({ data: Buffer.alloc(0) }), /got a decompression error|\(truncated file\)/],
  ["a PNG whose data is no deflate stream", () => png({ data: Buffer.from("not zlib") }), /got a decompression error/],
  [
    "a PNG without IDAT",
    () =>
      Buffer.from(
        writeChunks([
          { type: "IHDR", data: good.subarray(16, 29) },
          { type: "IEND", data: Buffer.alloc(0) },
        ]),
      ),
    /got one without IDAT/,
  ],
  [
    "a PNG with two headers",
    () => png({ extra: [{ type: "IHDR", data: good.subarray(16, 29) }] }),
    /expected one header in a PNG file, got two/,
  ],
  ["a PNG with a wrong checksum", () => patched(good, 30, 0xff), /got a wrong checksum in its IHDR chunk/],
  ["a PNG with a wrong checksum of its data", () => patched(good, 45, 0xff), /got a wrong checksum in its IDAT chunk/],
  [
    "a PNG chunk of 4 GB",
    () => patched(good, 33, 0xff, 0xff, 0xff, 0xff),
    /expected a complete PNG file, got a truncated one/,
  ],
  ["a PNG chunk that ends beyond the file", () => patched(good, 35, 0x10), /truncated one/],
  ["a PNG cut in its header", () => good.subarray(0, 20), /truncated one/],
  ["a PNG of colour type 7", () => png({ colour: 7 }), /expected a standard PNG, got colour type 7/],
  ["a PNG of 3 bits", () => png({ depth: 3, colour: 0 }), /with 3 bits/],
  ["a palette PNG of 16 bits", () => png({ depth: 16, colour: 3 }), /colour type 3 with 16 bits/],
  ["a PNG of another compression", () => png({ methods: [1, 0, 0] }), /compression 1/],
  ["a PNG of another filter method", () => png({ methods: [0, 1, 0] }), /filter 1/],
  ["a PNG of another interlace method", () => png({ methods: [0, 0, 2] }), /interlace 2/],
  [
    "a PNG row of filter 9",
    () => png({ data: deflateSync(Buffer.alloc(52, 9)) }),
    /expected a PNG row filter from 0 to 4, got 9/,
  ],
  ["a palette PNG without a palette", () => png({ colour: 3 }), /got a PNG without PLTE/],
  ["a JPEG of 65,535 x 65,535", () => jpeg(65_535, 65_535), tooLarge],
  ["a JPEG of width 0", () => jpeg(0, 16), none],
  ["a JPEG cut in its header", () => jpeg(16, 16).subarray(0, 30), none],
  ["a JPEG without its scan", () => jpeg(16, 16), none],
  ["a JPEG of two bytes", () => Buffer.from([0xff, 0xd8]), none],
  ["a GIF of 65,535 x 65,535", () => gif(65_535, 65_535), tooLarge],
  ["a GIF cut in its header", () => gif(4, 4).subarray(0, 12), none],
  ["a WebP of 16,777,216 squared", () => webp(1 << 24, 1 << 24), tooLarge],
  ["a WebP cut in its header", () => webp(4, 4).subarray(0, 18), none],
  ["a TIFF of 100,000 x 100,000", () => tiff(100_000, 100_000), tooLarge],
  ["a TIFF of 4,294,967,295 squared", () => tiff(0xffffffff, 0xffffffff), tooLarge],
  ["a TIFF without its pixels", () => tiff(1000, 1000), none],
  ["an AVIF of nothing", () => avif, none],
];

/** What `decodeImageFile` must refuse. */
export const IMAGES: Table = {
  title: "image",
  cases: FILES.map(([name, build, message]): HostileCase => ({
    name,
    message,
    exit: "usage",
    open: decodeImageFile,
    make: (folder) => {
      writeFileSync(join(folder, "picture.png"), build());
      return join(folder, "picture.png");
    },
  })),
};
