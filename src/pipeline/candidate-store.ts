/** @file Candidates on disk: an image under a temporary name, renamed, then its line in candidates.jsonl. */

import { type FileHandle, mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { encodePng, type PngText } from "../image/png.js";
import type { RgbImage } from "../image/types.js";
import { sha256, writeFileAtomic } from "../util/files.js";
import { candidateImagePath, type CandidateLine, type CandidateRecord } from "./candidate-record.js";
import { infotext } from "./infotext.js";

/** How candidates are written. */
export interface StoreOptions {
  /** Sync every image and line to the disk before going on. @default false */
  readonly durable?: boolean | undefined;
}

/** Name of the list of candidates in a run's folder. */
export const CANDIDATES_FILE = "candidates.jsonl";

/** The candidates of a run that this process works on. */
export class CandidateStore {
  readonly #directory: string;
  readonly #lines: FileHandle;
  readonly #durable: boolean;
  readonly #folders = new Set<string>();
  /** Ends when the last line is written: lines go one after the other, whoever stores them. */
  #writing: Promise<void> = Promise.resolve();

  private constructor(directory: string, lines: FileHandle, durable: boolean) {
    this.#directory = directory;
    this.#lines = lines;
    this.#durable = durable;
  }

  /** Opens the list in `directory` for appending; what a kill left behind has been set right before. */
  static async open(directory: string, { durable = false }: StoreOptions): Promise<CandidateStore> {
    return new CandidateStore(directory, await open(join(directory, CANDIDATES_FILE), "a"), durable);
  }

  /**
   * Stores a candidate. Returns its line; killed before, there is none and the image is not counted.
   * @param extra what only the line says, not the image
   */
  async append<Extra extends object = object>(
    record: CandidateRecord,
    picture: RgbImage,
    extra?: Extra,
  ): Promise<CandidateLine & Extra> {
    const png = await encodePng(picture, imageText(record));
    const image = candidateImagePath(record);
    const path = join(this.#directory, image);
    if (!this.#folders.has(dirname(path))) {
      await mkdir(dirname(path), { recursive: true });
      this.#folders.add(dirname(path));
    }
    await writeFileAtomic(path, png, { durable: this.#durable });
    const line = { ...record, ...(extra as Extra), image, bytes: png.byteLength, sha256: sha256(png) };
    await this.#writeLine(`${JSON.stringify(line)}\n`);
    return line;
  }

  #writeLine(text: string): Promise<void> {
    const written = this.#writing.then(async () => {
      await this.#lines.appendFile(text);
      if (this.#durable) await this.#lines.datasync();
    });
    this.#writing = written.catch(() => undefined);
    return written;
  }

  /** Closes the list. */
  close(): Promise<void> {
    return this.#lines.close();
  }
}

/** The text chunks of a candidate's PNG. */
export function imageText(record: CandidateRecord): PngText[] {
  return [
    { keyword: "parameters", value: infotext(record) },
    { keyword: "laurel", value: JSON.stringify(record), international: true },
  ];
}
