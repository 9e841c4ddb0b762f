/** @file The backend `comfyui`: a ComfyUI server, with Laurel's own graph or the user's workflow. One prompt a seed, several in its queue. */

import { UsageError } from "../errors.js";
import { PROMPT_SYNTAXES } from "../prompts/attention-syntax.js";
import { openTemplate, type TemplateOptions } from "./comfyui/choose.js";
import { drawEach, type Drawing } from "./comfyui/draw.js";
import type { Slot, Template } from "./comfyui/graph.js";
import { Prompts } from "./comfyui/job.js";
import { interruptsOne, ServerInfo, versionOf } from "./comfyui/server-info.js";
import { Uploads } from "./comfyui/upload.js";
import type { ImageBackend } from "./contract.js";
import { drawGroups } from "./groups.js";
import type { HttpServer } from "./http/client.js";
import { checkRequest } from "./resolve.js";
import { COMFYUI_DIALECT, samplerNames, type ServerSamplers } from "./server-samplers.js";

/** How a ComfyUI server is used. */
export interface ComfyuiOptions extends TemplateOptions {
  /** Noise schedule for samplers that say none, for example `karras`. @default normal, or the workflow's own */
  readonly scheduler?: string | undefined;
  /** Prompts in the server's queue at once. @default 4 */
  readonly concurrency?: number | undefined;
  /** Milliseconds a prompt may take once the server has begun with it. @default 600000 */
  readonly timeoutMs?: number | undefined;
  /** Most milliseconds between two questions where no socket tells. @default 1000 */
  readonly pollMs?: number | undefined;
}

const MAXIMUM_SIDE = 4096;
/** Of Stable Diffusion 1.x's text encoder. */
const MAXIMUM_CLIP_SKIP = 12;

/**
 * Opens a ComfyUI server: asks for its version, and whether it has the checkpoint, the samplers and the node classes that will be needed.
 * @throws HttpError when it cannot be reached or does not speak the API, UsageError for what it does not have and for a workflow that does not fit
 */
export async function openComfyui(
  server: HttpServer,
  options: ComfyuiOptions = {},
  signal?: AbortSignal,
): Promise<ImageBackend> {
  const info = new ServerInfo(server, signal);
  const version = await info.version();
  const template = await openTemplate(server.name, info, options);
  const known: ServerSamplers = {
    dialect: COMFYUI_DIALECT,
    samplers: await choicesOf(template, "sampler", info),
    schedulers: await choicesOf(template, "scheduler", info),
  };
  checkScheduler(server, template, options.scheduler, known);
  const { concurrency = 4, timeoutMs = 600_000, pollMs = 1000 } = options;
  const uploads = new Uploads(server);
  const prompts = new Prompts(server, { pollMs, timeoutMs, targeted: interruptsOne(version) });
  const drawing: Omit<Drawing, "request" | "inputs"> = {
    server,
    template,
    prompts,
    known,
    schedule: options.scheduler,
  };
  const backend: ImageBackend = {
    name: "comfyui",
    model: { name: template.model, path: undefined },
    capabilities: { ...capabilitiesOf(template, known), concurrency },
    defaults: defaultsOf(template, known),
    async *generate(request, given = {}) {
      checkRequest(backend, request);
      try {
        const inputs = await uploads.inputsOf(request, given.signal);
        // one generator makes the noise of a whole batch: only a picture alone can be drawn again from its seed
        yield* drawGroups(request, concurrency, given, (group, watched) =>
          server.during(watched.signal, (signal) =>
            drawEach({ ...drawing, request, inputs }, group, { ...watched, signal }),
          ),
        );
      } catch (error) {
        uploads.forget();
        throw error;
      }
    },
    async probe(asking) {
      const now = (await versionOf(server, asking)) ?? "of an unknown version";
      return [`${server.name}: ComfyUI ${now}, ${template.model}, ${known.samplers.length} samplers`];
    },
    async dispose() {
      prompts.close();
      await server.close();
    },
  };
  return backend;
}

/** Names that a slot may take; none without the slot, or where the server knows no list. */
async function choicesOf({ places, graph }: Template, slot: Slot, info: ServerInfo): Promise<readonly string[]> {
  const place = places.get(slot)?.[0];
  const node = place === undefined ? undefined : graph[place.node];
  return node === undefined ? [] : info.choices(node.class_type, place!.input);
}

/** @throws UsageError for a schedule that the graph or the server does not have */
function checkScheduler(
  { name }: HttpServer,
  { places }: Template,
  scheduler: string | undefined,
  { schedulers }: ServerSamplers,
): void {
  if (scheduler === undefined) return;
  if (!places.has("scheduler")) {
    throw new UsageError(`${name}: scheduler: expected none, since the workflow has no slot for it, got ${scheduler}`);
  }
  if (schedulers.length > 0 && !schedulers.includes(scheduler)) {
    throw new UsageError(`${name}: scheduler: expected one of ${schedulers.join(", ")}, got ${scheduler}`);
  }
}

function capabilitiesOf({ places, required }: Template, known: ServerSamplers): ImageBackend["capabilities"] {
  const has = (slot: Slot): boolean => places.has(slot);
  return {
    // the noise is made on the CPU, whatever device draws; the rest of the arithmetic promises nothing
    seeds: has("seed") ? "requested" : "none",
    cancel: "drawing",
    negativePrompt: has("negative"),
    steps: has("steps"),
    guidance: has("cfg"),
    samplers: has("sampler") ? samplerNames(known) : [],
    size: has("width") ? { multiple: 8, minimum: 64, maximum: MAXIMUM_SIDE } : undefined,
    maximumBatch: 1,
    promptSyntaxes: PROMPT_SYNTAXES,
    clipSkip: has("clip_skip") ? MAXIMUM_CLIP_SKIP : 1,
    textToImage: !required.includes("image") && !required.includes("mask"),
    imageToImage: has("image") && !required.includes("mask"),
    inpainting: has("image") && has("mask"),
  };
}

/** What a request that says nothing gets: the graph's own values. */
function defaultsOf({ places, own }: Template, known: ServerSamplers): ImageBackend["defaults"] {
  const number = (slot: Slot): number | undefined => {
    const value = places.has(slot) ? own[slot] : undefined;
    return typeof value === "number" ? value : undefined;
  };
  const sampler = places.has("sampler") ? own.sampler : undefined;
  return {
    steps: number("steps"),
    guidance: number("cfg"),
    sampler: typeof sampler === "string" && known.samplers.includes(sampler) ? sampler : undefined,
    width: number("width"),
    height: number("height"),
    batch: 1,
  };
}
