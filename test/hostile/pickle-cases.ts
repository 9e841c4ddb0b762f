/** @file Hostile pickles, zip and legacy: names outside the allow-list, opcodes, stacks, memos, bombs. */

import { archive, bytes, dictOf, global, int, long, pickle, tensor, text, uint32 } from "../weights/helpers.js";
import { CANARY, type HostileCase, type Table } from "./runner.js";
import { weightsCase } from "./torch-cases.js";

const sixteen = new Uint8Array(16);

/** Every way of running code that scanners of model files have had to learn about, as module and name. */
const DANGEROUS: readonly (readonly [module: string, name: string])[] = [
  ["os", "system"],
  ["posix", "system"],
  ["nt", "system"],
  ["sys", "exit"],
  ["subprocess", "Popen"],
  ["builtins", "eval"],
  ["builtins", "exec"],
  ["builtins", "compile"],
  ["builtins", "getattr"],
  ["builtins", "open"],
  ["builtins", "__import__"],
  ["__builtin__", "eval"],
  ["__builtin__", "apply"],
  ["operator", "methodcaller"],
  ["operator", "attrgetter"],
  ["functools", "partial"],
  ["pkgutil", "resolve_name"],
  ["runpy", "run_path"],
  ["runpy", "_run_code"],
  ["cProfile", "run"],
  ["profile", "run"],
  ["profile", "Profile.run"],
  ["trace", "Trace.run"],
  ["pdb", "run"],
  ["bdb", "Bdb.run"],
  ["timeit", "timeit"],
  ["doctest", "debug_script"],
  ["ctypes", "CDLL"],
  ["pty", "spawn"],
  ["numpy.f2py.crackfortran", "getlincoef"],
  ["numpy.testing._private.utils", "runstring"],
  ["distutils.file_util", "write_file"],
  ["io", "FileIO"],
  ["asyncio.unix_events", "_UnixSubprocessTransport._start"],
  ["uuid", "_get_command_stdout"],
  ["_osx_support", "_read_output"],
  ["_aix_support", "_read_cmd_output"],
  ["imaplib", "IMAP4_stream"],
  ["_pyrepl.pager", "pipe_pager"],
  ["test.support.script_helper", "assert_python_ok"],
  ["torch.serialization", "load"],
  ["torch", "load"],
  ["torch.hub", "load"],
  ["torch.utils._config_module", "ConfigModule.load_config"],
  ["torch.jit.unsupported_tensor_ops", "execWrapper"],
  ["torch._dynamo.guards", "GuardBuilder.get"],
  ["torch.utils.collect_env", "run"],
  ["torch.utils.bottleneck.__main__", "run_cprofile"],
  ["torch.nn.modules.module", "Module"],
  ["torch._utils", "_rebuild_device_tensor_from_numpy"],
  ["torch._utils", "_rebuild_qtensor"],
  ["torch._utils", "_import_dotted_name"],
  ["torch.storage", "_load_from_bytes"],
  ["cloudpickle.cloudpickle", "_make_function"],
  ["types", "CodeType"],
  ["types", "FunctionType"],
  ["code", "InteractiveInterpreter.runcode"],
  ["InteractiveInterpreter", "runcode"],
  ["collections", "OrderedDict.__reduce__"],
  ["collections.OrderedDict", "fromkeys"],
  ["collections", "__loader__.exec_module"],
  ["copy_reg", "_reconstructor"],
  ["copyreg", "__newobj__"],
  ["webbrowser", "open"],
  ["requests.api", "get"],
  ["socket", "create_connection"],
  ["shutil", "rmtree"],
  ["importlib", "import_module"],
  ["pip", "main"],
  ["", "system"],
  ["torch.FloatStorage", ""],
  ["__proto__", "constructor"],
];

const MENTION = /expected only tensors and plain data, got the name .* not on the allow-list/;

/** The same object as the two layouts hold it. */
function inBothLayouts(name: string, ...object: readonly (string | Uint8Array)[]): [string, () => Buffer][] {
  return [
    [`${name}, zip`, () => archive(pickle(...object), [sixteen])],
    [`${name}, legacy`, () => legacy(pickle(...object))],
  ];
}

