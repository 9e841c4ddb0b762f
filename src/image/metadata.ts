/** @file What a generated picture says about itself: its prompt and seed, as the programs that make pictures write them. */

import { promptOfGraph } from "./comfy-graph.js";
import { parseInfotext } from "./infotext.js";
import { isPng } from "./png-chunks.js";
import { readPngText } from "./png.js";

/** What a picture's metadata says of its making. */
export interface GenerationData {
  readonly prompt: string;
  readonly negativePrompt: string | undefined;
  readonly seed: number | undefined;
  /** What a reward read in its place, where the picture says so: Laurel's own do when the two differ. */
  readonly rewardPrompt?: string | undefined;
  /** What wrote it. */
  readonly source: "laurel" | "infotext" | "comfyui" | "novelai";
}

/** Why a picture has no prompt of its own. */
export interface NoPrompt {
  /** `its ComfyUI graph draws several prompts`. */
  readonly missing: string;
}

/**
 * Reads the generation data of a picture: Laurel's own record, AUTOMATIC1111's `parameters` (PNG text, or the EXIF user comment of JPEG, WebP and AVIF),
 * ComfyUI's graph (PNG text, or the EXIF fields of its WebP files), NovelAI's comment.
 * @returns undefined when there is none, or none that can be read: metadata is never a reason to refuse a picture
 */
export async function readGenerationData(bytes: Uint8Array, where: string): Promise<GenerationData | undefined> {
  const found = await findGenerationData(bytes, where);
  return "missing" in found ? undefined : found;
}

/** As {@link readGenerationData}; where there is none, why. */
export async function findGenerationData(bytes: Uint8Array, where: string): Promise<GenerationData | NoPrompt> {
  const texts = await metadataTexts(bytes, where);
  const record = ofRecord(texts.get("laurel"));
  if (record !== undefined) return record;
  const novel = texts.get("Software") === "NovelAI" ? ofNovelAi(texts) : undefined;
  if (novel !== undefined) return novel;
  const parameters = texts.get("parameters");
  const infotext = parameters === undefined ? undefined : ofInfotext(parameters);
  if (infotext !== undefined) return infotext;
  const graph = texts.get("prompt");
  if (graph !== undefined) return ofGraph(graph);
  return { missing: parameters === undefined ? "no prompt in its metadata" : "its infotext has no prompt" };
}

/** The texts of a picture's metadata by their keywords; EXIF data's by those that PNG files have for the same: `parameters`, `prompt`. */
export async function metadataTexts(bytes: Uint8Array, where: string): Promise<Map<string, string>> {
  return isPng(bytes) ? pngTexts(bytes, where) : exifTexts(bytes);
}

function pngTexts(bytes: Uint8Array, where: string): Map<string, string> {
  try {
    return new Map(readPngText(bytes, where).map(({ keyword, value }) => [keyword, value]));
  } catch {
    return new Map();
  }
}

function ofRecord(text: string | undefined): GenerationData | undefined {
  const record = jsonObject(text);
  const prompt = record?.["prompt"];
  if (typeof prompt !== "string" || prompt.trim() === "") return undefined;
  return {
    prompt,
    negativePrompt: stringOf(record?.["negativePrompt"]),
    seed: seedOf(record?.["seed"]),
    rewardPrompt: stringOf(record?.["rewardPrompt"]),
    source: "laurel",
  };
}

function ofInfotext(text: string): GenerationData | undefined {
  const { prompt, negativePrompt, pairs } = parseInfotext(text);
  if (prompt === "") return undefined;
  return { prompt, negativePrompt, seed: seedOf(Number(pairs.get("Seed") ?? "none")), source: "infotext" };
}

function ofNovelAi(texts: ReadonlyMap<string, string>): GenerationData | undefined {
  const comment = jsonObject(texts.get("Comment"));
  const prompt = stringOf(comment?.["prompt"]) ?? texts.get("Description");
  if (prompt === undefined || prompt.trim() === "") return undefined;
  return { prompt, negativePrompt: stringOf(comment?.["uc"]), seed: seedOf(comment?.["seed"]), source: "novelai" };
}

function ofGraph(text: string): GenerationData | NoPrompt {
  const graph = jsonObject(text);
  if (graph === undefined) return { missing: "its text named prompt is no ComfyUI graph" };
  const found = promptOfGraph(graph);
  if ("missing" in found) return found;
  return { ...found, seed: seedOf(found.seed), source: "comfyui" };
}

/** What EXIF data say, by the names that the texts of PNG files have. */
async function exifTexts(bytes: Uint8Array): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  try {
    const { default: sharp } = await import("sharp");
    const { exif } = await sharp(bytes).metadata();
    if (exif === undefined) return texts;
    const { default: readExif } = await import("exif-reader");
    const { Photo, Image } = readExif(exif);
    const comment: unknown = Photo?.UserComment;
    const parameters = comment instanceof Uint8Array ? decodeComment(comment) : comment;
    if (typeof parameters === "string") texts.set("parameters", parameters.replace(/\0+$/, ""));
    // ComfyUI keeps `prompt:{...}` and `workflow:{...}` in whatever fields of text come first
    for (const value of Object.values(Image ?? {}) as unknown[]) {
      const [, keyword, graph] = (typeof value === "string" && /^(prompt|workflow):\s*(\{.*)/s.exec(value)) || [];
      if (keyword !== undefined && graph !== undefined) texts.set(keyword, graph.replace(/\0+$/, ""));
    }
  } catch {
    // what cannot be read says nothing
  }
  return texts;
}

/** EXIF user comment: eight bytes name its encoding. */
function decodeComment(comment: Uint8Array): string | undefined {
  const bytes = Buffer.from(comment);
  const encoding = bytes.subarray(0, 8).toString("latin1");
  const content = bytes.subarray(8);
  if (encoding.startsWith("ASCII")) return content.toString("utf8");
  if (!encoding.startsWith("UNICODE")) return bytes.toString("utf8");
  // UTF-16 in the byte order of the file; text in Latin letters has its zero bytes on one side
  const zeros = [0, 0];
  content.forEach((byte, i) => (zeros[i % 2]! += byte === 0 ? 1 : 0));
  return new TextDecoder(zeros[0]! > zeros[1]! ? "utf-16be" : "utf-16le").decode(content);
}

function jsonObject(text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === "object" && json !== null && !Array.isArray(json)
      ? (json as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function stringOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function seedOf(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}
