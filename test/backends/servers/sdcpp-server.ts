/** @file A server of stable-diffusion.cpp for tests: its jobs, its routes in common with the WebUI and OpenAI, strict about what it is asked. */

import { z } from "zod";
import { encodePng } from "#laurel/image/png";
import { type Answer, type ScriptedServer, startServer } from "./scripted-server.js";
import { paint } from "./webui-server.js";

/** How the server behaves beyond its contract. */
export interface SdcppBehaviour {
  /** Which routes it has. @default all */
  routes?: "native" | "webui" | "openai";
  /** Milliseconds a job takes. @default 0 */
  jobMs?: number;
  /** Jobs that may wait or be drawn. @default 64 */
  queue?: number;
  /** Jobs that are forgotten before anybody asks: the next this many, with this status. */
  lost?: number;
  lostStatus?: 404 | 410;
  /** Jobs that somebody cancels: the next this many. */
  cancellations?: number;
  /** Jobs that fail: the next this many. */
  failures?: number;
  /** Draws from other seeds than asked. */
  otherSeeds?: boolean;
  /** Draws other sizes than asked. */
  otherSize?: boolean;
  /** Draws one picture fewer than asked. */
  fewer?: boolean;
  /** Draws videos alone. */
  videos?: boolean;
}

interface Job {
  readonly id: string;
  readonly request: z.infer<typeof jobSchema>;
  status: "queued" | "generating" | "completed" | "failed" | "cancelled";
  images: string[];
}

/** What the tests can see of it. */
export interface SdcppServer extends ScriptedServer {
  readonly behaviour: SdcppBehaviour;
  /** How many jobs stand in each state. */
  count(status: Job["status"]): number;
}

const base64 = z.string().regex(/^[A-Za-z0-9+/]+=*$/);
const side = z.number().int().min(64).max(2048);
const seed = z
  .number()
  .int()
  .min(0)
  .max(2 ** 32 - 2);
const loraSchema = z.array(z.strictObject({ path: z.literal("ink.safetensors"), multiplier: z.number() }));
const SAMPLERS = ["euler", "euler_a", "heun", "dpm++2m", "dpm++2m_sde", "lcm"] as const;
const SCHEDULERS = ["discrete", "normal", "karras"] as const;
const jobSchema = z.strictObject({
  prompt: z.string().min(1),
  negative_prompt: z.string().optional(),
  width: side.optional(),
  height: side.optional(),
  seed,
  batch_count: z.number().int().min(1).max(3),
  clip_skip: z.number().int().min(1).optional(),
  strength: z.number().min(0).max(1).optional(),
  init_image: base64.optional(),
  mask_image: base64.optional(),
  sample_params: z.strictObject({
    sample_method: z.enum(SAMPLERS).optional(),
    scheduler: z.enum(SCHEDULERS).optional(),
    sample_steps: z.number().int().min(1).max(150).optional(),
    guidance: z.strictObject({ txt_cfg: z.number() }).optional(),
  }),
  lora: loraSchema.optional(),
  embed_image_metadata: z.literal(true),
  output_format: z.literal("png"),
});
const callSchema = z.strictObject({
  prompt: z.string().min(1),
  negative_prompt: z.string().optional(),
  width: side.optional(),
  height: side.optional(),
  steps: z.number().int().min(1).max(150).optional(),
  cfg_scale: z.number().optional(),
  seed,
  batch_size: z.number().int().min(1).max(8),
  clip_skip: z.number().int().min(1).optional(),
  sampler_name: z.enum(SAMPLERS).optional(),
  scheduler: z.enum(SCHEDULERS).optional(),
  lora: loraSchema.optional(),
  init_images: z.array(base64).length(1).optional(),
  mask: base64.optional(),
  denoising_strength: z.number().min(0).max(1).optional(),
});
const openaiSchema = z.strictObject({
  prompt: z.string().min(1),
  n: z.number().int().min(1),
  size: z.string().optional(),
});