/** A file of PyTorch 1.5 or older. */
function legacy(object: Uint8Array): Buffer {
  const count = Buffer.alloc(8);
  count.writeBigInt64LE(4n);
  const system = pickle("}", text("little_endian"), "\x88s");
  const keys = pickle("]", text("0"), "a");
  return bytes(pickle(long(0x1950a86a20f9469cfc6cn)), pickle("M\xe9\x03"), system, object, keys, count, sixteen);
}

/** Every dangerous name: called, mentioned, as key, attributes, hooks or storage type. */
const NAMES: readonly HostileCase[] = DANGEROUS.flatMap(([module, name]) => {
  const call = bytes(global(module, name), text(`touch ${CANARY}`), "\x85R");
  const zipOnly = (title: string, ...object: readonly (string | Uint8Array)[]) =>
    inBothLayouts(`${module}.${name} ${title}`, ...object).slice(0, 1);
  return [
    ...inBothLayouts(`${module}.${name} called`, dictOf(call)),
    ...zipOnly("mentioned", dictOf(global(module, name))),
    ...zipOnly("as a key", "}", call, tensor(), "s"),
    ...zipOnly("as attributes", global("collections", "OrderedDict"), ")R", call, "b"),
    ...zipOnly("as backward hooks", dictOf(tensor({ tail: bytes("\x89", call) }))),
    ...zipOnly("as storage type", dictOf(tensor({ type: call }))),
  ].map(([title, build]) => weightsCase(title, build, MENTION));
});

const OPCODES: readonly (readonly [string, Uint8Array])[] = [
  ["STACK_GLOBAL", bytes(text("os"), text("system"), "\x93")],
  ["STACK_GLOBAL through the memo", bytes(text("os"), "q\x00", text("system"), "q\x01h\x00h\x01\x93")],
  ["INST", bytes("(", text("echo"), "ios\nsystem\n")],
  ["OBJ", bytes("(", global("torch", "Size"), text("echo"), "o")],
  ["OBJ hidden by POP", bytes("(", global("collections", "OrderedDict"), "o0")],
  ["NEWOBJ", bytes(global("collections", "OrderedDict"), ")\x81")],
  ["NEWOBJ_EX", bytes(global("collections", "OrderedDict"), ")}\x92")],
  ["EXT1", bytes("\x82\x01")],
  ["EXT2", bytes("\x83\x01\x00")],
  ["EXT4", bytes("\x84\x01\x00\x00\x00")],
  ["FRAME", bytes("\x95", new Uint8Array(8), "}")],
  ["MEMOIZE", bytes("}\x94")],
  ["PERSID", bytes("Pstorage\n")],
  ["POP", bytes("NN0")],
  ["POP_MARK", bytes("(N1")],
  ["DUP", bytes("}2")],
  ["DICT", bytes("(d")],
  ["LIST", bytes("(l")],
  ["INT", bytes("I1\n")],
  ["LONG", bytes("L1L\n")],
  ["FLOAT", bytes("F1\n")],
  ["STRING", bytes("S'a'\n")],
  ["UNICODE", bytes("Va\n")],
  ["GET", bytes("}p0\ng0\n")],
  ["PUT", bytes("}p0\n")],
  ["BINSTRING", bytes("T\x01\x00\x00\x00a")],
  ["BINBYTES", bytes("B\x01\x00\x00\x00a")],
  ["BINUNICODE8", bytes("\x8d\x01\x00\x00\x00\x00\x00\x00\x00a")],
  ["LONG4", bytes("\x8b\x01\x00\x00\x00\x01")],
  ["EMPTY_SET", bytes("\x8f")],
  ["ADDITEMS", bytes("](N\x90")],
  ["BYTEARRAY8", bytes("\x96", new Uint8Array(8))],
  ["NEXT_BUFFER", bytes("\x97")],
  ["READONLY_BUFFER", bytes("N\x98")],
  ["a second PROTO", bytes("\x80\x02}")],
  ["an undefined opcode", bytes("\xff")],
];

