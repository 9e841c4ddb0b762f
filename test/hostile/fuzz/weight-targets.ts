/** @file The parsers of weights, with mutations that know headers and opcodes. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { elementCount } from "#laurel/tensor/tensor";
import { openLora } from "#laurel/weights/lora/open";
import { updateNorm } from "#laurel/weights/lora/product";
import { openWeights } from "#laurel/weights/open";
import { archive, bytes, dictOf, global, int, long, pickle, tensor, text, uint32 } from "../../weights/helpers.js";
import { safetensors } from "../safetensors-cases.js";
import type { Target } from "./engine.js";
import { type Mutate, mutateBytes, mutateJson } from "./mutate.js";
import { json, read } from "./seeds.js";

/** Opens a checkpoint; entries that are offered must lie within their file. */
async function openChecked(path: string, size: number): Promise<string> {
  const source = await openWeights(path);
  for (const { name, shape, offset, length, file } of source.entries.values()) {
    const sound = file !== path || (offset >= 0 && offset + length <= size && elementCount(shape) <= length);
    if (!sound)
      throw new Error(`${name}: an entry of ${length} bytes at ${offset} lies outside of the file of ${size}`);
  }
  return source.unusable.size > 0 ? "with unusable tensors" : "";
}

/** Changes the header as the JSON it is, and sets its length right; now and then bytes. */
const mutateSafetensors: Mutate = (input, dice, other) => {
  if (dice.below(4) === 0 || input.length < 9) return mutateBytes(input, dice, other);
  const length = Math.min(input.readUInt32LE(0), input.length - 8);
  const header = mutateJson(input.subarray(8, 8 + length), dice, other.subarray(8));
  return Buffer.concat([safetensors(header), input.subarray(8 + length)]);
};

const PIECES: readonly Buffer[] = [
  ...[
    ..."}])(tsuaebRQN.",
    "\x85",
    "\x86",
    "\x87",
    "\x88",
    "\x89",
    "q\x00",
    "q\x01",
    "h\x00",
    "h\x01",
    "0",
    "2",
    "\x93",
    "\x81",
    "\x94",
  ].map((code) => bytes(code)),
  ...[
    int(4),
    int(-1),
    long(2n ** 63n),
    long(-1n),
    text("storage"),
    text("weight"),
    text("0"),
    text("state_dict"),
    text("__proto__"),
    bytes("r", uint32(0xffffffff)),
    bytes("G\x7f\xf8\0\0\0\0\0\0"),
  ],
  ...[
    global("collections", "OrderedDict"),
    global("torch", "FloatStorage"),
    global("torch._utils", "_rebuild_tensor_v2"),
    global("torch", "Size"),
    global("os", "system"),
    global("torch._tensor", "_rebuild_from_type_v2"),
  ],
  ...[
    tensor(),
    dictOf(tensor()),
    bytes("(", text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu"), int(4), "tQ"),
  ],
];

/** Inserts, replaces and removes opcodes with their arguments; now and then bytes. */
const mutatePickle: Mutate = (input, dice, other) => {
  if (dice.below(3) === 0) return mutateBytes(input, dice, other);
  let code = input;
  for (let count = 1 + dice.below(3); count > 0; count--) {
    const at = 2 + dice.below(Math.max(1, code.length - 2));
    code = Buffer.concat([code.subarray(0, at), dice.pick(PIECES), code.subarray(at + dice.below(6))]);
  }
  return code;
};

/** Targets that write their inputs into `folder`. */
export function weightTargets(folder: string): Target[] {
  const sixteen = new Uint8Array(16);
  const file = (name: string, seeds: () => Uint8Array[], mutate: Mutate, wrap = (input: Buffer) => input): Target => {
    const path = join(folder, name);
    const run = (input: Buffer) => {
      const content = wrap(input);
      writeFileSync(path, content);
      return openChecked(path, content.length);
    };
    return { name: name.replace(/\..*/, ""), seeds, mutate, run };
  };
  const shard = safetensors('{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', 4);
  writeFileSync(join(folder, "a.safetensors"), shard);
  const index = { metadata: { total_size: 4 }, weight_map: { x: "a.safetensors" } };
  return [
    file(
      "safetensors.safetensors",
      () => ["dtypes", "unusable"].map((name) => read(`weights/${name}.safetensors`)),
      mutateSafetensors,
    ),
    file("shard-index.safetensors.index.json", () => [json(index)], mutateJson),
    file(
      "zip-directory.pt",
      () => ["module.pt", "no-crc.pt", "views.pt"].map((name) => read(`weights/${name}`)),
      mutateBytes,
    ),
    file(
      "pickle.pt",
      () => [pickle(dictOf(tensor())), pickle("}", text("a"), "}", text("b"), tensor(), "ss")],
      mutatePickle,
      (input) => archive(input, [sixteen]),
    ),
    file(
      "legacy-checkpoint.pt",
      () => ["module.legacy.pt", "views.legacy.pt", "special.legacy.pt"].map((name) => read(`weights/${name}`)),
      mutateBytes,
    ),
    file(
      "unknown-file.bin",
      () => [
        Buffer.from("PK\x03\x04"),
        Buffer.from("\x80\x02}."),
        Buffer.from("\x08\0\0\0\0\0\0\0{}      "),
        Buffer.from("version https://git-lfs.github.com/spec/v1\n"),
      ],
      mutateBytes,
    ),
    loraTarget(join(folder, "lora.safetensors")),
  ];
}

/** Opens LoRAs of all namings and multiplies what it is offered. */
function loraTarget(path: string): Target {
  return {
    name: "lora",
    seeds: () => ["old", "kohya", "conv"].map((name) => read(`lora/${name}.safetensors`)),
    mutate: mutateSafetensors,
    run: async (input) => {
      writeFileSync(path, input);
      const { components, naming } = await openLora(path);
      for (const layers of components.values())
        for (const layer of layers.values()) if (layer.down.length < 4096) await updateNorm(layer);
      return naming;
    },
  };
}