/** Starts one, on a free port or the one given. */
export async function startSdcpp(behaviour: SdcppBehaviour = {}, port = 0): Promise<SdcppServer> {
  const jobs = new Map<string, Job>();
  const has = (routes: "native" | "webui"): boolean => behaviour.routes === undefined || behaviour.routes === routes;
  let busy = false;
  let random = 0;

  const take = (what: "lost" | "cancellations" | "failures"): boolean => {
    const left = behaviour[what] ?? 0;
    behaviour[what] = Math.max(0, left - 1);
    return left > 0;
  };

  const pictures = async (
    {
      seed: first,
      width = 512,
      height = 512,
    }: { seed: number; width?: number | undefined; height?: number | undefined },
    count: number,
    start: string | undefined,
    metadata: boolean,
  ): Promise<string[]> => {
    const size = { width: width + (behaviour.otherSize === true ? 8 : 0), height };
    // another picture to start from gives another picture
    const offset = [...(start ?? "")].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
    const seeds = Array.from({ length: count - (behaviour.fewer === true ? 1 : 0) }, (_, i) => first + i);
    return Promise.all(
      seeds.map(async (one) => {
        const told = one + (behaviour.otherSeeds === true ? 1000 : 0);
        const value = `a picture\nSteps: 4, CFG scale: 7, Guidance: 3.5, Seed: ${told}, Size: ${width}x${height}, Sampler: euler`;
        const text = metadata ? [{ keyword: "parameters", value }] : [];
        return Buffer.from(await encodePng(paint(one + offset, size), text)).toString("base64");
      }),
    );
  };

  const work = async (): Promise<void> => {
    if (busy) return;
    busy = true;
    for (;;) {
      const job = [...jobs.values()].find(({ status }) => status === "queued");
      if (job === undefined) break;
      job.status = "generating";
      await new Promise((resolve) => setTimeout(resolve, behaviour.jobMs ?? 0));
      if (take("failures")) job.status = "failed";
      else if (take("cancellations")) job.status = "cancelled";
      else {
        const { request } = job;
        job.images = await pictures(request, request.batch_count, request.init_image, request.embed_image_metadata);
        job.status = "completed";
      }
    }
    busy = false;
  };

  const submit = (body: unknown): Answer => {
    const parsed = jobSchema.safeParse(body);
    if (!parsed.success) return { status: 400, json: { error: wrong(parsed.error) } };
    const pending = [...jobs.values()].filter(({ status }) => status === "queued" || status === "generating");
    if (pending.length >= (behaviour.queue ?? 64)) return { status: 429, json: { error: "job queue is full" } };
    const job: Job = { id: `job_${(jobs.size + 1).toString(16)}`, request: parsed.data, status: "queued", images: [] };
    jobs.set(job.id, job);
    setTimeout(() => void work(), 0);
    return {
      status: 202,
      json: { id: job.id, kind: "img_gen", status: "queued", created: 1, poll_url: `/sdcpp/v1/jobs/${job.id}` },
    };
  };

  const state = (job: Job): Answer => {
    const { id, status, images } = job;
    const result = {
      output_format: "png",
      images: images.map((encoded, index) => ({ index, b64_json: encoded })).reverse(),
    };
    const error = { code: "generation_failed", message: "generate_image returned no results" };
    const ended =
      status === "completed" ? { result, error: null } : { result: null, error: status === "failed" ? error : null };
    return {
      json: { id, kind: "img_gen", status, created: 1, started: null, completed: null, queue_position: 0, ...ended },
    };
  };

  const call = async (body: unknown, fromPicture: boolean): Promise<Answer> => {
    const parsed = callSchema.safeParse(body);
    if (!parsed.success) return { status: 400, json: { error: wrong(parsed.error) } };
    const request = parsed.data;
    if (fromPicture !== (request.init_images !== undefined)) return { status: 400, json: { error: "init_images" } };
    const images = await pictures(request, request.batch_size, request.init_images?.[0], false);
    return { json: { images, parameters: request, info: "" } };
  };

  const server = await startServer(async ({ method, path, body }) => {
    const route = `${method} ${path}`;
    const [, id = "", cancel] = /^\/sdcpp\/v1\/jobs\/([\w-]+)(\/cancel)?$/.exec(path) ?? [];
    const job = jobs.get(id);
    if (id !== "" && has("native")) {
      if (job !== undefined && cancel === undefined && take("lost")) {
        jobs.delete(id);
        return { status: behaviour.lostStatus ?? 404, json: { error: "job not found" } };
      }
      if (job === undefined) return { status: 404, json: { error: "job not found" } };
      if (cancel === undefined) return state(job);
      if (job.status === "generating") return { status: 409, json: { error: "job is currently generating" } };
      if (job.status === "queued") job.status = "cancelled";
      return state(job);
    }
    switch (route) {
      case "GET /sdcpp/v1/capabilities":
        return has("native") ? { json: capabilities(behaviour) } : { status: 404 };
      case "POST /sdcpp/v1/img_gen":
        return has("native") ? submit(body) : { status: 404 };
      case "GET /sdapi/v1/options":
        return has("webui") ? { json: { samples_format: "png", sd_model_checkpoint: "tiny" } } : { status: 404 };
      case "GET /sdapi/v1/samplers":
        return has("webui")
          ? { json: SAMPLERS.map((name) => ({ name, aliases: [name], options: {} })) }
          : { status: 404 };
      case "GET /sdapi/v1/schedulers":
        return has("webui") ? { json: SCHEDULERS.map((name) => ({ name, label: name })) } : { status: 404 };
      case "GET /sdapi/v1/loras":
        return has("webui") ? { json: [{ name: "ink", path: "ink.safetensors" }] } : { status: 404 };
      case "POST /sdapi/v1/txt2img":
      case "POST /sdapi/v1/img2img":
        return has("webui") ? call(body, route.endsWith("img2img")) : { status: 404 };
      case "GET /v1/models":
        return { json: { data: [{ id: "sd-cpp-local", object: "model", owned_by: "local" }] } };
      case "POST /v1/images/generations": {
        const parsed = openaiSchema.safeParse(body);
        if (!parsed.success) return { status: 400, json: { error: wrong(parsed.error) } };
        const [width, height] = (parsed.data.size ?? "512x512").split("x").map(Number);
        const images = await pictures({ seed: (random += 100), width, height }, parsed.data.n, undefined, false);
        return { json: { created: 1, output_format: "png", data: images.map((encoded) => ({ b64_json: encoded })) } };
      }
    }
    return { status: 404 };
  }, port);
  return { ...server, behaviour, count: (status) => [...jobs.values()].filter((job) => job.status === status).length };
}

function wrong({ issues }: z.ZodError): string {
  return issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ");
}

function capabilities({ videos = false, queue = 64 }: SdcppBehaviour): unknown {
  const params = {
    scheduler: "default",
    sample_method: "default",
    sample_steps: 20,
    eta: null,
    guidance: { txt_cfg: 7, img_cfg: null },
  };
  const mode = { prompt: "", clip_skip: -1, width: 512, height: 512, seed: 42, batch_count: 1, sample_params: params };
  return {
    model: { name: "tiny.gguf", stem: "tiny", path: "/models/tiny.gguf" },
    current_mode: videos ? "vid_gen" : "img_gen",
    supported_modes: [videos ? "vid_gen" : "img_gen"],
    defaults_by_mode: { img_gen: mode },
    limits: {
      min_width: 64,
      max_width: 2048,
      min_height: 64,
      max_height: 2048,
      max_batch_count: 3,
      max_queue_size: queue,
    },
    samplers: SAMPLERS,
    schedulers: SCHEDULERS,
    features_by_mode: { img_gen: { init_image: true, cancel_queued: true, cancel_generating: false } },
    loras: [{ name: "ink", path: "ink.safetensors" }],
    upscalers: [{ name: "None" }],
  };
}
