/** @file Hostile pickles: nothing outside the allow-list is accepted, nothing is called, nothing hangs or fills memory. */

import { PickleFault, PickleTruncated, readPickle } from "#laurel/weights/pickle";
import type { PickleDict } from "#laurel/weights/pickle-values";
import { describe, expect, it } from "vitest";
import {
  archive,
  bytes,
  dictOf,
  expectRefusal,
  global,
  int,
  long,
  pickle,
  temporaryFolder,
  tensor,
  text,
  uint32,
  writeTemporary,
} from "./helpers.js";

const folder = temporaryFolder();
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

describe("names", () => {
  it.each(DANGEROUS)("refuses %s %s wherever it is mentioned", async (module, name) => {
    const call = bytes(global(module, name), text("echo"), "\x85R");
    const mention = /expected only tensors and plain data, got the name .* not on the allow-list/;
    for (const hostile of [
      dictOf(call), // called
      dictOf(global(module, name)), // only mentioned
      bytes("}", call, tensor(), "s"), // as a key
      bytes(global("collections", "OrderedDict"), ")R", call, "b"), // as attributes
      dictOf(tensor({ tail: bytes("\x89", call) })), // as backward hooks
      dictOf(tensor({ type: call })), // as storage type
    ]) {
      await expectRefusal(writeTemporary(folder, archive(pickle(hostile), [sixteen])), mention);
    }
  });

  it("refuses to apply what is on the list only to be mentioned, and values that are no names", () => {
    for (const target of [
      global("torch", "FloatStorage"),
      global("torch", "Tensor"),
      global("torch", "float32"),
      text("os.system"),
      "N",
    ]) {
      expect(() => run(target, ")R")).toThrow("a function of the allow-list");
    }
    expect(() => run(global("collections", "OrderedDict"), "]R")).toThrow("a tuple of arguments");
    expect(() =>
      run(global("torch._tensor", "_rebuild_from_type_v2"), "(", global("torch", "Tensor"), "N)}tR"),
    ).toThrow("a rebuild function");
    const itself = global("torch._tensor", "_rebuild_from_type_v2");
    expect(() => run(itself, "(", itself, "N)}tR")).toThrow("a rebuild function");
    expect(() => run(global("torch._utils", "_rebuild_parameter"), "N\x89}\x87R")).toThrow("a tensor as arguments");
  });

  it("refuses names of any kind in the header of a legacy file, and a magic number that is computed", async () => {
    const magic = pickle(global("collections", "OrderedDict"), ")R");
    await expectRefusal(writeTemporary(folder, magic), /not on the allow-list/);
  });
});

