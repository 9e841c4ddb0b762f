/** @file A score written into a picture's own file, where other programs find it. Its pixels and everything else in it stay as they are. */

import type { Stats } from "node:fs";
import { chmod, realpath, rename, stat, unlink, utimes, writeFile } from "node:fs/promises";
import { LaurelError, UsageError } from "../../errors.js";
import { takesComment, withComment } from "../../image/container-edit.js";
import { parseInfotext, withInfotextPairs } from "../../image/infotext.js";
import { metadataTexts, readGenerationData } from "../../image/metadata.js";
import { isPng } from "../../image/png-chunks.js";
import { withPngTexts } from "../../image/png-edit.js";
import { rewardKey } from "../../pipeline/infotext.js";
import type { ModelRecord } from "../../pipeline/manifest.js";
import { temporaryName } from "../../util/files.js";
import { writeFault } from "../../util/read-file.js";
import type { PictureScore } from "./picture-score.js";
import { pixelDigest, readPicture } from "./read-picture.js";

/** What is written of a score. Where `digest` is given, pictures with other pixels are left alone. */
export type ScoreNote = Pick<
  PictureScore,
  "score" | "scores" | "heldOut" | "prompt" | "promptFrom" | "width" | "height"
> &
  Partial<Pick<PictureScore, "digest">>;

/** A file after its score was written. */
export interface WrittenFile {
  readonly bytes: number;
  readonly modified: number;
}

/**
 * Writes a score into a PNG, JPEG or WebP file: as a pair of the last line of AUTOMATIC1111's `parameters` (`ImageReward: 0.8312`; PNG text, or the EXIF user comment), which is made where there is none, and in
 * a PNG in Laurel's own text `laurel`, whose other keys are kept. All other bytes stay as they are, those of the pixels above all. The file is replaced as a whole (a hard link is cut, a
 * symbolic one followed) and keeps its rights and its times.
 * @throws UsageError for a file of another kind, a damaged one, other pixels than those that were scored, or a WebP file of ComfyUI, whose reader stumbles over a comment beside its workflow; LaurelError when it cannot be written: it is then as it was
 */
export async function writeScore(path: string, note: ScoreNote, reward: ModelRecord): Promise<WrittenFile> {
  const real = await realpath(path).catch((error: unknown) => {
    throw new UsageError(`${path}: expected a picture to write its score to, got ${writeFault(error)}`);
  });
  const before = await stat(real);
  const bytes = await readPicture(real);
  if (typeof note.digest === "string" && pixelDigest(bytes, path) !== note.digest)
    throw new UsageError(`${path}: expected the picture that was scored, got another; it is left as it is`);
  if (!isPng(bytes) && !takesComment(bytes))
    throw new UsageError(`${path}: expected a PNG, JPEG or WebP file to write its score to, got another kind; it is left as it is`); // prettier-ignore
  const texts = await metadataTexts(bytes, path);
  if (!isPng(bytes) && (texts.has("prompt") || texts.has("workflow")))
    throw new UsageError(`${path}: expected EXIF data that ComfyUI still reads with a comment in them, got its workflow; it is left as it is`); // prettier-ignore
  const start = await startOf(texts.get("parameters"), note, bytes);
  const parameters = withInfotextPairs(start, pairsOf(note, reward, start));
  const pieces = isPng(bytes)
    ? withPngTexts(
        bytes,
        [
          { keyword: "parameters", value: parameters },
          { keyword: "laurel", value: recordOf(texts.get("laurel"), note, reward), international: true },
        ],
        path,
      )
    : withComment(bytes, parameters, path);
  await replace(real, path, pieces, before);
  const { size, mtimeMs } = await stat(real);
  return { bytes: size, modified: mtimeMs };
}

/** The infotext that is there, or what there is to begin one with: the picture's own prompt as it was drawn from, never one that was given for all. */
async function startOf(
  parameters: string | undefined,
  { prompt, promptFrom }: ScoreNote,
  bytes: Uint8Array,
): Promise<string> {
  if (parameters !== undefined && parameters.trim() !== "") return parameters;
  if (promptFrom === "given") return "";
  return (await readGenerationData(bytes, ""))?.prompt ?? prompt ?? "";
}

/** The score, and with it as many pairs as make a line of pairs. A line that is there keeps its size: that of a picture that was enlarged afterwards is another. */
function pairsOf(
  { score, width, height }: ScoreNote,
  { name, digest }: ModelRecord,
  start: string,
): [string, string][] {
  const hasSize = width !== null && height !== null && parseInfotext(start).pairs.size === 0;
  return [
    ...(hasSize ? ([["Size", `${width}x${height}`]] as [string, string][]) : []),
    [rewardKey(name), String(Number((score ?? 0).toFixed(4)))],
    ...(digest === null ? [] : ([["Reward hash", digest.slice(0, 10)]] as [string, string][])),
    ["Scored by", "laurel"],
  ];
}

/** Laurel's text with the score among its `scores`; that of the same reward and prompt is replaced. */
function recordOf(text: string | undefined, note: ScoreNote, reward: ModelRecord): string {
  const record = objectOf(text);
  const { score, scores, heldOut, prompt } = note;
  const { name, digest } = reward;
  const own = { reward: name, digest, prompt, score, ...(scores && { scores }), ...(heldOut && { heldOut }) };
  const before = Array.isArray(record["scores"]) ? (record["scores"] as unknown[]) : [];
  const others = before.filter((one) => {
    const other = one as Partial<typeof own> | null;
    return other?.reward !== name || other.digest !== digest || other.prompt !== prompt;
  });
  return JSON.stringify({ ...record, scores: [...others, own] });
}

function objectOf(text: string | undefined): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(text ?? "{}");
    return typeof json === "object" && json !== null && !Array.isArray(json) ? (json as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Puts the new file in the place of the old one, unless somebody has changed that meanwhile. */
async function replace(real: string, path: string, pieces: readonly Uint8Array[], before: Stats): Promise<void> {
  const staged = temporaryName(real);
  try {
    await writeFile(staged, Buffer.concat(pieces), { flag: "wx" });
    await chmod(staged, before.mode & 0o7777);
    await utimes(staged, before.atimeMs / 1000, before.mtimeMs / 1000);
    const now = await stat(real);
    if (now.mtimeMs !== before.mtimeMs || now.size !== before.size)
      throw new UsageError(
        `${path}: expected a picture that nobody changes meanwhile, got another; it is left as it is`,
      );
    await rename(staged, real);
  } catch (error) {
    await unlink(staged).catch(() => undefined);
    if (error instanceof LaurelError) throw error;
    throw new LaurelError(`${path}: expected a place to write its score, got ${writeFault(error)}; it is as it was`, {
      cause: error,
    });
  }
}
