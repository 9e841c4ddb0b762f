/** @file What EXIF says of a picture's orientation, which the reference ignores and people should know of. */

const ORIENTATION = 0x0112;

/**
 * The orientation in EXIF data (a TIFF header and its first directory): 1 is upright, 2 to 8 are turned or mirrored. Undefined where
 * there is none or the data are damaged: nothing of the picture depends on it.
 */
export function exifOrientation(exif: Uint8Array): number | undefined {
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  if (exif.length < 8) return undefined;
  const mark = view.getUint16(0);
  const little = mark === 0x4949;
  if (!little && mark !== 0x4d4d) return undefined;
  const directory = view.getUint32(4, little);
  if (directory + 2 > exif.length) return undefined;
  const entries = view.getUint16(directory, little);
  for (let i = 0, at = directory + 2; i < entries && at + 12 <= exif.length; i++, at += 12) {
    if (view.getUint16(at, little) === ORIENTATION) return view.getUint16(at + 8, little);
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
