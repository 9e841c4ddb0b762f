/** @file A small real backend for tests: it paints a picture from each seed, in groups, without any model. */

import { setTimeout as sleep } from "node:timers/promises";
import type {
  BackendCapabilities,
  GenerateOptions,
  GeneratedGroup,
  ImageBackend,
  ImageRequest,
} from "#laurel/backends/contract";
import { checkRequest } from "#laurel/backends/resolve";
import { CancelledError } from "#laurel/errors";
import { resizeNearest } from "#laurel/image/resize";
import type { RgbImage } from "#laurel/image/types";
import { smallRandom } from "#laurel/util/statistics";

/** How the backend behaves. */
export interface ProceduralOptions {
  /** Milliseconds a group takes. @default 0 */
  readonly groupMs?: number;
  /** What it claims to honour beyond what it does. */
  readonly capabilities?: Partial<BackendCapabilities>;
  /** Called with every request. */
  readonly onRequest?: (request: ImageRequest) => void;
  /** It paints on a picture to start from, where a mask allows it. @default false */
  readonly pictures?: boolean;
  /** Warnings that come with each group. */
  readonly warnings?: readonly string[];
  /** A file that stands for the weights. */
  readonly weights?: string;
}

const STEPS = 4;

/** A backend whose picture is a function of prompt and seed alone: a background and a few rectangles. */
export function createProceduralBackend(options: ProceduralOptions = {}): ImageBackend {
  const backend: ImageBackend = {
    name: "procedural",
    model: { name: "rectangles", path: options.weights },
    capabilities: {
      seeds: "exact",
      cancel: "drawing",
      negativePrompt: true,
      steps: true,
      guidance: false,
      textToImage: true,
      imageToImage: options.pictures ?? false,
      inpainting: options.pictures ?? false,
      samplers: ["paint", "spray"],
      size: { multiple: 4, minimum: 8, maximum: 256 },
      maximumBatch: 8,
      ...options.capabilities,
    },
    defaults: {
      steps: STEPS,
      guidance: undefined,
      sampler: "paint",
      width: 16,
      height: 16,

      batch: 4,
    },
    generate: (request, given = {}) => generate(backend, options, request, given),
    dispose: async () => undefined,
  };
  return backend;
}

async function* generate(
  backend: ImageBackend,
  options: ProceduralOptions,
  request: ImageRequest,
  { signal, onProgress }: GenerateOptions,
): AsyncGenerator<GeneratedGroup, void> {
  options.onRequest?.(request);
  checkRequest(backend, request);
  const steps = request.steps ?? STEPS;
  for (let start = 0; start < request.count; start += request.batch) {
    const seeds = Array.from(
      { length: Math.min(request.batch, request.count - start) },
      (_, i) => request.seed + start + i,
    );
    for (let step = 1; step <= steps; step++) {
      await sleep((options.groupMs ?? 0) / steps, undefined, { signal }).catch((cause: unknown) => {
        throw new CancelledError("the backend was cancelled", { cause });
      });
      onProgress?.({ step, steps, candidates: seeds.length });
    }
    if (signal?.aborted === true) throw new CancelledError("the backend was cancelled");
    yield {
      images: seeds.map((seed) => ({ seed, image: paint(request, seed), evaluations: steps })),
      warnings: options.warnings ?? [],
    };
  }
}

function paint({ prompt, width = 16, height = 16, steps = STEPS, init, mask }: ImageRequest, seed: number): RgbImage {
  const random = smallRandom(
    [...prompt].reduce((hash, c) => (Math.imul(hash, 31) + c.charCodeAt(0)) >>> 0, seed + steps),
  );
  const data = new Uint8Array(width * height * 3);
  const fill = (left: number, top: number, right: number, bottom: number): void => {
    const colour = [random() * 256, random() * 256, random() * 256];
    for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) data.set(colour, (y * width + x) * 3);
  };
  if (init === undefined) fill(0, 0, width, height);
  else data.set(resizeNearest(init, 3, width, height));
  for (let i = 0; i < 3; i++) {
    const left = Math.floor(random() * width * 0.6);
    const top = Math.floor(random() * height * 0.6);
    fill(left, top, Math.min(width, left + Math.ceil(width / 3)), Math.min(height, top + Math.ceil(height / 3)));
  }
  if (init !== undefined && mask !== undefined) {
    const kept = resizeNearest(init, 3, width, height);
    resizeNearest(mask, 3, width, height).forEach((value, i) => value < 128 && (data[i] = kept[i]!));
  }
  return { width, height, data };
}
