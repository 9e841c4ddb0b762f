/** @file The backend `webui`: the API of AUTOMATIC1111's Stable Diffusion WebUI and of Forge (`--api`). */

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { UsageError } from "../errors.js";
import { encodePng } from "../image/png.js";
import type { RgbImage } from "../image/types.js";
import { PROMPT_SYNTAXES } from "../prompts/attention-syntax.js";
import type { GeneratedGroup, ImageBackend, ImageRequest } from "./contract.js";
import { drawGroups, type GroupOptions, type SeedGroup } from "./groups.js";
import type { HttpServer } from "./http/client.js";
import { HttpError } from "./http/error.js";
import { bytesOfBase64, decodeReceived, sizeWarning } from "./received.js";
import { checkRequest } from "./resolve.js";
import { escapePrompt, hasComment } from "./webui-prompt.js";
import { samplerFields, samplerNames, type WebuiSamplers } from "./webui-samplers.js";

/** How a WebUI is used. */
export interface WebuiOptions {
  /** Checkpoint to draw with, by title or name; undefined leaves the one that is loaded. */
  readonly model?: string | undefined;
  /** Noise schedule beside the sampler, for example `Karras` (WebUI 1.9 and later). */
  readonly scheduler?: string | undefined;
  /** Most candidates in one call. @default 4 */
  readonly maximumBatch?: number | undefined;
  /** Milliseconds between two questions after the progress. @default 500 */
  readonly pollMs?: number | undefined;
}

const MAXIMUM_SIDE = 4096;
/** Of the server's slider, for the text encoder of Stable Diffusion 1.x. */
const MAXIMUM_CLIP_SKIP = 12;
/** Milliseconds that telling the server of a cancellation may take. */
const INTERRUPT_MS = 2000;
/** Times a group is drawn again when somebody at the server interrupted it. */
const REDRAWS = 2;

const replySchema = z.object({ images: z.array(z.string()).nullable(), info: z.string() });
const infoSchema = z.object({
  all_seeds: z.array(z.number().int()).optional(),
  index_of_first_image: z.number().int().nonnegative().optional(),
});
const samplersSchema = z.array(z.object({ name: z.string(), aliases: z.array(z.string()).optional() }));
const schedulersSchema = z.array(z.object({ label: z.string() }));
const modelsSchema = z.array(z.object({ title: z.string(), model_name: z.string() }));
const optionsSchema = z.object({ sd_model_checkpoint: z.string().nullish() });
const taskSchema = z.object({ active: z.boolean(), progress: z.number().nullish() });
const progressSchema = z.object({ state: z.object({ interrupted: z.boolean().optional() }).optional() });

/**
 * Opens a WebUI: asks for its samplers and its checkpoint.
 * @throws HttpError when it cannot be reached or does not speak the API, UsageError for a checkpoint it does not have
 */
export async function openWebui(
  server: HttpServer,
  options: WebuiOptions = {},
  signal?: AbortSignal,
): Promise<ImageBackend> {
  const ask = async <T>(path: string, schema: z.ZodType<T>, asking = signal): Promise<T> =>
    parseReply(server, path, schema, await server.json(path, { signal: asking, timeoutMs: 30_000 }));
  const [samplers, schedulers, loaded] = await Promise.all([
    ask("sdapi/v1/samplers", samplersSchema),
    ask("sdapi/v1/schedulers", schedulersSchema).catch(noneBefore19),
    ask("sdapi/v1/options", optionsSchema),
  ]);
  const known: WebuiSamplers = { samplers, schedules: schedulers.map(({ label }) => label) };
  if (options.model !== undefined) {
    const models = await ask("sdapi/v1/sd-models", modelsSchema);
    const known = models.some(({ title, model_name: name }) => title === options.model || name === options.model);
    if (!known) {
      const names = models.map(({ model_name: name }) => name).join(", ");
      throw new UsageError(`${server.name}: model: expected one of ${names}, got ${options.model}`);
    }
  }
  const model = options.model ?? loaded.sd_model_checkpoint ?? "unknown checkpoint";
  const backend: ImageBackend = {
    name: "webui",
    model: { name: model, path: undefined },
    capabilities: {
      // pictures of one seed are close, not equal, when they are drawn in another batch
      seeds: "requested",
      cancel: "drawing",
      concurrency: 1,
      negativePrompt: true,
      steps: true,
      guidance: true,
      samplers: samplerNames(known),
      size: { multiple: 8, minimum: 64, maximum: MAXIMUM_SIDE },
      maximumBatch: options.maximumBatch ?? 4,
      // the server reads every prompt its own way: what is stated tells the reward how
      promptSyntaxes: PROMPT_SYNTAXES,
      clipSkip: MAXIMUM_CLIP_SKIP,
      textToImage: true,
      imageToImage: true,
      inpainting: true,
    },
    defaults: { steps: 20, guidance: 7, sampler: undefined, width: 512, height: 512, batch: 1 },
    async *generate(request, given = {}) {
      checkRequest(backend, request);
      // one queue lock serves all callers: a second call would only wait
      const inputs = await encodeInputs(request);
      yield* drawGroups(request, 1, given, (group, watched) =>
        server.during(watched.signal, (signal) =>
          drawGroup({ server, options, known, request, inputs }, group, { ...watched, signal }),
        ),
      );
    },
    async probe(asking) {
      const { sd_model_checkpoint: checkpoint } = await ask("sdapi/v1/options", optionsSchema, asking);
      return [`${server.name}: ${checkpoint ?? "no checkpoint loaded"}, ${samplers.length} samplers`];
    },
    dispose: () => server.close(),
  };
  return backend;
}

