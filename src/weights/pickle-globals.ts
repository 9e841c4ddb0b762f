/** @file The allow-list: every global name a checkpoint may mention, and what data its application stands for. */

import type { PickleValue } from "./pickle-values.js";
import {
  PickleDict,
  PickleGlobal,
  PickleList,
  PickleOpaque,
  PickleTuple,
  StorageReference,
  TensorReference,
} from "./pickle-values.js";

/** What a name stands for when the pickle applies it to arguments; a string is the reason for refusing them. */
type Application = (args: readonly PickleValue[], budget: CopyBudget) => PickleValue | string;

/** Bounds what applications may copy, against a memoised list that is copied again and again. */
export class CopyBudget {
  private left = 4_000_000;
  /** False when the allowance is used up. */
  spend(items: number): boolean {
    this.left -= items;
    return this.left >= 0;
  }
}

const rebuildTensor: Application = ([storage, offset, size, stride]) =>
  makeTensor(storage, offset, size, stride, undefined, null);

// (storage, storage_offset, size, stride, requires_grad, backward_hooks[, metadata])
const rebuildTensor2: Application = (args) =>
  makeTensor(args[0], args[1], args[2], args[3], undefined, args[6] ?? null);

// (storage, storage_offset, size, stride, requires_grad, backward_hooks, dtype[, metadata])
const rebuildTensor3: Application = (args) => makeTensor(args[0], args[1], args[2], args[3], args[6], args[7] ?? null);

function makeTensor(
  storage: PickleValue | undefined,
  offset: PickleValue | undefined,
  size: PickleValue | undefined,
  stride: PickleValue | undefined,
  dtype: PickleValue | undefined,
  flags: PickleValue,
): PickleValue | string {
  if (!(storage instanceof StorageReference) || offset === undefined || size === undefined || stride === undefined) {
    return "a storage, an offset, a size and strides";
  }
  if (dtype !== undefined && !(dtype instanceof PickleGlobal)) return "a dtype";
  return new TensorReference(storage, offset, size, stride, dtype, flags);
}

// (data, requires_grad, backward_hooks[, state])
const rebuildParameter: Application = ([data]) => (data instanceof TensorReference ? data : "a tensor");

// (rebuild function, type, arguments, state): a tensor with attributes, which hold no weights
const rebuildFromType: Application = ([rebuild, , args], budget) => {
  const application = rebuild instanceof PickleGlobal ? APPLICATIONS.get(rebuild.name) : undefined;
  if (application === undefined || application === rebuildFromType || !(args instanceof PickleTuple)) {
    return "a rebuild function and its arguments";
  }
  return application(args.items, budget);
};

const orderedDict: Application = ([pairs], budget) => {
  const dict = new PickleDict(true);
  if (pairs === undefined) return dict;
  if (!(pairs instanceof PickleList) || !budget.spend(pairs.items.length)) return "a list of pairs";
  for (const pair of pairs.items) {
    if (!(pair instanceof PickleList || pair instanceof PickleTuple) || pair.items.length !== 2)
      return "a list of pairs";
    dict.items.set(pair.items[0]!, pair.items[1]!);
  }
  return dict;
};

const size: Application = ([items]) =>
  items instanceof PickleTuple || items instanceof PickleList ? new PickleTuple(items.items) : "a tuple";

const opaque =
  (name: string): Application =>
  () =>
    new PickleOpaque(name);

/** Names that may be applied to arguments. */
const APPLICATIONS: ReadonlyMap<string, Application> = new Map<string, Application>([
  ["collections.OrderedDict", orderedDict],
  ["torch._utils._rebuild_tensor", rebuildTensor],
  ["torch._utils._rebuild_tensor_v2", rebuildTensor2],
  ["torch._utils._rebuild_tensor_v3", rebuildTensor3],
  ["torch._utils._rebuild_parameter", rebuildParameter],
  ["torch._utils._rebuild_parameter_with_state", rebuildParameter],
  ["torch._tensor._rebuild_from_type_v2", rebuildFromType],
  ["torch.Size", size],
  ["torch.device", opaque("device")],
  ["torch.serialization._get_layout", opaque("layout")],
  ["_codecs.encode", opaque("bytes")],
  ["builtins.bytearray", opaque("bytearray")],
  ["builtins.complex", opaque("complex")],
  ["builtins.set", opaque("set")],
  ["collections.Counter", opaque("Counter")],
]);

/** Storage classes, with the torch dtype they hold; an untyped storage counts bytes. */
export const STORAGES: ReadonlyMap<string, string> = new Map([
  ["torch.DoubleStorage", "torch.float64"],
  ["torch.FloatStorage", "torch.float32"],
  ["torch.HalfStorage", "torch.float16"],
  ["torch.BFloat16Storage", "torch.bfloat16"],
  ["torch.LongStorage", "torch.int64"],
  ["torch.IntStorage", "torch.int32"],
  ["torch.ShortStorage", "torch.int16"],
  ["torch.CharStorage", "torch.int8"],
  ["torch.ByteStorage", "torch.uint8"],
  ["torch.BoolStorage", "torch.bool"],
  ["torch.ComplexFloatStorage", "torch.complex64"],
  ["torch.ComplexDoubleStorage", "torch.complex128"],
  ["torch.storage.UntypedStorage", "bytes"],
]);

/** Bytes per element of each torch dtype. */
export const TORCH_DTYPE_BYTES: ReadonlyMap<string, number> = new Map([
  ["bytes", 1],
  ["torch.float64", 8],
  ["torch.float32", 4],
  ["torch.float16", 2],
  ["torch.bfloat16", 2],
  ["torch.float8_e4m3fn", 1],
  ["torch.float8_e5m2", 1],
  ["torch.float8_e4m3fnuz", 1],
  ["torch.float8_e5m2fnuz", 1],
  ["torch.float8_e8m0fnu", 1],
  ["torch.int64", 8],
  ["torch.int32", 4],
  ["torch.int16", 2],
  ["torch.int8", 1],
  ["torch.uint64", 8],
  ["torch.uint32", 4],
  ["torch.uint16", 2],
  ["torch.uint8", 1],
  ["torch.bool", 1],
  ["torch.complex64", 8],
  ["torch.complex128", 16],
]);

/** Names that may be mentioned but not applied. */
const MENTIONS: ReadonlySet<string> = new Set([
  "torch.Tensor",
  "torch.nn.parameter.Parameter",
  "torch.nn.parameter.Buffer",
]);

/** Python 2 spellings that `torch.save` writes at protocol 2. */
const RENAMED: ReadonlyMap<string, string> = new Map([["__builtin__", "builtins"]]);

/** The global of that name, or undefined when it is not on the list. */
export function allowedGlobal(module: string, name: string): PickleGlobal | undefined {
  const full = `${RENAMED.get(module) ?? module}.${name}`;
  const known = APPLICATIONS.has(full) || STORAGES.has(full) || TORCH_DTYPE_BYTES.has(full) || MENTIONS.has(full);
  return known ? new PickleGlobal(full) : undefined;
}

/** The data that applying `target` to `args` stands for; a string says why that is not possible. */
export function applyGlobal(
  target: PickleValue,
  args: PickleValue,
  budget: CopyBudget,
): { value: PickleValue } | string {
  const application = target instanceof PickleGlobal ? APPLICATIONS.get(target.name) : undefined;
  if (!(target instanceof PickleGlobal) || application === undefined) return "a function of the allow-list to apply";
  if (!(args instanceof PickleTuple)) return `a tuple of arguments for ${target.name}`;
  const result = application(args.items, budget);
  return typeof result === "string" ? `${result} as arguments of ${target.name}` : { value: result };
}
