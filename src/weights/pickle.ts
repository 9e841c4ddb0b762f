/**
 * @file A data-only interpreter for the pickles of `torch.save`. It knows the opcodes and names that `torch.load(weights_only=True)`
 * knows, less those that no checkpoint of weights needs; it never calls anything, and refuses the rest.
 * Opcodes: https://github.com/python/cpython/blob/v3.11.7/Lib/pickletools.py
 */

import { CopyBudget, STORAGES, allowedGlobal, applyGlobal } from "./pickle-globals.js";
import type { PickleValue } from "./pickle-values.js";
import { PickleDict, PickleGlobal, PickleList, PickleTuple, StorageReference } from "./pickle-values.js";

/** The pickle is not one Laurel reads; the message says what was expected and found. */
export class PickleFault extends Error {}

/** The bytes end before the pickle does. */
export class PickleTruncated extends PickleFault {}

/** What a pickle may mention besides plain data. */
export interface PickleRules {
  /** False for headers: numbers, strings, lists, dicts and tuples only. */
  readonly globals: boolean;
}

const MAX_LINE = 256;
const MAX_MARKS = 256;
/** A tensor takes about 45 opcodes, 5 containers and 12 remembered values: room for 20,000 tensors, in some 30 MB at worst. */
const MAX_OPCODES = 1_000_000;
const MAX_CONTAINERS = 240_000;
const MAX_REMEMBERED = 500_000;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Interprets one pickle that begins at `start`.
 * @returns its value, every storage it mentions, and the offset behind it.
 * @throws PickleTruncated when `bytes` ends first, PickleFault for anything not allowed.
 */
export function readPickle(bytes: Buffer, start: number, rules: PickleRules): ReadPickle {
  const machine = new Machine(bytes, start, rules);
  return { value: machine.run(), storages: machine.storages, end: machine.position };
}

/** One pickle, interpreted. */
export interface ReadPickle {
  readonly value: PickleValue;
  readonly storages: readonly StorageReference[];
  readonly end: number;
}

class Machine {
  position: number;
  readonly storages: StorageReference[] = [];
  private stack: PickleValue[] = [];
  private readonly outer: PickleValue[][] = [];
  private readonly memo = new Map<number, PickleValue>();
  private readonly budget = new CopyBudget();
  private opcodeAt = 0;
  private containers = 0;

  constructor(
    private readonly bytes: Buffer,
    start: number,
    private readonly rules: PickleRules,
  ) {
    this.position = start;
  }

  run(): PickleValue {
    this.opcodeAt = this.position;
    if (this.byte() !== 0x80 || this.byte() !== 2) throw this.fault("a pickle of protocol 2");
    for (let count = 0; ; count++) {
      this.opcodeAt = this.position;
      if (count >= MAX_OPCODES) throw this.fault(`at most ${MAX_OPCODES} opcodes, got more`);
      const opcode = this.byte();
      if (opcode === 0x2e /* STOP */) return this.stop();
      this.step(opcode);
    }
  }

  private stop(): PickleValue {
    const value = this.pop();
    if (this.stack.length > 0 || this.outer.length > 0) throw this.fault("one value at the end, got several");
    return value;
  }

  private step(opcode: number): void {
    switch (opcode) {
      case 0x4e: // NONE
        return this.push(null);
      case 0x88: // NEWTRUE
        return this.push(true);
      case 0x89: // NEWFALSE
        return this.push(false);
      case 0x4a: // BININT
        return this.push(this.bytes.readInt32LE(this.take(4)));
      case 0x4b: // BININT1
        return this.push(this.byte());
      case 0x4d: // BININT2
        return this.push(this.bytes.readUInt16LE(this.take(2)));
      case 0x8a: // LONG1
        return this.push(this.long(this.byte()));
      case 0x47: // BINFLOAT
        return this.push(this.bytes.readDoubleBE(this.take(8)));
      case 0x58: // BINUNICODE
        return this.push(this.text(this.bytes.readUInt32LE(this.take(4))));
      case 0x55: // SHORT_BINSTRING
        return this.push(this.text(this.byte()));
      case 0x28: // MARK
        return this.mark();
      case 0x29: // EMPTY_TUPLE
        return this.pushContainer(new PickleTuple([]));
      case 0x74: // TUPLE
        return this.pushContainer(new PickleTuple(this.toMark()));
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.pushContainer(new PickleTuple(this.popMany(opcode - 0x84)));
      case 0x5d: // EMPTY_LIST
        return this.pushContainer(new PickleList());
      case 0x61: // APPEND
        return this.append(this.popMany(1));
      case 0x65: // APPENDS
        return this.append(this.toMark());
      case 0x7d: // EMPTY_DICT
        return this.pushContainer(new PickleDict(false));
      case 0x73: // SETITEM
        return this.setItems(this.popMany(2));
      case 0x75: // SETITEMS
        return this.setItems(this.toMark());
      case 0x71: // BINPUT
        return this.put(this.byte());
      case 0x72: // LONG_BINPUT
        return this.put(this.bytes.readUInt32LE(this.take(4)));
      case 0x68: // BINGET
        return this.get(this.byte());
      case 0x6a: // LONG_BINGET
        return this.get(this.bytes.readUInt32LE(this.take(4)));
      case 0x63: // GLOBAL
        return this.global();
      case 0x52: // REDUCE
        return this.reduce();
      case 0x62: // BUILD
        return this.build();
      case 0x51: // BINPERSID
        return this.persistent();
      default:
        throw this.fault(`an opcode of a state dict, got 0x${opcode.toString(16).padStart(2, "0")}`);
    }
  }

