/** @file The backend `sdcpp`: the server of stable-diffusion.cpp, by its own jobs, or by the compatible routes of servers that have none. */

import { z } from "zod";
import { toMask } from "../diffusion/pixels.js";
import { readGenerationData } from "../image/metadata.js";
import { encodePng } from "../image/png.js";
import { resizeLanczos } from "../image/resize.js";
import { PROMPT_SYNTAXES } from "../prompts/attention-syntax.js";
import { UsageError } from "../errors.js";
import type { GeneratedGroup, ImageBackend, ImageRequest } from "./contract.js";
import { drawGroups, type GroupOptions, type SeedGroup } from "./groups.js";
import type { HttpServer } from "./http/client.js";
import { openOpenai } from "./openai.js";
import { bytesOfBase64, decodeReceived, sizeWarning } from "./received.js";
import { checkRequest } from "./resolve.js";
import { askServer, parseAnswer, type SdcppServer } from "./sdcpp/capabilities.js";
import { type JobOptions, runJob } from "./sdcpp/job.js";
import { type WrittenPrompts, writtenPrompts } from "./sdcpp/prompt.js";
import { named, type ServerLora } from "./server-names.js";
import { samplerNames, samplerValues, SDCPP_DIALECT, type ServerSamplers } from "./server-samplers.js";

/** How a server of stable-diffusion.cpp is used. */
export interface SdcppOptions {
  /** Noise schedule for samplers that say none. @default the server's */
  readonly scheduler?: string | undefined;
  /** LoRAs in the server's folder. @default none */
  readonly loras?: readonly ServerLora[] | undefined;
  /** Most candidates in one job. @default 4 */
  readonly maximumBatch?: number | undefined;
  /** Jobs in the server's queue at once. @default 2, one drawn and one waiting */
  readonly concurrency?: number | undefined;
  /** Milliseconds a job may take once the server has begun with it. @default 600000 */
  readonly timeoutMs?: number | undefined;
  /** Most milliseconds between two questions. @default 1000 */
  readonly pollMs?: number | undefined;
}

const MAXIMUM_CLIP_SKIP = 12;
/** Times a group is drawn again that was lost or cancelled at the server. */
const REDRAWS = 2;
const compatSchema = z.object({ images: z.array(z.string()).nullable() });

/**
 * Opens a server: asks what it has. Where the jobs are missing, the WebUI's routes are used, or OpenAI's, with what they lack as warnings.
 * @throws HttpError when it cannot be reached or has none of the routes, UsageError for a schedule or a LoRA that it does not have
 */
export async function openSdcpp(
  server: HttpServer,
  options: SdcppOptions = {},
  signal?: AbortSignal,
): Promise<ImageBackend> {
  const said = await askServer(server, signal);
  const { scheduler, loras = [] } = options;
  if (scheduler !== undefined && !said.schedulers.includes(scheduler)) {
    throw new UsageError(
      `${server.name}: scheduler: expected one of ${said.schedulers.join(", ") || "none"}, got ${scheduler}`,
    );
  }
  const lora = loras.map(({ name, scale = 1 }, i) => ({
    path: named(
      name,
      said.loras.map(({ path }) => path),
      `${server.name}: loras[${i}]`,
    ),
    multiplier: scale,
  }));
  if (said.routes === "openai") return openaiRoutes(server);
  const native = said.routes === "native";
  // the WebUI's routes answer one call after the other
  const concurrency = native ? Math.min(options.concurrency ?? 2, said.limits.queue) : 1;
  const known: ServerSamplers = { dialect: SDCPP_DIALECT, samplers: said.samplers, schedulers: said.schedulers };
  const drawing = { server, said, known, schedule: scheduler, lora, ...jobOptions(options) };
  const backend: ImageBackend = {
    name: "sdcpp",
    model: { name: said.model, path: undefined },
    capabilities: { ...capabilitiesOf(said, known, options.maximumBatch), concurrency },
    defaults: { ...said.defaults, batch: 1 },
    async *generate(request, given = {}) {
      checkRequest(backend, request);
      const prompts = writtenPrompts(server.name, request);
      const inputs = await encodeInputs(request);
      yield* drawGroups(request, concurrency, given, (group, watched) =>
        server.during(watched.signal, (signal) =>
          drawGroup({ ...drawing, request, prompts, inputs }, group, { ...watched, signal }),
        ),
      );
    },
    async probe(asking) {
      const now = await askServer(server, asking);
      return [`${server.name}: ${now.model}, ${now.samplers.length} samplers${native ? "" : ", without jobs"}`];
    },
    dispose: () => server.close(),
  };
  return backend;
}

