/** @file The wire format of protocol buffers: fields by number and place, for messages that are too large or too little known to be decoded. */

/** Kinds of fields. */
const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** Bytes that are no message. */
export class WireError extends Error {
  override readonly name = "WireError";
}

/** A field of a message. */
export interface Field {
  readonly number: number;
  /** Where its key begins. */
  readonly key: number;
  /** Where its content lies, from the message's start. */
  readonly start: number;
  readonly end: number;
  /** Of a varint; exact up to 2^53. */
  readonly value: number | undefined;
}

/**
 * The fields of a message in order.
 * @param options.wholeLength of the message, where `bytes` is its beginning @default all of it
 * @throws WireError for bytes that are no message
 */
export function* fieldsOf(
  bytes: Uint8Array,
  { wholeLength = bytes.length }: { readonly wholeLength?: number } = {},
): Generator<Field> {
  for (let at = 0; at < bytes.length;) {
    const key = varint(bytes, at);
    const [number, wire] = [Math.floor(key.value / 8), key.value % 8];
    const first = wire === WIRE.varint || wire === WIRE.bytes ? varint(bytes, key.end) : undefined;
    const start = wire === WIRE.bytes ? first!.end : key.end;
    const lengths: Record<number, number> = {
      [WIRE.varint]: (first?.end ?? 0) - start,
      [WIRE.fixed64]: 8,
      [WIRE.bytes]: first?.value ?? 0,
      [WIRE.fixed32]: 4,
    };
    const length = lengths[wire];
    if (length === undefined || number === 0 || start + length > wholeLength) fail();
    yield { number, key: at, start, end: start + length, value: wire === WIRE.varint ? first!.value : undefined };
    at = start + length;
  }
}

/** A string. */
export function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** A field of bytes: key, length and content. */
export function writeField(number: number, content: readonly Uint8Array[]): Uint8Array[] {
  const length = content.reduce((sum, part) => sum + part.length, 0);
  return [Uint8Array.from([...writeVarint(number * 8 + WIRE.bytes), ...writeVarint(length)]), ...content];
}

function writeVarint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return [...bytes, rest];
}

function varint(bytes: Uint8Array, start: number): { value: number; end: number } {
  let value = 0;
  for (let i = 0; i < 10; i++) {
    const byte = bytes[start + i];
    if (byte === undefined) break;
    value += (byte % 128) * 2 ** (7 * i);
    if (byte < 128) return { value, end: start + i + 1 };
  }
  return fail();
}

function fail(): never {
  throw new WireError("bytes that are no message");
}
