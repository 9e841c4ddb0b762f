/** @file The pictures a run starts from, kept in its folder, so that it can be resumed and repeated wherever it lies. */

import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UsageError } from "../errors.js";
import { decodeRgb } from "../image/decode.js";
import { encodePng } from "../image/png.js";
import type { RgbImage } from "../image/types.js";
import { sha256, writeFileAtomic } from "../util/files.js";
import { readBytes } from "../util/read-file.js";
import type { InputRecord, InputRecords } from "./manifest.js";

/** Largest picture of a run that is read back. */
const MAXIMUM_PICTURE_BYTES = 256 << 20;

/** The pictures of a run that starts from one. */
export interface RunInputs {
  /** What the candidates start from. */
  readonly init?: RgbImage | undefined;
  /** Where it is repainted. */
  readonly mask?: RgbImage | undefined;
}

/** Writes the pictures into `inputs/` of a run's folder, as PNG. */
export async function writeInputs(
  directory: string,
  { init, mask }: RunInputs,
  options: { readonly durable?: boolean },
): Promise<InputRecords> {
  const write = async (path: InputRecord["path"], image: RgbImage | undefined): Promise<InputRecord | null> => {
    if (image === undefined) return null;
    const png = await encodePng(image);
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFileAtomic(join(directory, path), png, options);
    return { path, sha256: sha256(png) };
  };
  return { init: await write("inputs/init.png", init), mask: await write("inputs/mask.png", mask) };
}

/**
 * Reads the pictures of a run from its folder.
 * @throws UsageError when one is missing or is not the one that the run was made with
 */
export async function readInputs(directory: string, { init, mask }: InputRecords): Promise<RunInputs> {
  const read = async (record: InputRecord | null): Promise<RgbImage | undefined> => {
    if (record === null) return undefined;
    const path = join(directory, record.path);
    const png = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
      const reason = cause.code === "ENOENT" ? "no such file" : String(cause.code ?? cause);
      throw new UsageError(`${path}: expected a picture that the run was made with, got ${reason}`, { cause });
    });
    const actual = sha256(png);
    if (actual !== record.sha256) {
      throw new UsageError(
        `${path}: expected the picture that the run was made with (SHA-256 ${record.sha256.slice(0, 12)}), got another (${actual.slice(0, 12)})`,
      );
    }
    return decodeRgb(png, path);
  };
  return { init: await read(init), mask: await read(mask) };
}

/** Reads a stored candidate's picture. @throws UsageError when it is missing, too large or none */
export async function readPicture(path: string): Promise<RgbImage> {
  const options = { expected: "a picture of the run", limit: MAXIMUM_PICTURE_BYTES, as: UsageError };
  return decodeRgb(await readBytes(path, options), path);
}