describe("opcodes", () => {
  const refused: [string, Uint8Array][] = [
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
  it.each(refused)("refuses %s", (_, code) =>
    expect(() => run(code)).toThrow(/expected an opcode of a state dict, got 0x/),
  );

  it.each([0, 1, 3, 4, 5, 255])("refuses protocol %d", (protocol) => {
    expect(() => readPickle(bytes("\x80", protocol, "}."), 0, { globals: true })).toThrow("a pickle of protocol 2");
  });

  const malformed: [string, Uint8Array, RegExp][] = [
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
    [
      "OrderedDict of pairs that are none",
      bytes(global("collections", "OrderedDict"), "](NNe\x85R"),
      /a list of pairs/,
    ],
  ];
  it.each(malformed)("refuses %s", (_, code, message) => expect(() => run(code)).toThrow(message));

  it("takes lengths beyond the end for a file cut short, without allocating them", () => {
    for (const code of [
      bytes("X\xff\xff\xff\xff"),
      bytes("X\xff\xff\xff\x7fabc"),
      bytes("\x8a\xff\x01"),
      bytes("U\xff1"),
      "J\x00",
      "G\x00",
      "cos\nsys",
    ]) {
      expect(() => readPickle(bytes("\x80\x02", code), 0, { globals: true })).toThrow(PickleTruncated);
    }
  });

  it("reads integers of every width, negative and beyond 2^53", () => {
    const at = (code: Uint8Array): unknown => run(code);
    expect(at(int(-2))).toBe(-2);
    expect(at(bytes("K\xff"))).toBe(255);
    expect(at(bytes("M\xff\xff"))).toBe(65535);
    expect(at(bytes("\x8a\x00"))).toBe(0);
    expect(at(bytes("\x8a\x01\xff"))).toBe(-1);
    expect(at(bytes("\x8a\x02\xff\x00"))).toBe(255);
    expect(at(long(2n ** 70n))).toBe(2n ** 70n);
    expect(at(long(-(2n ** 70n)))).toBe(-(2n ** 70n));
  });

  it("keeps __proto__ an ordinary key", () => {
    const dict = run("}", text("__proto__"), "}", text("polluted"), "\x88ss") as PickleDict;
    expect([...dict.items.keys()]).toEqual(["__proto__"]);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});

describe("bombs", () => {
  it("refuses a billion laughs: each level holds the one below twice", async () => {
    const levels = Array.from({ length: 40 }, (_, i) => bytes("](", "h", i, "h", i, "eq", i + 1));
    const bomb = bytes("](K\x01eq\x00", ...levels.map((level) => bytes(level, "\x85")));
    // the levels are left on the stack as tuples of one; gather them all into one tuple at the end
    await expectQuickRefusal(pickle("(", bomb, "t"), /expected at most \d+ (nested )?values/);
  });

  it("refuses a list that contains itself, and a dict that does", async () => {
    await expectQuickRefusal(pickle("]q\x00h\x00a"), /nested values, got more \(a cycle\?\)/);
    await expectQuickRefusal(pickle("}q\x00", text("state_dict"), "h\x00s"), /nested values, got more \(a cycle\?\)/);
  });

  it("refuses to copy one long list again and again", async () => {
    const pairs = bytes("](", "NN\x86".repeat(10_000), "eq\x00");
    const copy = bytes(global("collections", "OrderedDict"), "q\x01h\x00\x85R");
    const again = bytes("h\x01h\x00\x85R");
    await expectQuickRefusal(
      pickle("(", pairs, copy, Buffer.concat(Array<Buffer>(5000).fill(again)), "t"),
      /a list of pairs/,
    );
  });

  it("does not build the text that _codecs.encode is asked to repeat", () => {
    const long = text("a".repeat(1_000_000));
    const again = bytes("h\x00h\x01h\x02\x86R");
    const code = bytes(
      "(",
      global("_codecs", "encode"),
      "q\x00",
      long,
      "q\x01",
      text("latin1"),
      "q\x02",
      Buffer.concat(Array<Buffer>(20_000).fill(again)),
      "t",
    );
    const before = process.memoryUsage();
    run(code);
    const after = process.memoryUsage();
    expect(after.heapUsed + after.external - before.heapUsed - before.external).toBeLessThan(100e6);
  });

  it("keeps memo entries under sparse indexes without filling the gaps", () => {
    const puts = Array.from({ length: 1000 }, (_, i) => bytes("r", uint32(0xffffffff - i * 4_000_000)));
    const before = process.memoryUsage().heapUsed;
    run("}", ...puts);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(20e6);
  });

  it("refuses nesting that would exhaust the stack", async () => {
    await expectQuickRefusal(pickle("N", "\x85".repeat(100_000)), /nested values/);
  });
});

describe("streams", () => {
  it("refuses a payload before a broken tail", async () => {
    const path = writeTemporary(folder, archive(bytes("\x80\x02", global("os", "system"), text("echo"), "\x85R")));
    await expectRefusal(path, /not on the allow-list/);
  });

  it("refuses a second pickle behind the first", async () => {
    const path = writeTemporary(folder, archive(bytes(pickle(dictOf(tensor())), pickle("N")), [sixteen]));
    await expectRefusal(path, /data.pkl: expected one pickle, got 4 bytes behind it/);
  });

  it("gives every fault as a PickleFault with the byte it was found at", () => {
    expect(() => run("NN", "\xff")).toThrow(PickleFault);
    expect(() => run("NN", "\xff")).toThrow("pickle at byte 4:");
  });
});

function run(...code: readonly (string | Uint8Array)[]): unknown {
  return readPickle(pickle(...code), 0, { globals: true }).value;
}

async function expectQuickRefusal(hostile: Buffer, message: RegExp): Promise<void> {
  const path = writeTemporary(folder, archive(hostile));
  const start = process.cpuUsage();
  await expectRefusal(path, message);
  const { user, system } = process.cpuUsage(start); // not the time passed, which depends on what else runs
  expect((user + system) / 1000).toBeLessThan(3000);
}
