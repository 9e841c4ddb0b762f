/** @file A WebUI for tests: speaks the API over real HTTP, strict about what it is asked, and paints a picture from each seed. */

import sharp from "sharp";
import { z } from "zod";
import { encodePng } from "#laurel/image/png";
import type { RgbImage } from "#laurel/image/types";
import { type ScriptedServer, type SeenRequest, startServer } from "./scripted-server.js";

/** How the server behaves beyond its contract. */
export interface WebuiBehaviour {
  /** Milliseconds a picture takes. @default 0 */
  pictureMs?: number;
  /** Puts a grid first, as `save_images` with `return_grid` does. */
  grid?: boolean;
  /** Answers `info: ""`, as stable-diffusion.cpp does. */
  noInfo?: boolean;
  /** Pictures that somebody at the server interrupts: the next this many calls. */
  interruptions?: number;
  /** Has no `/internal/progress`, as forks. */
  noTasks?: boolean;
  /** Has no schedules beside the samplers, as before version 1.9. */
  noSchedules?: boolean;
  /** Sends this format, as the server's setting says. @default png */
  format?: "png" | "jpeg" | "webp";
  /** Draws other sizes than asked. */
  otherSize?: boolean;
  /** Draws from other seeds than asked. */
  otherSeeds?: boolean;
  /** The checkpoint that is loaded. @default tiny.safetensors [abc] */
  checkpoint?: string;
  /** Asks for `Authorization: Basic`. */
  credentials?: string;
}

/** What the tests can see of it. */
export interface WebuiServer extends ScriptedServer {
  readonly behaviour: WebuiBehaviour;
  /** Tasks that `/sdapi/v1/interrupt` stopped. */
  readonly stopped: readonly string[];
  /** Most drawing calls it had at once. */
  most(): number;
}

const base64 = z.string().regex(/^[A-Za-z0-9+/]+=*$/);
const side = z.number().int().min(64).max(4096).multipleOf(8);
/** The fields Laurel may send; the real server refuses unknown ones too. */
const drawSchema = z.strictObject({
  prompt: z.string(),
  negative_prompt: z.string().optional(),
  seed: z
    .number()
    .int()
    .min(0)
    .max(2 ** 32 - 2),
  subseed_strength: z.literal(0),
  batch_size: z.number().int().min(1).max(8),
  n_iter: z.literal(1),
  steps: z.number().int().min(1).max(150).optional(),
  cfg_scale: z.number().min(0).max(30).optional(),
  width: side.optional(),
  height: side.optional(),
  sampler_name: z.enum(["Euler", "Euler a", "DPM++ 2M", "DPM++ 2M Karras", "euler", "k_euler"]).optional(),
  scheduler: z.enum(["Karras", "Automatic", "Uniform"]).optional(),
  send_images: z.literal(true),
  save_images: z.literal(false),
  do_not_save_samples: z.literal(true),
  do_not_save_grid: z.literal(true),
  force_task_id: z.string().regex(/^task\(.+\)$/),
  override_settings: z
    .strictObject({
      sd_model_checkpoint: z.string().optional(),
      enable_prompt_comments: z.literal(false).optional(),
      CLIP_stop_at_last_layers: z.number().int().min(1).max(12).optional(),
    })
    .optional(),
  init_images: z.array(base64).length(1).optional(),
  denoising_strength: z.number().min(0).max(1).optional(),
  mask: base64.optional(),
  mask_blur: z.literal(0).optional(),
  inpainting_fill: z.literal(1).optional(),
  inpaint_full_res: z.literal(false).optional(),
});