  private byte(): number {
    return this.bytes[this.take(1)]!;
  }

  /** Advances over `count` bytes; returns where they begin. */
  private take(count: number): number {
    if (this.position + count > this.bytes.length) {
      throw new PickleTruncated(`pickle at byte ${this.opcodeAt}: expected ${count} more bytes, got the end`);
    }
    const at = this.position;
    this.position += count;
    return at;
  }

  private text(length: number): string {
    const at = this.take(length);
    try {
      return utf8.decode(this.bytes.subarray(at, at + length));
    } catch {
      throw this.fault("text in UTF-8, got other bytes");
    }
  }

  /** Little-endian two's complement; a number when it can be held exactly. */
  private long(length: number): number | bigint {
    const at = this.take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[at + i]!);
    if (length > 0) value = BigInt.asIntN(length * 8, value);
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  private line(): string {
    const from = this.position;
    const end = this.bytes.indexOf(0x0a, from);
    const length = (end < 0 ? this.bytes.length : end) - from;
    if (length > MAX_LINE) throw this.fault(`a name of at most ${MAX_LINE} bytes`);
    if (end < 0) this.take(length + 1);
    return this.bytes.toString("latin1", this.take(length + 1), end);
  }

  private push(value: PickleValue): void {
    this.stack.push(value);
  }

  private pushContainer(value: PickleValue): void {
    if (++this.containers > MAX_CONTAINERS) throw this.fault(`at most ${MAX_CONTAINERS} containers, got more`);
    this.push(value);
  }

  private pop(): PickleValue {
    const value = this.stack.pop();
    if (value === undefined) throw this.fault("a value on the stack, got none");
    return value;
  }

  private top(): PickleValue {
    const value = this.stack.at(-1);
    if (value === undefined) throw this.fault("a value on the stack, got none");
    return value;
  }

  private popMany(count: number): PickleValue[] {
    if (this.stack.length < count) throw this.fault(`${count} values on the stack, got ${this.stack.length}`);
    return this.stack.splice(this.stack.length - count, count);
  }

  private mark(): void {
    if (this.outer.length >= MAX_MARKS) throw this.fault(`at most ${MAX_MARKS} open groups`);
    this.outer.push(this.stack);
    this.stack = [];
  }

  private toMark(): PickleValue[] {
    const outer = this.outer.pop();
    if (outer === undefined) throw this.fault("a mark on the stack, got none");
    const items = this.stack;
    this.stack = outer;
    return items;
  }

  private append(items: readonly PickleValue[]): void {
    const list = this.top();
    if (!(list instanceof PickleList)) throw this.fault("a list to append to");
    for (const item of items) list.items.push(item);
  }

  private setItems(items: readonly PickleValue[]): void {
    const dict = this.top();
    if (!(dict instanceof PickleDict)) throw this.fault("a dict to set items of");
    if (items.length % 2 !== 0) throw this.fault("keys and values in pairs");
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i]!;
      if (key instanceof PickleDict || key instanceof PickleList) throw this.fault("a key that can be hashed");
      dict.items.set(key, items[i + 1]!);
    }
  }

  private put(index: number): void {
    this.memo.set(index, this.top());
    if (this.memo.size > MAX_REMEMBERED) throw this.fault(`at most ${MAX_REMEMBERED} remembered values, got more`);
  }

  private get(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) throw this.fault(`a value remembered as ${index}, got none`);
    this.push(value);
  }

  private global(): void {
    const module = this.line();
    const name = this.line();
    const value = this.rules.globals ? allowedGlobal(module, name) : undefined;
    if (value === undefined) {
      const shown = JSON.stringify(`${module}.${name}`);
      throw this.fault(
        `only tensors and plain data, got the name ${shown}, which is not on the allow-list; save a state_dict`,
      );
    }
    this.push(value);
  }

  private reduce(): void {
    const [target, args] = this.popMany(2);
    const result = applyGlobal(target!, args!, this.budget);
    if (typeof result === "string") throw this.fault(result);
    this.pushContainer(result.value);
  }

  /** Attributes are set on an OrderedDict only (`_metadata` of a state_dict), and hold nothing of use. */
  private build(): void {
    this.pop();
    const target = this.top();
    if (!(target instanceof PickleDict) || !target.ordered) throw this.fault("an OrderedDict to set attributes of");
  }

  // ("storage", type, key, location, length[, view])
  private persistent(): void {
    const id = this.pop();
    if (!this.rules.globals || !(id instanceof PickleTuple) || id.items.length < 5 || id.items.length > 6) {
      throw this.fault("a reference to a storage");
    }
    const [kind, type, key, , length, view = null] = id.items;
    if (kind !== "storage" || !(type instanceof PickleGlobal) || !STORAGES.has(type.name) || typeof key !== "string") {
      throw this.fault("a reference to a storage of a known type");
    }
    const storage = new StorageReference(type.name, key, length!, view);
    this.storages.push(storage);
    this.pushContainer(storage);
  }

  private fault(expected: string): PickleFault {
    const got = expected.includes(", got ") ? "" : ", got another";
    return new PickleFault(`pickle at byte ${this.opcodeAt}: expected ${expected}${got}`);
  }
}
