/** @file What a dataset is made of, whatever its format: scored pictures of prompts, and pairs of them. Pictures stay in their files until written. */

import { UsageError } from "../../errors.js";
import { sha256 } from "../../util/files.js";
import { readBytes } from "../../util/read-file.js";

/** A scored picture in its file, with what is known of it. */
export interface DatasetImage {
  /** Of the PNG, absolute. */
  readonly path: string;
  /** Size of the file. */
  readonly bytes: number;
  /** Of the file, hex. */
  readonly sha256: string;
  readonly width: number;
  readonly height: number;
  /** What it was scored against, as the reward read it. */
  readonly prompt: string;
  /** The same for equal prompts of all runs. */
  readonly promptId: string;
  /** What was drawn: the prompt with its syntax, filled into a template or refined. */
  readonly drawn: string;
  readonly seed: number;
  readonly runId: string;
  /** Name of the pipeline's item; null for a run of one prompt. */
  readonly item: string | null;
  /** Of the candidate in its run. */
  readonly index: number;
  readonly backend: string;
  readonly model: string;
  /** Name of the reward. */
  readonly reward: string;
  readonly score: number;
  /** Among the pictures of its prompt: 1 plus the number of those that score higher. */
  readonly rank: number;
}

/** Two pictures of one prompt, the better one with the higher score. */
export interface PreferenceRow {
  readonly prompt: string;
  readonly better: DatasetImage;
  readonly worse: DatasetImage;
}

/** Watches and ends the writing of a dataset. */
export interface WriteOptions {
  /** Replace a dataset that is there. @default false */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each row with the number of rows written. */
  readonly onRow?: ((written: number) => void) | undefined;
}

/** What was written. */
export interface WrittenDataset {
  /** Absolute, in order. */
  readonly files: readonly string[];
  readonly rows: number;
  /** Pictures written; a format that holds a picture once counts it once. */
  readonly pictures: number;
  readonly bytes: number;
}

/** The file's bytes as they are. @throws UsageError when it is not the picture that its run recorded */
export async function pictureBytes({ path, bytes, sha256: digest }: DatasetImage): Promise<Uint8Array> {
  const content = await readBytes(path, { expected: "a picture of the run", limit: bytes, as: UsageError });
  const actual = sha256(content);
  if (actual === digest) return content;
  throw new UsageError(
    `${path}: expected the picture that the run recorded (SHA-256 ${digest.slice(0, 12)}), got another (${actual.slice(0, 12)})`,
  );
}

/** What is told of a picture beside it, by the names that datasets have for it. */
export function imageFacts(image: DatasetImage): Readonly<Record<string, unknown>> {
  return {
    run_id: image.runId,
    item: image.item,
    index: image.index,
    drawn: image.drawn,
    seed: image.seed,
    backend: image.backend,
    model: image.model,
    scores: { [image.reward]: image.score },
    rank: image.rank,
    width: image.width,
    height: image.height,
    sha256: image.sha256,
  };
}

/** Which of two pictures stands first: by their digests, so that the better one is no more often on one side than on the other. */
export function betterFirst({ better, worse }: PreferenceRow): boolean {
  return Number.parseInt(sha256(better.sha256 + worse.sha256).slice(0, 2), 16) % 2 === 0;
}