const MALFORMED: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ["TUPLE without a mark", bytes("NNt"), /a mark on the stack/],
  ["SETITEMS without a mark", bytes("}NNu"), /a mark on the stack/],
  ["TUPLE3 of two", bytes("NN\x87"), /3 values on the stack, got 2/],
  ["TUPLE2 across a mark", bytes("N(N\x86"), /2 values on the stack, got 1/],
  ["REDUCE of nothing", bytes("R"), /2 values on the stack/],
  ["STOP of nothing", bytes(""), /a value on the stack/],
  ["STOP with values left", bytes("NN"), /one value at the end/],
  ["STOP inside a group", bytes("(N"), /one value at the end/],
  ["APPEND to a tuple", bytes(")Na"), /a list to append to/],
  ["APPEND to a dict", bytes("}Na"), /a list to append to/],
  ["APPEND to nothing", bytes("Na"), /a value on the stack/],
  ["SETITEM on a list", bytes("]NNs"), /a dict to set items of/],
  ["SETITEM on a tensor", bytes(tensor(), "NNs"), /a dict to set items of/],
  ["SETITEM on a name", bytes(global("torch", "Tensor"), "NNs"), /a dict to set items of/],
  ["SETITEMS of an odd number", bytes("}(NNNu"), /keys and values in pairs/],
  ["a key that is a list", bytes("}]Ns"), /a key that can be hashed/],
  ["BUILD on a dict", bytes("}}b"), /an OrderedDict to set attributes of/],
  ["BUILD on a tensor", bytes(tensor(), "}b"), /an OrderedDict to set attributes of/],
  ["BUILD on a list", bytes("]}b"), /an OrderedDict to set attributes of/],
  ["GET of what was never put", bytes("h\x07"), /a value remembered as 7, got none/],
  ["LONG_BINGET of 2^32 - 1", bytes("j", uint32(0xffffffff)), /a value remembered as 4294967295/],
  ["PUT of nothing", bytes("q\x00"), /a value on the stack/],
  ["PUT of a mark", bytes("(q\x00"), /a value on the stack/],
  ["a persistent id that is text", bytes(text("storage"), "Q"), /a reference to a storage/],
  [
    "a persistent id of a module",
    bytes("(", text("module"), global("torch", "Tensor"), text("a"), text("b"), "NtQ"),
    /a storage of a known type/,
  ],
  [
    "a persistent id of a dtype",
    bytes("(", text("storage"), global("torch", "float32"), text("0"), text("cpu"), int(1), "tQ"),
    /a storage of a known type/,
  ],
  [
    "a persistent id with a number as key",
    bytes("(", text("storage"), global("torch", "FloatStorage"), int(0), text("cpu"), int(1), "tQ"),
    /a storage of a known type/,
  ],
  ["text that is not UTF-8", bytes("X\x02\x00\x00\x00\xc3\x28"), /text in UTF-8/],
  ["a name without end", bytes("c", "a".repeat(300), "\nb\n"), /a name of at most 256 bytes/],
  ["hundreds of open groups", bytes("(".repeat(300)), /at most 256 open groups/],
  ["OrderedDict of pairs that are none", bytes(global("collections", "OrderedDict"), "](NNe\x85R"), /a list of pairs/],

  ["text longer than the pickle", bytes("X", uint32(0xffffffff), "a"), /expected 4294967295 more bytes, got the end/],
  ["an integer longer than the pickle", bytes("\x8a\xff\x01"), /expected 255 more bytes, got the end/],
];

/** A pickle without its STOP and what follows. */
const unfinished = (code: Uint8Array): Buffer => bytes("\x80\x02", code);

const laughs = Array.from({ length: 40 }, (_, i) => bytes("](", "h", i, "h", i, "eq", i + 1, "\x85"));
const pairs = bytes("](", "NN\x86".repeat(10_000), "eq\x00");
const copy = bytes(global("collections", "OrderedDict"), "q\x01h\x00\x85R");
const repeated = (code: string | Uint8Array, count: number): Buffer =>
  Buffer.concat(Array<Buffer>(count).fill(bytes(code)));
const nested = bytes(
  "}q\x00",
  ...Array.from({ length: 25 }, (_, i) => bytes("}(", text("a"), "h", i, text("b"), "h", i, "uq", i + 1, "0".slice(1))),
);

