/** @file The values a checkpoint's pickle can hold. They are data: nothing in them is ever called. */

/** Everything the interpreter produces. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickleTuple
  | PickleList
  | PickleDict
  | PickleGlobal
  | PickleOpaque
  | StorageReference
  | TensorReference;

/** A Python tuple (or torch.Size). */
export class PickleTuple {
  constructor(readonly items: readonly PickleValue[]) {}
}

/** A Python list. */
export class PickleList {
  constructor(readonly items: PickleValue[] = []) {}
}

/** A Python dict or OrderedDict; keys keep their identity, so no name is special. */
export class PickleDict {
  readonly items = new Map<PickleValue, PickleValue>();
  /** `ordered` is true for an OrderedDict, the only one whose attributes may be set (and are dropped). */
  constructor(readonly ordered: boolean) {}
}

/** A name from the allow-list: `torch.FloatStorage`. */
export class PickleGlobal {
  constructor(readonly name: string) {}
}

/** Something harmless that holds no tensor: bytes, a set, a device. */
export class PickleOpaque {
  constructor(readonly name: string) {}
}

/** A storage of the checkpoint, by key; its numbers are as stored, not yet checked. */
export class StorageReference {
  constructor(
    readonly type: string,
    readonly key: string,
    /** Elements (bytes for an untyped storage). */
    readonly length: PickleValue,
    /** Legacy only: (key, offset, length) of a view into another storage. */
    readonly view: PickleValue,
  ) {}
}

/** A tensor over a storage; its numbers are as stored, not yet checked. */
export class TensorReference {
  constructor(
    readonly storage: StorageReference,
    readonly offset: PickleValue,
    readonly size: PickleValue,
    readonly stride: PickleValue,
    /** Given for an untyped storage: `torch.uint16`. */
    readonly dtype: PickleGlobal | undefined,
    /** Flags such as `conj` or `neg`, which change the values. */
    readonly flags: PickleValue,
  ) {}
}
