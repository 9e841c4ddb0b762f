/** @file What the directory of a TIFF file says, and EXIF data, which are one: orientation, and how colours are meant. */

/** Tags of a directory (TIFF 6.0; EXIF 2.3). */
export const TIFF_TAGS = { compression: 0x0103, photometric: 0x0106, orientation: 0x0112 } as const;

/**
 * The whole number under a tag in the first directory of TIFF or EXIF data. Undefined where there is none or the data are damaged:
 * what needs them more is to refuse them.
 */
export function tiffTag(data: Uint8Array, tag: number): number | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length < 8) return undefined;
  const mark = view.getUint16(0);
  const little = mark === 0x4949;
  if (!little && mark !== 0x4d4d) return undefined;
  const directory = view.getUint32(4, little);
  if (directory + 2 > data.length) return undefined;
  const entries = view.getUint16(directory, little);
  for (let i = 0, at = directory + 2; i < entries && at + 12 <= data.length; i++, at += 12) {
    if (view.getUint16(at, little) === tag) return view.getUint16(at + 8, little);
  }
  return undefined;
}

/** The warning that a picture is taken as it is stored; none when it is stored upright. */
export function orientationWarnings(where: string, orientation: number | undefined): string[] {
  if (orientation === undefined || orientation < 2 || orientation > 8) return [];
  return [orientationWarning(where, `EXIF orientation (${orientation})`)];
}

/** The warning that this instruction of a file is not followed. */
export function orientationWarning(where: string, instruction: string): string {
  return `${where}: its ${instruction} is ignored, as in the reference: it sees the pixels as they are stored`;
}