function jobOptions({ pollMs = 1000, timeoutMs = 600_000 }: SdcppOptions): JobOptions {
  return { pollMs, timeoutMs };
}

function capabilitiesOf(
  { limits, stops }: SdcppServer,
  known: ServerSamplers,
  batch = 4,
): ImageBackend["capabilities"] {
  return {
    seeds: "requested",
    cancel: stops ? "drawing" : "waiting",
    negativePrompt: true,
    steps: true,
    guidance: true,
    samplers: samplerNames(known),
    size: { multiple: 8, minimum: Math.ceil(limits.minimum / 8) * 8, maximum: Math.floor(limits.maximum / 8) * 8 },
    maximumBatch: Math.min(batch, limits.batch),
    promptSyntaxes: PROMPT_SYNTAXES,
    clipSkip: MAXIMUM_CLIP_SKIP,
    textToImage: true,
    imageToImage: true,
    inpainting: true,
  };
}

/** What all groups of a request share. */
interface Drawing extends JobOptions {
  readonly server: HttpServer;
  readonly said: SdcppServer;
  readonly known: ServerSamplers;
  readonly schedule: string | undefined;
  readonly lora: readonly { readonly path: string; readonly multiplier: number }[];
  readonly request: ImageRequest;
  readonly prompts: WrittenPrompts;
  /** The picture to start from and the mask, in base64. */
  readonly inputs: { readonly init: string | undefined; readonly mask: string | undefined };
}

async function encodeInputs({ init, mask, width, height }: ImageRequest): Promise<Drawing["inputs"]> {
  const size = { width: width ?? init?.width ?? 0, height: height ?? init?.height ?? 0 };
  const encode = async (data: Uint8Array): Promise<string> =>
    Buffer.from(await encodePng({ ...size, data })).toString("base64");
  const repainted = mask === undefined ? undefined : toMask(mask, size.width, size.height);
  return {
    init: init === undefined ? undefined : await encode(resizeLanczos(init, size.width, size.height).data),
    // white where it is repainted
    mask:
      repainted === undefined
        ? undefined
        : await encode(
            Uint8Array.from({ length: 3 * repainted.length }, (_, i) => 255 * repainted[Math.floor(i / 3)]!),
          ),
  };
}

async function drawGroup(
  drawing: Drawing,
  group: SeedGroup,
  { signal, onProgress }: GroupOptions,
): Promise<GeneratedGroup> {
  const { said, request } = drawing;
  const images = said.routes === "native" ? await byJob(drawing, group, signal) : await byCall(drawing, group, signal);
  const drawn = await readGroup(drawing, group, images);
  const steps = request.steps ?? 1;
  onProgress({ step: steps, steps, candidates: group.count });
  return drawn;
}

async function byJob(drawing: Drawing, group: SeedGroup, signal: AbortSignal): Promise<readonly string[]> {
  const { server } = drawing;
  for (let redraws = 0; ; redraws++) {
    const outcome = await runJob(server, jobBody(drawing, group), drawing, signal);
    if (outcome.kind === "done") return outcome.images;
    if (redraws < REDRAWS) continue;
    const actual =
      outcome.kind === "lost" ? "a job that the server no longer knows" : "one that was cancelled at the server";
    throw server.fault("unavailable", `img_gen: expected a finished job, got ${actual}`);
  }
}

