/** @file Damaged and hostile safetensors files and shard indexes. */

import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openWeights } from "#laurel/weights/open";
import type { HostileCase, Table } from "./runner.js";

/** A file with this header; `claimed` is the length it says its header has. */
export function safetensors(header: string | Uint8Array, dataLength = 0, claimed?: number | bigint): Buffer {
  const text = Buffer.from(header as string);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(claimed ?? text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataLength)]);
}

const file = safetensors;

const info = (dtype: string, shape: string, begin: number | string, end: number | string): string =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${begin},${end}]}`;

type Row = readonly [name: string, content: Uint8Array, message: RegExp];

const HEADERS: readonly Row[] = [
  ["a file of 5 bytes", Buffer.alloc(5), /expected a safetensors file, got 5 bytes/],
  ["a header of 25 MB and a byte", file("{}", 0, 25_000_001), /header of at most 25000000 bytes, got 25000001/],
  ["a header of 2^64 - 1 bytes", Buffer.concat([Buffer.alloc(8, 0xff), Buffer.from("{}")]), /got 18446744073709551615/],
  ["a header longer than the file", file("{}", 0, 20), /expected a header of 20 bytes, got a file of 10/],
  ["a header that does not start with a brace", file(" {}", 0), /starts with '{'/],
  ["an empty header", file("", 0), /starts with '{'/],
  ["a header cut short", file('{"x":', 0), /fault at character 5/],
  ["text behind the header", file("{} x", 0), /the end of the document/],
  ["NUL padding", file("{}\0\0", 0), /the end of the document/],
  [
    "a header that is not UTF-8",
    Buffer.concat([file("", 0, 5), Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])]),
    /header in JSON/,
  ],
  ["a name given twice", file(`{"x":${info("U8", "[1]", 0, 1)},"x":${info("U8", "[1]", 0, 1)}}`, 1), /each key once/],
  [
    "a field given twice",
    file('{"x":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,1]}}', 1),
    /each key once/,
  ],
  ["metadata that is no object", file('{"__metadata__":[]}', 0), /__metadata__: expected an object of strings/],
  ["metadata that is no string", file('{"__metadata__":{"a":1}}', 0), /__metadata__: a: expected a string, got 1/],
  ["a tensor that is no object", file('{"x":1}', 0), /x: expected { dtype, shape, data_offsets }/],
  [
    "no dtype",
    file('{"x":{"shape":[],"data_offsets":[0,4]}}', 4),
    /x: expected a dtype of the safetensors format, got none/,
  ],
  [
    "an unknown dtype",
    file(`{"x":${info("F31", "[]", 0, 4)}}`, 4),
    /x: expected a dtype of the safetensors format, got "F31"/,
  ],
  [
    "a negative size",
    file(`{"x":${info("F32", "[-1]", 0, 4)}}`, 4),
    /x: expected a shape of whole numbers, got \[-1\]/,
  ],
  ["a fractional size", file(`{"x":${info("F32", "[1.5]", 0, 4)}}`, 4), /x: expected a shape of whole numbers/],
  ["a size beyond 2^53", file(`{"x":${info("F32", "[9007199254740993]", 0, 4)}}`, 4), /held exactly/],
  [
    "sizes whose product overflows",
    file(`{"x":${info("F32", "[4294967296,4294967296]", 0, 4)}}`, 4),
    /x: expected .* bytes for F32/,
  ],
  [
    "sizes whose product overflows to what is there",
    file(`{"x":${info("U8", "[4503599627370496,4503599627370496,4096]", 0, 0)}}`, 0),
    /x: expected/,
  ],
  ["offsets in reverse", file(`{"x":${info("F32", "[1]", 4, 0)}}`, 4), /x: expected data_offsets \[begin, end\]/],
  ["one offset", file('{"x":{"dtype":"U8","shape":[1],"data_offsets":[0]}}', 1), /x: expected data_offsets/],
  ["an offset as text", file(`{"x":${info("U8", "[1]", '"0"', 1)}}`, 1), /x: expected data_offsets/],
  [
    "fewer bytes than the shape needs",
    file(`{"x":${info("F32", "[2]", 0, 4)}}`, 4),
    /x: expected 8 bytes for F32\[2\], got 4/,
  ],
  ["half a byte", file(`{"x":${info("F4", "[3]", 0, 1)}}`, 1), /x: expected 1.5 bytes/],
  [
    "a hole",
    file(`{"x":${info("U8", "[1]", 0, 1)},"y":${info("U8", "[1]", 2, 3)}}`, 3),
    /y: expected data at offset 1, got 2 \(hole\)/,
  ],
  ["a hole at the start", file(`{"x":${info("U8", "[1]", 1, 2)}}`, 2), /x: expected data at offset 0, got 1 \(hole\)/],
  [
    "an overlap",
    file(`{"x":${info("U8", "[2]", 0, 2)},"y":${info("U8", "[2]", 1, 3)}}`, 3),
    /y: expected data at offset 2, got 1 \(overlap\)/,
  ],
  [
    "two names for the same bytes",
    file(`{"x":${info("U8", "[1]", 0, 1)},"y":${info("U8", "[1]", 0, 1)}}`, 1),
    /\(overlap\)/,
  ],
  [
    "data cut short",
    file(`{"x":${info("U8", "[4]", 0, 4)}}`, 3),
    /expected 4 bytes of tensor data, got 3 \(a download cut short\?\)/,
  ],
  [
    "data behind the last tensor",
    file(`{"x":${info("U8", "[4]", 0, 4)}}`, 5),
    /expected 4 bytes of tensor data, got 5/,
  ],
  ["deep nesting", file(`{"x":${"[".repeat(200)}${"]".repeat(200)}}`, 0), /nesting of at most/],

  ["a header of length 0", file("", 4, 0), /starts with '{'/],
  [
    "a header that reaches one byte beyond the file",
    file("{}", 0, 3),
    /expected a header of 3 bytes, got a file of 10/,
  ],
  ["a header that is a list", file("[]"), /starts with '{'/],
  ["braces nested a million deep", file('{"x":'.repeat(1_000_000)), /x: expected|nesting of at most/],
  ["a header of 20 MB of nothing", file(`{${" ".repeat(20_000_000)}`), /at character 20000001|expected a string/],
  ["a key without end", file(`{"${"a".repeat(10_000_000)}`), /expected a string/],
  [
    "a name of 10 MB",
    file(`{"${"a".repeat(10_000_000)}":1}`),
    /a{64}\.\.\.: expected a name of at most 512 characters, got 10000000/,
  ],
  ["a name with a line break and an escape sequence", file('{"a\\nb\\u001b[31m":1}'), /a b\\x1b\[31m: expected/],
  ["a lone surrogate as a name", file('{"\\ud800":1}'), /well-formed Unicode/],
  [
    "a dtype of 10 MB",
    file(`{"x":${info("F".repeat(1_000_000), "[]", 0, 4)}}`, 4),
    /x: expected a dtype of the safetensors format, got "F{79}$/,
  ],
  [
    "a dtype that is a number",
    file('{"x":{"dtype":5,"shape":[],"data_offsets":[0,4]}}', 4),
    /x: expected a dtype .*got 5/,
  ],
  ["a dtype named __proto__", file(`{"x":${info("__proto__", "[]", 0, 4)}}`, 4), /x: expected a dtype .*__proto__/],
  ["a dtype named constructor", file(`{"x":${info("constructor", "[]", 0, 4)}}`, 4), /x: expected a dtype/],
  ["__proto__ as a tensor that is none", file('{"__proto__":{"polluted":1}}'), /__proto__: expected a dtype/],
  [
    "constructor as a tensor that is none",
    file('{"constructor":[]}'),
    /constructor: expected \{ dtype, shape, data_offsets \}/,
  ],
  [
    "__proto__ twice",
    file(`{"__proto__":${info("U8", "[1]", 0, 1)},"__proto__":${info("U8", "[1]", 0, 1)}}`, 1),
    /each key once/,
  ],
  ["offsets beyond the end", file(`{"x":${info("U8", "[9]", 0, 9)}}`, 4), /expected 9 bytes of tensor data, got 4/],
  ["a negative offset", file(`{"x":${info("U8", "[4]", -4, 0)}}`, 4), /x: expected data_offsets/],
  ["an offset of minus zero", file(`{"x":${info("U8", "[0]", "-0", 0)}}`), /x: expected data_offsets/],
  ["a fractional offset", file(`{"x":${info("U8", "[1]", 0.5, 1.5)}}`, 4), /x: expected data_offsets/],
  ["an offset beyond 2^53", file(`{"x":${info("U8", "[1]", "9007199254740993", "9007199254740994")}}`), /held exactly/],
  ["an offset of 1e300", file(`{"x":${info("U8", "[1]", 0, "1e300")}}`), /x: expected data_offsets/],
  ["an offset of 1e999", file(`{"x":${info("U8", "[1]", 0, "1e999")}}`), /held exactly/],
  ["an offset of NaN", file(`{"x":${info("U8", "[1]", 0, "NaN")}}`), /expected a value/],
  [
    "offsets as an object",
    file('{"x":{"dtype":"U8","shape":[1],"data_offsets":{"0":0,"1":1}}}', 1),
    /x: expected data_offsets/,
  ],
  [
    "a shape of text",
    file('{"x":{"dtype":"U8","shape":"1","data_offsets":[0,1]}}', 1),
    /x: expected a shape of whole numbers, got "1"/,
  ],
  [
    "a shape of a million axes",
    file(`{"x":${info("U8", `[${"1,".repeat(1_000_000)}1]`, 0, 1)}}`, 1),
    /x: expected a shape of whole numbers/,
  ],
  ["a shape whose product is 2^64", file(`{"x":${info("U8", "[4294967296,4294967296]", 0, 0)}}`), /x: expected/],
  [
    "zeros that hide an overflow",
    file(`{"x":${info("F32", "[0,9007199254740991,9007199254740991]", 0, 4)}}`, 4),
    /x: expected 0 bytes .*got 4/,
  ],
  ["metadata with a nested object", file('{"__metadata__":{"a":{"b":"c"}}}'), /__metadata__: a: expected a string/],
  ["metadata that is null", file('{"__metadata__":null}'), /__metadata__: expected an object of strings/],
  ["metadata given twice", file('{"__metadata__":{},"__metadata__":{}}'), /each key once/],
];

function headerCases(): HostileCase[] {
  return HEADERS.map(([name, content, message]) => ({
    name,
    message,
    open: openWeights,
    make: (folder) => {
      writeFileSync(join(folder, "x.safetensors"), content);
      return join(folder, "x.safetensors");
    },
  }));
}

const INDEX = "model.safetensors.index.json";

/** An index beside one good shard `a.safetensors`, which holds the tensor `x`. */
function index(
  name: string,
  content: string,
  message: RegExp,
  change: (folder: string) => void = () => undefined,
): HostileCase {
  return {
    name: `an index: ${name}`,
    message,
    open: openWeights,
    make: (folder) => {
      writeFileSync(join(folder, "a.safetensors"), file(`{"x":${info("U8", "[4]", 0, 4)}}`, 4));
      writeFileSync(join(folder, INDEX), content);
      change(folder);
      return join(folder, INDEX);
    },
  };
}

const weightMap = (shard: unknown): string => JSON.stringify({ weight_map: { x: shard } });
const beside = /expected the name of a file beside the index|expected weight files/;

const INDEXES: readonly HostileCase[] = [
  ...["../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", ".", "", "a\\b", INDEX].map((shard) =>
    index(`a shard named ${JSON.stringify(shard)}`, weightMap(shard), beside),
  ),
  index("a shard that is a number", weightMap(1), /weight_map: x: expected a file name, got 1/),
  index("a shard that is an object", weightMap({}), /weight_map: x: expected a file name, got an object/),
  index("a shard name of a megabyte", weightMap("a/".repeat(1 << 19)), beside),
  index("a tensor its shard lacks", '{"weight_map":{"y":"a.safetensors"}}', /got none for y in a.safetensors/),
  index(
    "ten thousand tensors its shard lacks",
    JSON.stringify({
      weight_map: Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`t${i}`, "a.safetensors"])),
    }),
    /and 9988 more/,
  ),
  index("no weight_map", "{}", /got no weight_map/),
  index("a weight_map that is a list", '{"weight_map":[]}', /got no weight_map/),
  index("a tensor named twice", '{"weight_map":{"x":"a.safetensors","x":"b"}}', /each key once/),
  index("JSON cut short", '{"weight_map":{', /expected JSON, got a fault/),
  index("deep nesting", `{"weight_map":${"[".repeat(100_000)}`, /nesting of at most 64/),
  {
    ...index(
      "a shard that is missing",
      weightMap("b.safetensors"),
      /expected every shard beside it, got none for b\.safetensors; fetch the missing files/,
    ),
    at: INDEX,
  },
  {
    ...index(
      "a shard that is a git LFS pointer",
      weightMap("b.safetensors"),
      /got a git LFS pointer to 5 bytes; .*git lfs pull/,
      (folder) => writeFileSync(join(folder, "b.safetensors"), "version https://git-lfs.github.com/spec/v1\nsize 5\n"),
    ),
    at: "b.safetensors",
  },
  {
    ...index("a shard that is a folder", weightMap("b"), /got a folder/, (folder) => mkdirSync(join(folder, "b"))),
    at: "b",
  },
  {
    ...index("a shard that links to itself", weightMap("b"), /symbolic links in a circle/, (folder) =>
      symlinkSync("b", join(folder, "b")),
    ),
    at: "b",
  },
  {
    ...index("a shard cut short", weightMap("a.safetensors"), /expected a header of/, (folder) =>
      truncateSync(join(folder, "a.safetensors"), 40),
    ),
    at: "a.safetensors",
  },
];

/** What `openWeights` must refuse of safetensors. */
export const SAFETENSORS: Table = { title: "safetensors", cases: [...headerCases(), ...INDEXES] };
