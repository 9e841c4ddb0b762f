/**
 * @file Taking back the rotation and mirroring that an AVIF file asks for (ISO/IEC 23008-12, `irot` and `imir`): libheif applies them,
 * the reference does not.
 */

/** What a decoder has done to the pixels: turned them anticlockwise, then exchanged rows or columns. */
export interface AvifTransform {
  /** Quarter turns anticlockwise, 0 to 3. */
  readonly turns: number;
  readonly mirror: "rows" | "columns" | undefined;
}

/** The boxes in one another that hold the picture's properties, and the bytes before the boxes in each. */
const CONTAINERS = [
  { type: "meta", skipped: 4 },
  { type: "iprp", skipped: 0 },
  { type: "ipco", skipped: 0 },
] as const;

/** The transform in a file's first properties of each kind; damaged files have none, for the decoder to refuse. */
export function avifTransform(bytes: Uint8Array): AvifTransform {
  let turns: number | undefined;
  let mirror: AvifTransform["mirror"];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const walk = (from: number, to: number, depth: number): void => {
    const container = CONTAINERS[depth];
    for (let at = from; at + 8 <= to;) {
      const size = view.getUint32(at);
      const type = Buffer.from(bytes.subarray(at + 4, at + 8)).toString("latin1");
      const end = size === 0 ? to : at + size;
      if (end < at + 8 || end > to) return;
      if (container !== undefined) {
        if (type === container.type) walk(at + 8 + container.skipped, end, depth + 1);
      } else if (end > at + 8) {
        if (type === "irot") turns ??= view.getUint8(at + 8) & 3;
        if (type === "imir") mirror ??= (view.getUint8(at + 8) & 1) === 0 ? "rows" : "columns";
      }
      at = end;
    }
  };
  walk(0, bytes.length, 0);
  return { turns: turns ?? 0, mirror };
}

/** The pixels as they were before the transform: [height, width, channels] with the sides exchanged for odd turns. */
export function undoTransform(
  { width, height, data }: { readonly width: number; readonly height: number; readonly data: Uint8Array },
  channels: number,
  { turns, mirror }: AvifTransform,
): { width: number; height: number; data: Uint8Array } {
  if (turns === 0 && mirror === undefined) return { width, height, data };
  const stored = turns % 2 === 0 ? { width, height } : { width: height, height: width };
  const out = new Uint8Array(data.length);
  let to = 0;
  for (let y = 0; y < stored.height; y++) {
    for (let x = 0; x < stored.width; x++) {
      // Where the stored pixel was turned to, then mirrored to.
      const column = [x, y, stored.width - 1 - x, stored.height - 1 - y][turns] as number;
      const row = [y, stored.width - 1 - x, stored.height - 1 - y, x][turns] as number;
      const shownColumn = mirror === "columns" ? width - 1 - column : column;
      const shownRow = mirror === "rows" ? height - 1 - row : row;
      const from = (shownRow * width + shownColumn) * channels;
      for (let c = 0; c < channels; c++) out[to++] = data[from + c] as number;
    }
  }
  return { ...stored, data: out };
}