/** What all groups of a request share. */
interface Drawing {
  readonly server: HttpServer;
  readonly options: WebuiOptions;
  readonly known: WebuiSamplers;
  readonly request: ImageRequest;
  /** Fields of an img2img call; undefined for txt2img. */
  readonly inputs: Readonly<Record<string, unknown>> | undefined;
}

async function drawGroup(drawing: Drawing, group: SeedGroup, given: GroupOptions): Promise<GeneratedGroup> {
  const { server, request, inputs } = drawing;
  const path = inputs === undefined ? "sdapi/v1/txt2img" : "sdapi/v1/img2img";
  for (let redraws = 0; ; redraws++) {
    const task = `task(laurel-${randomUUID()})`;
    const watch = watchTask(drawing, task, group, given);
    let reply: unknown;
    try {
      reply = await server.json(path, { body: requestBody(drawing, group, task), signal: given.signal });
    } catch (error) {
      await watch.stop();
      if (given.signal.aborted) await interrupt(server, task);
      throw error;
    }
    // a picture that somebody stopped half-way looks like a picture: it must not be scored
    if (!(await watch.stop()).interrupted) {
      const result = await readReply(server, path, request, group, reply);
      const steps = request.steps ?? 1;
      given.onProgress({ step: steps, steps, candidates: group.count });
      return result;
    }
    if (redraws >= REDRAWS) {
      throw server.fault(
        "unavailable",
        `${path}: expected finished pictures, got ones that were interrupted at the server`,
      );
    }
  }
}

async function encodeInputs({ init, mask, strength }: ImageRequest): Promise<Drawing["inputs"]> {
  if (init === undefined) return undefined;
  const encoded = async (image: RgbImage): Promise<string> => Buffer.from(await encodePng(image)).toString("base64");
  return {
    init_images: [await encoded(init)],
    denoising_strength: strength,
    // repaint what is white, starting from what is there
    ...(mask === undefined
      ? {}
      : { mask: await encoded(mask), mask_blur: 0, inpainting_fill: 1, inpaint_full_res: false }),
  };
}

function requestBody(
  { options, known, request, inputs }: Drawing,
  group: SeedGroup,
  task: string,
): Record<string, unknown> {
  const plain = request.promptSyntax !== "a1111";
  const written = (prompt: string | undefined): string | undefined =>
    plain && prompt !== undefined ? escapePrompt(prompt) : prompt;
  const body: Record<string, unknown> = {
    prompt: written(request.prompt),
    negative_prompt: written(request.negativePrompt),
    seed: group.seed,
    subseed_strength: 0,
    batch_size: group.count,
    n_iter: 1,
    steps: request.steps,
    cfg_scale: request.guidance,
    width: request.width,
    height: request.height,
    ...samplerFields(request.sampler, options.scheduler, known),
    send_images: true,
    save_images: false,
    do_not_save_samples: true,
    do_not_save_grid: true,
    force_task_id: task,
    override_settings: overrides(options.model, request, plain),
    ...inputs,
  };
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
}

/** Settings of the server for one call; undefined for none. */
function overrides(
  model: string | undefined,
  { prompt, negativePrompt, clipSkip }: ImageRequest,
  plain: boolean,
): Record<string, unknown> | undefined {
  const settings = {
    ...(model === undefined ? {} : { sd_model_checkpoint: model }),
    ...(clipSkip === undefined ? {} : { CLIP_stop_at_last_layers: clipSkip }),
    ...(plain && hasComment(prompt, negativePrompt) ? { enable_prompt_comments: false } : {}),
  };
  return Object.keys(settings).length === 0 ? undefined : settings;
}

