/** @file Setting the user comment of EXIF data. What is there stays where it is: what is new is put behind it, so that no offset inside changes. */

import { UsageError } from "../errors.js";

const EXIF_POINTER = 0x8769;
const USER_COMMENT = 0x9286;
const UNDEFINED_TYPE = 7;
const LONG_TYPE = 4;
const ENTRY = 12;
/** Entries that a directory of a picture has, at most: more are none. */
const MOST_ENTRIES = 4096;

/**
 * EXIF data (a TIFF structure) whose user comment is `text`, in UTF-16 with the larger byte first, as AUTOMATIC1111 writes and reads it.
 * @param exif what there is, undefined for none
 * @throws UsageError when what there is cannot be followed
 */
export function withUserComment(exif: Uint8Array | undefined, text: string, where: string): Uint8Array {
  const comment = Buffer.concat([Buffer.from("UNICODE\0", "latin1"), Buffer.from(text, "utf16le").swap16()]);
  if (exif === undefined) return withUserComment(EMPTY, text, where);
  const block = new Block(exif, where);
  const root = block.directory(block.u32(4));
  const pointer = root.find(({ tag }) => tag === EXIF_POINTER);
  const own = pointer === undefined ? [] : block.directory(block.u32(pointer.at + 8));
  const old = own.find(({ tag }) => tag === USER_COMMENT);
  if (old !== undefined) {
    // one that stands last makes room for the new one, so that a file written often does not grow
    const [count, offset] = [block.u32(old.at + 4), block.u32(old.at + 8)];
    if (count > 4 && offset > old.at && offset + count >= block.length - 1) block.cut(offset);
    block.putEntry(old.at, USER_COMMENT, UNDEFINED_TYPE, comment.length, block.append(comment));
    return block.bytes();
  }
  // the directories first, so that the comment stands last
  const entry = { tag: USER_COMMENT, type: UNDEFINED_TYPE, count: comment.length, value: 0 };
  const inner = block.appendDirectory(pointer && block.u32(pointer.at + 8), own, entry);
  if (pointer !== undefined) block.putU32(pointer.at + 8, inner);
  else {
    const link = { tag: EXIF_POINTER, type: LONG_TYPE, count: 1, value: inner };
    block.putU32(4, block.appendDirectory(block.u32(4), root, link));
  }
  const { at } = block.directory(inner).find(({ tag }) => tag === USER_COMMENT)!;
  block.putU32(at + 8, block.append(comment));
  return block.bytes();
}

/** A TIFF structure with an empty directory. */
const EMPTY = Uint8Array.from([0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0]);

/** An entry of a directory where it lies. */
interface Entry {
  readonly tag: number;
  readonly at: number;
}

/** What a new entry says. */
interface NewEntry {
  readonly tag: number;
  readonly type: number;
  readonly count: number;
  readonly value: number;
}

/** EXIF data that grow at their end. */
class Block {
  #data: Buffer;
  readonly #little: boolean;
  readonly #where: string;

  constructor(exif: Uint8Array, where: string) {
    this.#data = Buffer.from(exif);
    this.#where = where;
    const mark = this.#data.subarray(0, 2).toString("latin1");
    this.#little = mark === "II";
    if (mark !== "II" && mark !== "MM") throw this.#damaged();
  }

  get length(): number {
    return this.#data.length;
  }

  bytes(): Uint8Array {
    return Uint8Array.from(this.#data);
  }

  u16(at: number): number {
    if (at + 2 > this.#data.length) throw this.#damaged();
    return this.#little ? this.#data.readUInt16LE(at) : this.#data.readUInt16BE(at);
  }

  u32(at: number): number {
    if (at + 4 > this.#data.length) throw this.#damaged();
    return this.#little ? this.#data.readUInt32LE(at) : this.#data.readUInt32BE(at);
  }

  putU16(at: number, value: number): void {
    if (this.#little) this.#data.writeUInt16LE(value, at);
    else this.#data.writeUInt16BE(value, at);
  }

  putU32(at: number, value: number): void {
    if (this.#little) this.#data.writeUInt32LE(value, at);
    else this.#data.writeUInt32BE(value, at);
  }

  directory(offset: number): Entry[] {
    const count = this.u16(offset);
    if (count > MOST_ENTRIES || offset + 2 + count * ENTRY > this.#data.length) throw this.#damaged();
    return Array.from({ length: count }, (_, i) => {
      const at = offset + 2 + i * ENTRY;
      return { tag: this.u16(at), at };
    });
  }

  cut(length: number): void {
    this.#data = this.#data.subarray(0, length);
  }

  /** @returns where it begins, on an even offset as TIFF asks */
  append(bytes: Uint8Array): number {
    const padding = Buffer.alloc(this.#data.length % 2);
    const at = this.#data.length + padding.length;
    this.#data = Buffer.concat([this.#data, padding, bytes]);
    return at;
  }

  putEntry(at: number, tag: number, type: number, count: number, value: number): void {
    this.putU16(at, tag);
    this.putU16(at + 2, type);
    this.putU32(at + 4, count);
    this.putU32(at + 8, value);
  }

  /** A directory with one entry more, its tags in rising order, behind everything else. @param old where it was */
  appendDirectory(old: number | undefined, entries: readonly Entry[], { tag, type, count, value }: NewEntry): number {
    const following = old === undefined ? 0 : this.#following(old, entries.length);
    const copies = entries.map((one) => ({ tag: one.tag, bytes: Buffer.from(this.#data.subarray(one.at, one.at + ENTRY)) })); // prettier-ignore
    const start = this.append(Buffer.alloc(2 + (entries.length + 1) * ENTRY + 4));
    this.putU16(start, entries.length + 1);
    const sorted = [...copies, { tag, bytes: undefined }].sort((a, b) => a.tag - b.tag);
    for (const [i, one] of sorted.entries()) {
      const at = start + 2 + i * ENTRY;
      if (one.bytes === undefined) this.putEntry(at, tag, type, count, value);
      else this.#data.set(one.bytes, at);
    }
    this.putU32(start + 2 + sorted.length * ENTRY, following);
    return start;
  }

  /** Where the next directory is, 0 for none or where the file ends before it says so. */
  #following(offset: number, entries: number): number {
    const at = offset + 2 + entries * ENTRY;
    return at + 4 > this.#data.length ? 0 : this.u32(at);
  }

  #damaged(): UsageError {
    return new UsageError(`${this.#where}: expected EXIF data that can be added to, got damaged ones`);
  }
}
