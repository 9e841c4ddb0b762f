/** @file The backend `openai`: any server with `/v1/images/generations` - OpenAI itself, LocalAI, stable-diffusion.cpp, ... */

import { z } from "zod";
import type { GeneratedGroup, ImageBackend, ImageRequest } from "./contract.js";
import { drawGroups, type GroupOptions, type SeedGroup } from "./groups.js";
import type { HttpServer } from "./http/client.js";
import { HttpError } from "./http/error.js";
import { bytesOfBase64, decodeReceived, sizeWarning } from "./received.js";
import { checkRequest, NO_DEFAULTS } from "./resolve.js";

/** How such a server is used. */
export interface OpenaiOptions {
  readonly model?: string | undefined;
  readonly quality?: string | undefined;
  /** Further fields of the request, as the server documents them. */
  readonly extra?: Readonly<Record<string, string | number | boolean>> | undefined;
  /** Pictures in one call. @default 10, and 1 for dall-e-3, which draws no more */
  readonly maximumBatch?: number | undefined;
  /** Calls at once. @default 4 */
  readonly concurrency?: number | undefined;
  /** Where its routes begin, for a server whose address does not say it, for example `v1/`. @default "" */
  readonly prefix?: string | undefined;
}

const ROUTE = "images/generations";
const MAXIMUM_SIDE = 4096;

const replySchema = z.object({
  data: z.array(
    z.object({
      b64_json: z.string().nullish(),
      url: z.string().nullish(),
      revised_prompt: z.string().nullish(),
    }),
  ),
});

/**
 * Opens such a server. Nothing is asked yet: the contract has no question that costs nothing.
 * The contract knows no seed, no negative prompt, no steps and no guidance: asking for them is a warning.
 */
export function openOpenai(server: HttpServer, options: OpenaiOptions = {}): ImageBackend {
  const single = options.model === "dall-e-3";
  const backend: ImageBackend = {
    name: "openai",
    model: { name: options.model ?? "the server's", path: undefined },
    capabilities: {
      seeds: "none",
      cancel: "waiting",
      negativePrompt: false,
      steps: false,
      guidance: false,
      samplers: [],
      size: { multiple: 8, minimum: 64, maximum: MAXIMUM_SIDE },
      maximumBatch: single ? 1 : (options.maximumBatch ?? 10),
      concurrency: options.concurrency ?? 4,
      textToImage: true,
      imageToImage: false,
      inpainting: false,
    },
    defaults: NO_DEFAULTS,
    async *generate(request, given = {}) {
      checkRequest(backend, request);
      yield* drawGroups(request, options.concurrency ?? 4, given, (group, watched) =>
        drawGroup(server, options, request, group, watched),
      );
    },
    async probe(signal) {
      try {
        await server.json(`${options.prefix ?? ""}models`, { signal, timeoutMs: 30_000 });
        return [`${server.name}: it answers, and takes the key`];
      } catch (error) {
        // the list of models is no part of the contract
        if (!(error instanceof HttpError) || error.status !== 404) throw error;
        return [`${server.name}: it answers; whether it takes the key shows with the first picture`];
      }
    },
    dispose: () => server.close(),
  };
  return backend;
}

async function drawGroup(
  server: HttpServer,
  options: OpenaiOptions,
  request: ImageRequest,
  group: SeedGroup,
  { signal, onProgress }: GroupOptions,
): Promise<GeneratedGroup> {
  const { width, height } = request;
  const route = `${options.prefix ?? ""}${ROUTE}`;
  const body = {
    ...options.extra,
    prompt: request.prompt,
    n: group.count,
    ...(options.model === undefined ? {} : { model: options.model }),
    ...(options.quality === undefined ? {} : { quality: options.quality }),
    ...(width === undefined || height === undefined ? {} : { size: `${width}x${height}` }),
    // newer models refuse the field and always send base64; these send addresses unless told otherwise
    ...(options.model?.startsWith("dall-e") === true ? { response_format: "b64_json" } : {}),
  };
  const parsed = replySchema.safeParse(await server.json(route, { body, signal }));
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path, message }) => `${path.join(".") || "answer"}: ${message}`);
    throw server.fault("bad-response", `${route}: expected a list of pictures, got ${faults.join("; ")}`);
  }
  const { data } = parsed.data;
  if (data.length !== group.count) {
    throw server.fault("bad-response", `${route}: expected ${group.count} pictures, got ${data.length}`);
  }
  const warnings = new Set<string>([
    `${server.name}: it takes no seeds: the same request gives other pictures each time`,
  ]);
  const images = await Promise.all(
    data.map(async ({ b64_json: encoded, url, revised_prompt: revised }, i) => {
      const where = `${server.name}: ${route}: picture ${i}`;
      if (typeof encoded !== "string" && typeof url !== "string") {
        throw server.fault("bad-response", `${route}: picture ${i}: expected b64_json or url, got neither`);
      }
      const bytes =
        typeof encoded === "string" ? bytesOfBase64(encoded, where) : (await server.download(url!, { signal })).bytes;
      const image = await decodeReceived(bytes, where);
      for (const message of sizeWarning(server.name, request, image)) warnings.add(message);
      const changed = typeof revised === "string" && revised !== "" && revised !== request.prompt;
      if (changed)
        warnings.add(`${server.name}: it rewrote the prompt before drawing; the record of each picture says to what`);
      return {
        seed: group.seed + i,
        image,
        evaluations: 0,
        reportedSeed: null,
        source: server.name,
        ...(changed ? { revisedPrompt: revised } : {}),
      };
    }),
  );
  onProgress({ step: 1, steps: 1, candidates: group.count });
  return { images, warnings: [...warnings] };
}