const BOMBS: readonly (readonly [string, () => Uint8Array, RegExp])[] = [
  ["a billion laughs", () => pickle("(](K\x01eq\x00", ...laughs, "t"), /expected at most \d+ (nested )?values/],
  [
    "a dict doubled 25 times",
    () => pickle("(", nested, "t"),
    /expected at most \d+ (nested )?values|expected a dict of tensors/,
  ],
  ["a list that holds itself", () => pickle("]q\x00h\x00a"), /nested values, got more \(a cycle\?\)/],
  [
    "one long list copied again and again",
    () => pickle("(", pairs, copy, repeated("h\x01h\x00\x85R", 5000), "t"),
    /a list of pairs/,
  ],
  ["tuples nested 100,000 deep", () => pickle("N", "\x85".repeat(100_000)), /nested values/],
  ["ten million opcodes", () => pickle("(", Buffer.alloc(10_000_000, "N"), "t"), /at most 1000000 opcodes/],
  ["a million lists", () => pickle("(", Buffer.alloc(1_000_000, "]"), "t"), /at most 240000 containers/],
  ["a million dicts", () => pickle("(", Buffer.alloc(1_000_000, "}"), "t"), /at most 240000 containers/],
  [
    "half a million applications",
    () => pickle("(", global("_codecs", "encode"), "q\x00)q\x01", repeated("h\x00h\x01R", 500_000), "t"),
    /at most 240000 containers/,
  ],
  [
    "600,000 remembered values",
    () => pickle("N", Buffer.concat(Array.from({ length: 600_000 }, (_, i) => bytes("r", uint32(i))))),
    /at most 500000 remembered values/,
  ],
];

const STREAMS: readonly (readonly [string, () => Uint8Array, RegExp])[] = [
  [
    "a payload before a broken tail",
    () => archive(bytes("\x80\x02", global("os", "system"), text(`touch ${CANARY}`), "\x85R")),
    MENTION,
  ],
  [
    "a second pickle behind the first",
    () => archive(bytes(pickle(dictOf(tensor())), pickle("N")), [sixteen]),
    /data.pkl: expected one pickle, got 4 bytes behind it/,
  ],
  [
    "a magic number that is computed",
    () => pickle(global("collections", "OrderedDict"), ")R"),
    /not on the allow-list/,
  ],
  [
    "a magic number that is called",
    () => pickle(global("os", "system"), text(`touch ${CANARY}`), "\x85R"),
    /not on the allow-list/,
  ],
  ["another magic number", () => pickle("K\x01"), /expected the magic number of torch.save/],
  [
    "a legacy file of another protocol",
    () => bytes(pickle(long(0x1950a86a20f9469cfc6cn)), pickle("K\x07")),
    /expected protocol 1001/,
  ],
  [
    "a big-endian legacy file",
    () =>
      bytes(pickle(long(0x1950a86a20f9469cfc6cn)), pickle("M\xe9\x03"), pickle("}", text("little_endian"), "\x89s")),
    /a little-endian machine/,
  ],
  [
    "a legacy file with bytes behind it",
    () => bytes(legacy(pickle(dictOf(tensor()))), "tail"),
    /expected the last storage to end the file, got 4 more bytes/,
  ],
  ["a legacy storage of negative length", () => relength(-1n), /storage "0": expected -1 elements/],
  [
    "a legacy storage of 2^62 elements",
    () => relength(2n ** 62n),
    /storage "0": expected 4611686018427387904 elements/,
  ],
  ["protocol 4 with frames", () => archive(bytes("\x80\x04\x95\x02\0\0\0\0\0\0\0}.")), /a pickle of protocol 2/],
  ["a frame that ends elsewhere than the pickle", () => archive(pickle("\x95\xff\0\0\0\0\0\0\0}")), /got 0x95/],
];

/** The good legacy file with another number of elements before its storage. */
function relength(count: bigint): Buffer {
  const file = legacy(pickle(dictOf(tensor())));
  file.writeBigInt64LE(count, file.length - 24);
  return file;
}

/** What `openWeights` must refuse of pickles. */
export const PICKLES: Table = {
  title: "pickle",
  cases: [
    ...BOMBS.map(([name, build, message]) => weightsCase(name, () => archive(build()), message)),
    ...NAMES,
    ...OPCODES.flatMap(([name, code]) =>
      inBothLayouts(name, code).map(([title, build]) =>
        weightsCase(title, build, /expected an opcode of a state dict, got 0x/),
      ),
    ),
    ...MALFORMED.map(([name, code, message]) => weightsCase(name, () => archive(pickle(code), [sixteen]), message)),
    ...[0, 1, 3, 4, 5, 255].map((protocol) =>
      weightsCase(`protocol ${protocol}`, () => archive(bytes("\x80", protocol, "}.")), /a pickle of protocol 2/),
    ),
    weightsCase("a pickle without an end", () => archive(unfinished(bytes("}"))), /expected 1 more bytes, got the end/),
    ...STREAMS.map(([name, build, message]) => weightsCase(name, build, message)),
  ],
};
