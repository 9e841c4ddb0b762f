/** @file Recognising what a file is when it is not what was asked for, so that an error can name it and say what to do. */

type Test = (head: Buffer) => boolean;

const startsWith =
  (...prefixes: readonly string[]): Test =>
  (head) =>
    prefixes.some((prefix) => head.subarray(0, prefix.length).toString("latin1") === prefix);

const holds =
  (at: number, ...words: readonly string[]): Test =>
  (head) =>
    words.some((word) => head.subarray(at, at + word.length).toString("latin1") === word);

/** A ModelProto: its format version (field 1, a small number), then the producer's name, the version of an operator set or the graph. */
const isOnnx: Test = (head) =>
  head[0] === 0x08 && head[1]! >= 3 && head[1]! <= 20 && [0x12, 0x1a, 0x22, 0x2a, 0x3a, 0x42].includes(head[2]!);

const KINDS: readonly (readonly [description: string, test: Test])[] = [
  [
    "a web page (a download that needed a login or another address?)",
    (head) => /^\s*<(!doctype|html|\?xml)/i.test(head.toString("latin1")),
  ],
  ["an SVG drawing", (head) => /^\s*<svg\b/i.test(head.toString("latin1"))],
  ["a PDF document", startsWith("%PDF-")],
  ["a GGUF file", startsWith("GGUF")],
  ["an ONNX model", isOnnx],
  ["a TensorFlow Lite model", holds(4, "TFL3")],
  ["an HDF5 (Keras) file", startsWith("\x89HDF")],
  ["a NumPy array", startsWith("\x93NUMPY")],
  ["a zip archive or PyTorch checkpoint", startsWith("PK\x03\x04", "PK\x05\x06")],
  ["a safetensors file", (head) => head.length >= 9 && head[8] === 0x7b && head.readBigUInt64LE(0) < 1n << 32n],
  ["a gzip archive", startsWith("\x1f\x8b")],
  ["a Zstandard archive", startsWith("\x28\xb5\x2f\xfd")],
  ["an XZ archive", startsWith("\xfd7zXZ")],
  ["a bzip2 archive", startsWith("BZh")],
  ["a 7z archive", startsWith("7z\xbc\xaf\x27\x1c")],
  ["a RAR archive", startsWith("Rar!")],
  ["a tar archive (PyTorch 0.1.1 or older)", holds(257, "ustar")],
  ["a PNG image", startsWith("\x89PNG")],
  ["a JPEG image", startsWith("\xff\xd8\xff")],
  ["a GIF image", startsWith("GIF8")],
  ["a WebP image", (head) => startsWith("RIFF")(head) && holds(8, "WEBP")(head)],
  ["an MP4 or HEIF file", holds(4, "ftyp")],
  ["a program", startsWith("\x7fELF", "MZ", "\xcf\xfa\xed\xfe", "#!")],
];

/** How much of a file's beginning `recogniseForeign` looks at. */
export const HEAD_BYTES = 512;

/** What a file that begins with `head` seems to be, with a hint where there is a way out: `a gzip archive`; undefined when it is none of the known kinds. */
export function recogniseForeign(head: Buffer): string | undefined {
  if (head.length === 0) return "an empty file (a download cut short?)";
  const text = head.toString("latin1");
  if (text.startsWith("version https://git-lfs.github.com/spec/")) {
    const size = /^size (\d{1,20})$/m.exec(text)?.[1] ?? "unknown";
    return `a git LFS pointer to ${size} bytes; fetch the file itself with git lfs pull`;
  }
  return KINDS.find(([, test]) => test(head))?.[0];
}

/** `a file that starts with 68 65 6c 6c`, for what `recogniseForeign` does not know. */
export function describeBytes(head: Buffer): string {
  const bytes = [...head.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0"));
  return `a file that starts with ${bytes.join(" ")}`;
}