function jobBody({ known, schedule, lora, request, prompts, inputs }: Drawing, { seed, count }: SeedGroup): unknown {
  const { sampler, scheduler } = samplerValues(request.sampler, schedule, known);
  return {
    prompt: prompts.prompt,
    negative_prompt: prompts.negativePrompt,
    width: request.width,
    height: request.height,
    seed,
    batch_count: count,
    clip_skip: request.clipSkip,
    strength: request.strength,
    init_image: inputs.init,
    mask_image: inputs.mask,
    sample_params: {
      sample_method: sampler,
      scheduler,
      sample_steps: request.steps,
      guidance: request.guidance === undefined ? undefined : { txt_cfg: request.guidance },
    },
    lora: lora.length === 0 ? undefined : lora,
    // the seed of each picture is read from it
    embed_image_metadata: true,
    output_format: "png",
  };
}

/** By the WebUI's routes, of which the server has a part. */
async function byCall(drawing: Drawing, { seed, count }: SeedGroup, signal: AbortSignal): Promise<readonly string[]> {
  const { server, known, schedule, lora, request, prompts, inputs } = drawing;
  const { sampler, scheduler } = samplerValues(request.sampler, schedule, known);
  const path = inputs.init === undefined ? "sdapi/v1/txt2img" : "sdapi/v1/img2img";
  const body = {
    prompt: prompts.prompt,
    negative_prompt: prompts.negativePrompt,
    width: request.width,
    height: request.height,
    steps: request.steps,
    cfg_scale: request.guidance,
    seed,
    batch_size: count,
    clip_skip: request.clipSkip,
    sampler_name: sampler,
    scheduler,
    lora: lora.length === 0 ? undefined : lora,
    init_images: inputs.init === undefined ? undefined : [inputs.init],
    mask: inputs.mask,
    denoising_strength: request.strength,
  };
  return parseAnswer(server, path, compatSchema, await server.json(path, { body, signal })).images ?? [];
}

async function readGroup(
  { server, said, request, prompts }: Drawing,
  { seed: first, count }: SeedGroup,
  encoded: readonly string[],
): Promise<GeneratedGroup> {
  if (encoded.length !== count) throw server.fault("bad-response", `expected ${count} pictures, got ${encoded.length}`);
  const warnings = new Set<string>(prompts.warnings);
  if (said.routes === "webui") {
    warnings.add(`${server.name}: it has no jobs (/sdcpp/v1), only the WebUI's routes: nothing can be cancelled there`);
  }
  const images = await Promise.all(
    encoded.map(async (text, i) => {
      const seed = first + i;
      const where = `${server.name}: picture ${i}`;
      const bytes = bytesOfBase64(text, where);
      const image = await decodeReceived(bytes, where);
      for (const message of sizeWarning(server.name, request, image)) warnings.add(message);
      const reportedSeed = (await readGenerationData(bytes, where))?.seed ?? null;
      if (reportedSeed !== null && reportedSeed !== seed) {
        warnings.add(`${server.name}: expected seeds from ${request.seed}, got ${reportedSeed} instead of ${seed}`);
      }
      return { seed, image, evaluations: 0, reportedSeed, source: server.name };
    }),
  );
  return { images, warnings: [...warnings] };
}

/** A server with nothing but OpenAI's routes: prompt, number and size. */
function openaiRoutes(server: HttpServer): ImageBackend {
  const inner = openOpenai(server, { prefix: "v1/", concurrency: 1, maximumBatch: 4 });
  return {
    ...inner,
    name: "sdcpp",
    async *generate(request, given) {
      const { prompt, warnings } = writtenPrompts(server.name, request);
      const gap = `${server.name}: it has neither jobs (/sdcpp/v1) nor the WebUI's routes, only OpenAI's: prompt and size alone can be asked for`;
      for await (const group of inner.generate({ ...request, prompt }, given)) {
        yield { ...group, warnings: [gap, ...warnings, ...group.warnings] };
      }
    },
  };
}