/** The pictures of an answer: a grid may come first and control maps last, and `info` is JSON inside a string. */
async function readReply(
  server: HttpServer,
  path: string,
  request: ImageRequest,
  group: SeedGroup,
  reply: unknown,
): Promise<GeneratedGroup> {
  const { images, info: text } = parseReply(server, path, replySchema, reply);
  const info = text === "" ? {} : parseReply(server, `${path}: info`, infoSchema, parseJson(server, text));
  const first = info.index_of_first_image ?? 0;
  const own = (images ?? []).slice(first, first + group.count);
  if (own.length !== group.count) {
    throw server.fault("bad-response", `${path}: expected ${group.count} pictures, got ${own.length}`);
  }
  const warnings = new Set<string>();
  const drawn = await Promise.all(
    own.map(async (encoded, i) => {
      const seed = group.seed + i;
      const where = `${server.name}: ${path}: image ${i}`;
      const image = await decodeReceived(bytesOfBase64(encoded, where), where);
      for (const message of sizeWarning(server.name, request, image)) warnings.add(message);
      const reportedSeed = info.all_seeds?.[i] ?? null;
      if (reportedSeed !== null && reportedSeed !== seed) {
        warnings.add(`${server.name}: expected seeds from ${request.seed}, got ${reportedSeed} instead of ${seed}`);
      }
      return { seed, image, evaluations: 0, reportedSeed, source: server.name };
    }),
  );
  return { images: drawn, warnings: [...warnings] };
}

/** Follows a task: tells its progress, and notices when somebody interrupts it. */
function watchTask(
  { server, options, request: { steps = 1 } }: Drawing,
  task: string,
  { count }: SeedGroup,
  { signal, onProgress }: GroupOptions,
): { stop(): Promise<{ readonly interrupted: boolean }> } {
  const ended = new AbortController();
  const tick = AbortSignal.any([signal, ended.signal]);
  let interrupted = false;
  const watching = (async () => {
    for (;;) {
      await sleep(options.pollMs ?? 500, undefined, { signal: tick });
      const state = await taskState(server, task);
      if (state?.active !== true) continue;
      interrupted ||= await isInterrupted(server);
      const step = Math.min(Math.floor((state.progress ?? 0) * steps), steps - 1);
      if (step > 0 && !tick.aborted) onProgress({ step, steps, candidates: count });
    }
  })().catch(() => undefined);
  return {
    async stop() {
      ended.abort();
      await watching;
      // the flag stands until the next task begins
      if (!signal.aborted) interrupted ||= await isInterrupted(server);
      return { interrupted };
    },
  };
}

/** What the server says of one task; undefined where it cannot tell (forks without the route). */
async function taskState(server: HttpServer, task: string): Promise<z.infer<typeof taskSchema> | undefined> {
  const body = { id_task: task, live_preview: false, id_live_preview: -1 };
  return quietly(server, "internal/progress", taskSchema, body);
}

async function isInterrupted(server: HttpServer): Promise<boolean> {
  const progress = await quietly(server, "sdapi/v1/progress?skip_current_image=true", progressSchema);
  return progress?.state?.interrupted === true;
}

/** Stops our own task, never somebody else's: the server's interrupt knows no task. */
async function interrupt(server: HttpServer, task: string): Promise<void> {
  const deadline = AbortSignal.timeout(INTERRUPT_MS);
  const state = await taskState(server, task);
  if (state?.active !== true) return;
  await server
    .request("sdapi/v1/interrupt", { body: {}, aside: true, signal: deadline, timeoutMs: INTERRUPT_MS })
    .catch(() => undefined);
}

/** A question whose answer is welcome and not needed. */
async function quietly<T>(
  server: HttpServer,
  path: string,
  schema: z.ZodType<T>,
  body?: unknown,
): Promise<T | undefined> {
  try {
    const reply = await server.json(path, { body, aside: true, timeoutMs: INTERRUPT_MS });
    const parsed = schema.safeParse(reply);
    return parsed.success ? parsed.data : undefined;
  } catch (error) {
    if (error instanceof HttpError) return undefined;
    throw error;
  }
}

/** Before version 1.9, and in some forks, schedules are no setting of their own. */
function noneBefore19(error: unknown): readonly { readonly label: string }[] {
  if (error instanceof HttpError && error.status === 404) return [];
  throw error;
}

function parseJson(server: HttpServer, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw server.fault("bad-response", `info: expected JSON, got ${JSON.stringify(text.slice(0, 60))}`, { cause });
  }
}

function parseReply<T>(server: HttpServer, path: string, schema: z.ZodType<T>, json: unknown): T {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path: at, message }) => `${at.join(".") || "answer"}: ${message}`);
  throw server.fault("bad-response", `${path}: expected an answer of the WebUI's API, got ${faults.join("; ")}`);
}