/** Starts a WebUI, on a free port or the one given. */
export async function startWebui(behaviour: WebuiBehaviour = {}, port = 0): Promise<WebuiServer> {
  const stopped: string[] = [];
  const running = new Map<string, () => void>();
  let interrupted = false;
  let most = 0;

  const draw = async ({ body, path }: SeenRequest, signal: AbortSignal) => {
    const parsed = drawSchema.safeParse(body);
    if (!parsed.success) {
      const detail = parsed.error.issues.map((issue) => ({ loc: ["body", ...issue.path], msg: issue.message }));
      return { status: 422, json: { detail } };
    }
    const request = parsed.data;
    if (path.endsWith("img2img") !== (request.init_images !== undefined))
      return { status: 404, json: { detail: "Init image not found" } };
    interrupted = false; // a new task begins
    const task = request.force_task_id;
    const stop = new Promise<void>((resolve) => running.set(task, resolve));
    most = Math.max(most, running.size);
    const gone = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    const done = new Promise<void>((resolve) => setTimeout(resolve, (behaviour.pictureMs ?? 0) * request.batch_size));
    await Promise.race([done, stop, gone.then(() => stop)]);
    running.delete(task);
    if ((behaviour.interruptions ?? 0) > 0) {
      behaviour.interruptions = (behaviour.interruptions ?? 0) - 1;
      interrupted = true;
    }
    const seeds = Array.from(
      { length: request.batch_size },
      (_, i) => request.seed + i + (behaviour.otherSeeds === true ? 1000 : 0),
    );
    const { width = 512, height = 512 } = request;
    const size = behaviour.otherSize === true ? { width: width + 8, height } : { width, height };
    // another picture to start from gives another picture
    const start = [...(request.init_images?.[0] ?? "")].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
    const pictures = await Promise.all(seeds.map(async (seed) => encodePng(paint(seed + start, size))));
    const { format = "png" } = behaviour;
    const sent = pictures.map(async (png) => (format === "png" ? png : sharp(png).toFormat(format).toBuffer()));
    const images = (await Promise.all(sent)).map((bytes) => Buffer.from(bytes).toString("base64"));
    if (behaviour.grid === true) images.unshift(Buffer.from(await encodePng(paint(999_999, size))).toString("base64"));
    const info = JSON.stringify({
      all_seeds: seeds,
      index_of_first_image: behaviour.grid === true ? 1 : 0,
      steps: request.steps,
    });
    return { json: { images, parameters: {}, info: behaviour.noInfo === true ? "" : info } };
  };

  const server = await startServer(async (request, signal) => {
    const path = request.path.split("?")[0] ?? "";
    if (behaviour.credentials !== undefined) {
      const expected = `Basic ${Buffer.from(behaviour.credentials).toString("base64")}`;
      if (request.headers.authorization !== expected) {
        return {
          status: 401,
          json: { detail: "Incorrect username or password" },
          headers: { "www-authenticate": "Basic" },
        };
      }
    }
    switch (`${request.method} ${path}`) {
      case "GET /sdapi/v1/samplers":
        return {
          json: [
            { name: "Euler", aliases: ["k_euler", "euler"], options: {} },
            { name: "Euler a", aliases: ["k_euler_a"] },
            { name: "DPM++ 2M", aliases: [] },
            ...(behaviour.noSchedules === true ? [{ name: "DPM++ 2M Karras", aliases: [] }] : []),
          ],
        };
      case "GET /sdapi/v1/schedulers":
        if (behaviour.noSchedules === true) break;
        return { json: ["Automatic", "Uniform", "Karras"].map((label) => ({ name: label.toLowerCase(), label })) };
      case "GET /sdapi/v1/options":
        return {
          json: { sd_model_checkpoint: behaviour.checkpoint ?? "tiny.safetensors [abc]", samples_format: "png" },
        };
      case "GET /sdapi/v1/sd-models":
        return { json: [{ title: "tiny.safetensors [abc]", model_name: "tiny", hash: "abc" }] };
      case "GET /sdapi/v1/progress":
        return { json: { progress: 0, eta_relative: 0, state: { interrupted, job: "" }, current_image: null } };
      case "POST /internal/progress": {
        if (behaviour.noTasks === true) break;
        const { id_task: task } = z.object({ id_task: z.string() }).parse(request.body);
        return { json: { active: running.has(task), queued: false, completed: !running.has(task), progress: 0.5 } };
      }
      case "POST /sdapi/v1/interrupt":
        interrupted = true;
        for (const [task, stop] of running) {
          stopped.push(task);
          stop();
        }
        return { json: {} };
      case "POST /sdapi/v1/txt2img":
      case "POST /sdapi/v1/img2img":
        return draw(request, signal);
    }
    return { status: 404, json: { detail: "Not Found" } };
  }, port);
  return { ...server, behaviour, stopped, most: () => most };
}

/** A picture that is a function of its seed: four coloured quarters. */
export function paint(seed: number, { width, height }: { width: number; height: number }): RgbImage {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const quarter = (x < width / 2 ? 0 : 1) + (y < height / 2 ? 0 : 2);
      for (let c = 0; c < 3; c++)
        data[(y * width + x) * 3 + c] = (Math.imul(seed + 1, 2_654_435_761) >>> (quarter * 6 + c * 2)) & 0xff;
    }
  }
  return { width, height, data };
}
