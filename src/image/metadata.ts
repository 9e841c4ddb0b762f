/** @file What a generated picture says about itself: its prompt and seed, as the programs that make pictures write them. */

import { parseInfotext } from "./infotext.js";
import { isPng } from "./png-chunks.js";
import { readPngText } from "./png.js";

/** What a picture's metadata says of its making. */
export interface GenerationData {
  readonly prompt: string;
  readonly negativePrompt: string | undefined;
  readonly seed: number | undefined;
  /** What wrote it. */
  readonly source: "laurel" | "infotext" | "comfyui" | "novelai";
}

/** ComfyUI's links from node to node that are followed to a prompt, at most. */
const MAXIMUM_LINKS = 16;

/**
 * Reads the generation data of a picture: Laurel's own record, AUTOMATIC1111's `parameters` (PNG text, or the EXIF user comment of JPEG, WebP and AVIF),
 * ComfyUI's graph, NovelAI's comment.
 * @returns undefined when there is none, or none that can be read: metadata is never a reason to refuse a picture
 */
export async function readGenerationData(bytes: Uint8Array, where: string): Promise<GenerationData | undefined> {
  const texts = isPng(bytes) ? pngTexts(bytes, where) : new Map<string, string>();
  const record = ofRecord(texts.get("laurel"));
  if (record !== undefined) return record;
  const novel = texts.get("Software") === "NovelAI" ? ofNovelAi(texts) : undefined;
  if (novel !== undefined) return novel;
  const parameters = texts.get("parameters") ?? (isPng(bytes) ? undefined : await userComment(bytes));
  if (parameters !== undefined && parameters.trim() !== "") return ofInfotext(parameters);
  return ofGraph(texts.get("prompt"));
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

/** The text that leads to the first sampler of a graph: node -> `positive` -> ... -> a node with a `text`. */
function ofGraph(text: string | undefined): GenerationData | undefined {
  const graph = jsonObject(text);
  if (graph === undefined) return undefined;
  const inputsOf = (id: unknown): Record<string, unknown> | undefined => {
    const node = typeof id === "string" && Object.hasOwn(graph, id) ? graph[id] : undefined;
    const inputs = typeof node === "object" && node !== null ? (node as { inputs?: unknown }).inputs : undefined;
    return typeof inputs === "object" && inputs !== null ? (inputs as Record<string, unknown>) : undefined;
  };
  const follow = (link: unknown): string | undefined => {
    let next = link;
    for (let links = 0; links < MAXIMUM_LINKS && Array.isArray(next); links++) {
      const inputs = inputsOf(next[0]);
      const found = inputs?.["text"];
      if (typeof found === "string") return found;
      next = inputs?.["conditioning"] ?? inputs?.["conditioning_1"] ?? found;
    }
    return typeof next === "string" ? next : undefined;
  };
  for (const id of Object.keys(graph)) {
    const inputs = inputsOf(id);
    if (inputs === undefined || !Array.isArray(inputs["positive"])) continue;
    const prompt = follow(inputs["positive"]);
    if (prompt === undefined || prompt.trim() === "") continue;
    const seed = seedOf(inputs["seed"] ?? inputs["noise_seed"]);
    return { prompt, negativePrompt: follow(inputs["negative"]), seed, source: "comfyui" };
  }
  return undefined;
}

/** EXIF user comment: eight bytes name its encoding. */
async function userComment(bytes: Uint8Array): Promise<string | undefined> {
  try {
    const { default: sharp } = await import("sharp");
    const { exif } = await sharp(bytes).metadata();
    if (exif === undefined) return undefined;
    const { default: readExif } = await import("exif-reader");
    const comment: unknown = readExif(exif).Photo?.UserComment;
    return comment instanceof Uint8Array ? decodeComment(comment) : typeof comment === "string" ? comment : undefined;
  } catch {
    return undefined;
  }
}

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
