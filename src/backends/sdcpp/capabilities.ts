/** @file What a server of stable-diffusion.cpp says it has: by its own route, or by those it has in common with the WebUI. */

import { z } from "zod";
import type { HttpServer } from "../http/client.js";
import { parseAnswer as parseAnswerOf } from "../http/parse-answer.js";
import { HttpError } from "../http/error.js";

/** What is known of a server. */
export interface SdcppServer {
  /** Which of its routes are used: its own, or where those are missing the WebUI's or OpenAI's. */
  readonly routes: "native" | "webui" | "openai";
  readonly model: string;
  readonly samplers: readonly string[];
  readonly schedulers: readonly string[];
  readonly loras: readonly { readonly name: string; readonly path: string }[];
  readonly limits: {
    readonly minimum: number;
    readonly maximum: number;
    readonly batch: number;
    readonly queue: number;
  };
  readonly defaults: {
    readonly steps: number | undefined;
    readonly guidance: number | undefined;
    readonly sampler: string | undefined;
    readonly width: number | undefined;
    readonly height: number | undefined;
  };
  /** Whether a job can be stopped that is being drawn. */
  readonly stops: boolean;
}

const namesSchema = z.array(z.string());
const lorasSchema = z.array(z.object({ name: z.string(), path: z.string() }));
const defaultsSchema = z.object({
  width: z.number().int().positive().nullish(),
  height: z.number().int().positive().nullish(),
  sample_params: z
    .object({
      sample_method: z.string().nullish(),
      sample_steps: z.number().int().positive().nullish(),
      guidance: z.object({ txt_cfg: z.number().nullish() }).nullish(),
    })
    .nullish(),
});
const capabilitiesSchema = z.object({
  model: z.object({ name: z.string().nullish() }).nullish(),
  supported_modes: namesSchema.optional(),
  samplers: namesSchema,
  schedulers: namesSchema,
  loras: lorasSchema.default([]),
  limits: z.object({
    min_width: z.number(),
    max_width: z.number(),
    min_height: z.number(),
    max_height: z.number(),
    max_batch_count: z.number().int().min(1),
    max_queue_size: z.number().int().min(1),
  }),
  defaults_by_mode: z.object({ img_gen: defaultsSchema.nullish() }).nullish(),
  features_by_mode: z.object({ img_gen: z.object({ cancel_generating: z.boolean().nullish() }).nullish() }).nullish(),
});
const optionsSchema = z.object({ sd_model_checkpoint: z.string().nullish() });
const namedSchema = z.array(z.object({ name: z.string() }));

const NO_DEFAULTS = { steps: undefined, guidance: undefined, sampler: undefined, width: undefined, height: undefined };
/** Of servers that do not say. */
const LIMITS = { minimum: 64, maximum: 4096, batch: 8, queue: 1 };
const UNKNOWN = "the server's model";

/** Asks what a server has. @throws HttpError when it has none of the routes, or draws no pictures */
export async function askServer(server: HttpServer, signal: AbortSignal | undefined): Promise<SdcppServer> {
  const ask = async <T>(path: string, schema: z.ZodType<T>): Promise<T> =>
    parseAnswer(server, path, schema, await server.json(path, { signal, timeoutMs: 30_000 }));
  const native = await unlessMissing(ask("sdcpp/v1/capabilities", capabilitiesSchema));
  if (native !== undefined) return ofCapabilities(server, native);
  const options = await unlessMissing(ask("sdapi/v1/options", optionsSchema));
  if (options !== undefined) {
    const names = async (path: string): Promise<string[]> =>
      ((await unlessMissing(ask(path, namedSchema))) ?? []).map(({ name }) => name);
    return {
      routes: "webui",
      model: options.sd_model_checkpoint ?? UNKNOWN,
      samplers: await names("sdapi/v1/samplers"),
      schedulers: await names("sdapi/v1/schedulers"),
      loras: (await unlessMissing(ask("sdapi/v1/loras", lorasSchema))) ?? [],
      limits: LIMITS,
      defaults: { ...NO_DEFAULTS, width: 512, height: 512 },
      stops: false,
    };
  }
  if ((await unlessMissing(ask("v1/models", z.object({ data: z.array(z.unknown()) })))) === undefined) {
    throw server.fault(
      "bad-response",
      "expected the routes of stable-diffusion.cpp's sd-server (/sdcpp/v1, /sdapi/v1 or /v1), got none of them",
    );
  }
  return {
    routes: "openai",
    model: UNKNOWN,
    samplers: [],
    schedulers: [],
    loras: [],
    limits: LIMITS,
    defaults: NO_DEFAULTS,
    stops: false,
  };
}

function ofCapabilities(server: HttpServer, said: z.infer<typeof capabilitiesSchema>): SdcppServer {
  if (said.supported_modes !== undefined && !said.supported_modes.includes("img_gen")) {
    throw server.fault(
      "bad-response",
      `capabilities: expected a model that draws pictures, got one for ${said.supported_modes.join(", ")}`,
    );
  }
  const { limits, samplers } = said;
  const { sample_params: params, width, height } = said.defaults_by_mode?.img_gen ?? {};
  const sampler = params?.sample_method ?? undefined;
  return {
    routes: "native",
    model: said.model?.name || UNKNOWN,
    samplers,
    schedulers: said.schedulers,
    loras: said.loras,
    limits: {
      minimum: Math.max(limits.min_width, limits.min_height),
      maximum: Math.min(limits.max_width, limits.max_height),
      batch: limits.max_batch_count,
      queue: limits.max_queue_size,
    },
    defaults: {
      steps: params?.sample_steps ?? undefined,
      guidance: params?.guidance?.txt_cfg ?? undefined,
      // "default" stands for the model's own
      sampler: sampler !== undefined && samplers.includes(sampler) ? sampler : undefined,
      width: width ?? undefined,
      height: height ?? undefined,
    },
    stops: said.features_by_mode?.img_gen?.cancel_generating === true,
  };
}

/** An answer of the expected form. @throws HttpError `bad-response` */
export function parseAnswer<T>(server: HttpServer, path: string, schema: z.ZodType<T>, json: unknown): T {
  return parseAnswerOf(server, "sd-server", path, schema, json);
}

/** undefined for a route the server does not have. */
async function unlessMissing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof HttpError && error.status === 404) return undefined;
    throw error;
  }
}
