/** @file The backend `folder`: pictures that exist already. A picture's seed is its number, so asking for seeds is asking for pictures. */

import { basename } from "node:path";
import { UsageError } from "../errors.js";
import { decodeImage } from "../image/decode.js";
import { toRgb } from "../image/convert.js";
import { findImages } from "../image/find-images.js";
import { readGenerationData } from "../image/metadata.js";
import { promptBeside } from "../image/sidecar.js";
import { throwIfAborted } from "../util/abort.js";
import { readBytes } from "../util/read-file.js";
import type { GeneratedGroup, GeneratedImage, GenerateOptions, ImageBackend, ImageRequest } from "./contract.js";
import { checkRequest, NO_DEFAULTS } from "./resolve.js";

/** Where prompts of pictures are looked for. */
export type PromptOrigin = "metadata" | "sidecar" | "any";

/** Largest file that is read as a picture. */
const MAXIMUM_BYTES = 512 << 20;

/** One picture of the folder, not yet read. */
interface Entry {
  readonly path: string;
  /** undefined when it carries none: it then goes with any prompt. */
  readonly prompt: string | undefined;
  readonly seed: number | undefined;
}

/**
 * Opens files, folders and patterns as a backend. Every file's metadata and sidecar (`name.txt` or `name.json` beside `name.png`) are read now, its pixels when asked for.
 * @throws UsageError when there is no picture
 */
export async function openFolder(
  paths: readonly string[],
  origin: PromptOrigin = "any",
  signal?: AbortSignal,
): Promise<ImageBackend> {
  const files = await findImages(paths);
  const entries: Entry[] = [];
  for (const path of files) {
    throwIfAborted(signal);
    entries.push(await entryOf(path, origin));
  }
  if (entries.length === 0) throw new UsageError(`${paths.join(", ")}: expected pictures, got none`);
  const backend: ImageBackend = {
    name: "folder",
    model: { name: paths.length === 1 ? basename(paths[0]!) : `${paths.length} places`, path: undefined },
    capabilities: {
      seeds: "exact",
      cancel: "drawing",
      negativePrompt: false,
      steps: false,
      guidance: false,
      samplers: [],
      size: undefined,
      maximumBatch: 64,
      textToImage: true,
      imageToImage: false,
      inpainting: false,
    },
    defaults: { ...NO_DEFAULTS, batch: 16 },
    generate: (request, options = {}) => generate(backend, entries, request, options),
    async *prompts() {
      yield* new Set(entries.flatMap(({ prompt }) => prompt ?? []));
    },
    dispose: async () => undefined,
  };
  return backend;
}

/** Picture `seed + i` of those with the prompt of the request; there may be fewer than asked for. */
async function* generate(
  backend: ImageBackend,
  entries: readonly Entry[],
  request: ImageRequest,
  { signal, onProgress }: GenerateOptions,
): AsyncGenerator<GeneratedGroup, void> {
  checkRequest(backend, request);
  const own = entries.filter(({ prompt }) => prompt === undefined || prompt === request.prompt);
  const end = Math.min(request.seed + request.count, own.length);
  for (let start = request.seed; start < end; start += request.batch) {
    throwIfAborted(signal);
    const group = own.slice(start, Math.min(start + request.batch, end));
    const warnings = new Set<string>();
    const read = await Promise.all(group.map((entry, i) => readEntry(entry, start + i, warnings)));
    onProgress?.({ step: 1, steps: 1, candidates: group.length });
    throwIfAborted(signal);
    const images = read.flatMap((one) => one ?? []);
    yield { images, warnings: [...warnings] };
  }
}

/** undefined for a file that is no picture: it is left out with a warning, so that one broken file does not end the work on a folder. */
async function readEntry(
  { path, seed: own }: Entry,
  seed: number,
  warnings: Set<string>,
): Promise<GeneratedImage | undefined> {
  try {
    const decoded = await decodeImage(await readPicture(path), path);
    for (const message of decoded.warnings) warnings.add(message);
    return { seed, image: toRgb(decoded), evaluations: 0, reportedSeed: own ?? null, source: path };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    warnings.add(`${error.message}; it is left out`);
    return undefined;
  }
}

function readPicture(path: string): Promise<Uint8Array> {
  return readBytes(path, { expected: "a picture", limit: MAXIMUM_BYTES, as: UsageError });
}

async function entryOf(path: string, origin: PromptOrigin): Promise<Entry> {
  const sidecar = origin === "metadata" ? undefined : await promptBeside(path);
  if (sidecar !== undefined) return { path, prompt: sidecar, seed: undefined };
  if (origin === "sidecar") return { path, prompt: undefined, seed: undefined };
  const data = await readPicture(path).then(
    (bytes) => readGenerationData(bytes, path),
    () => undefined, // reported when its pixels are asked for
  );
  return { path, prompt: data?.prompt, seed: data?.seed };
}
