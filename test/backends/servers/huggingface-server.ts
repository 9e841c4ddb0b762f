/** @file Hugging Face's hub, router and providers, and a dedicated endpoint, as one server that tells them apart by host; strict about what it is asked. */

import { createConnection } from "node:net";
import type { buildConnector } from "undici";
import { z } from "zod";
import { encodePng } from "#laurel/image/png";
import { type Answer, type ScriptedServer, type SeenRequest, startServer } from "./scripted-server.js";
import { paint } from "./webui-server.js";

/** How the servers behave. */
export interface HuggingfaceBehaviour {
  /** The model's entries on the hub. */
  mapping?: unknown;
  /** What the dedicated endpoint sends. @default the picture itself, labelled image/jpeg */
  endpoint?: "bytes" | "b64" | "output";
  /** Where the picture lies, of those that send addresses. @default a public host */
  file?: string;
  /** together sends an address although asked for base64. */
  togetherUrl?: boolean;
  /** Questions after a queued picture before it is done. @default 2 */
  polls?: number;
  /** A queued picture fails with this. */
  failure?: string;
  /** Milliseconds a picture takes. */
  pictureMs?: number;
}

/** What a test sees of them. */
export interface HuggingfaceServer extends ScriptedServer {
  readonly behaviour: HuggingfaceBehaviour;
  /** Makes every connection lead here, whatever its host. */
  readonly connect: buildConnector.connector;
}

const parameters = {
  seed: z
    .number()
    .int()
    .min(0)
    .max(2 ** 32 - 2),
  negative_prompt: z.string().optional(),
  guidance_scale: z.number().optional(),
  width: z.number().int().optional(),
  height: z.number().int().optional(),
};
const steps = z.number().int().optional();
const hfSchema = z.strictObject({
  inputs: z.string().min(1),
  parameters: z.strictObject({ ...parameters, num_inference_steps: steps }),
});
const openaiLike = { ...parameters, prompt: z.string().min(1), model: z.string() };
const schemas = {
  "hf-inference": hfSchema,
  endpoint: hfSchema,
  together: z.strictObject({ ...openaiLike, steps, response_format: z.literal("base64") }),
  nscale: z.strictObject({ ...openaiLike, num_inference_steps: steps, response_format: z.literal("b64_json") }),
  "fal-ai": z.strictObject({ ...parameters, num_inference_steps: steps, prompt: z.string().min(1) }),
  wavespeed: z.strictObject({ ...parameters, num_inference_steps: steps, prompt: z.string().min(1) }),
  "zai-org": z.strictObject({ ...openaiLike, num_inference_steps: steps }),
  replicate: z.strictObject({
    input: z.strictObject({ ...parameters, num_inference_steps: steps, prompt: z.string().min(1) }),
  }),
} as const;
type Provider = keyof typeof schemas;

/** Hosts of the providers, for those who come with a provider's own key. */
const HOSTS: Readonly<Record<string, Provider>> = {
  "api.together.xyz": "together",
  "inference.api.nscale.com": "nscale",
  "queue.fal.run": "fal-ai",
  "api.replicate.com": "replicate",
  "api.wavespeed.ai": "wavespeed",
  "api.z.ai": "zai-org",
};

/** Starts them. */
export async function startHuggingface(behaviour: HuggingfaceBehaviour = {}): Promise<HuggingfaceServer> {
  const files = new Map<string, Uint8Array>();
  const jobs = new Map<string, { readonly file: string; polls: number }>();
  let made = 0;

  const draw = async (json: unknown): Promise<Uint8Array> => {
    const { seed, width = 64, height = 64 } = z.looseObject(parameters).parse(json);
    await new Promise((resolve) => setTimeout(resolve, behaviour.pictureMs ?? 0));
    return encodePng(paint(seed, { width, height }));
  };
  const stored = (png: Uint8Array): string => {
    const path = `/files/${++made}.png`;
    files.set(path, png);
    return behaviour.file ?? `https://files.example${path}`;
  };

  const order = async (provider: Provider, { body, headers }: SeenRequest): Promise<Answer> => {
    const parsed = schemas[provider].safeParse(body);
    if (!parsed.success) return { status: 422, json: { error: z.prettifyError(parsed.error) } };
    const token = headers.authorization ?? "";
    if (provider !== "endpoint" && !/^(Bearer|Key) (hf_|key-)/.test(token)) {
      return { status: 401, json: { error: "Invalid username or password." } };
    }
    const request = parsed.data as Record<string, unknown>;
    const png = await draw(request["parameters"] ?? request["input"] ?? request);
    const b64 = Buffer.from(png).toString("base64");
    const id = `job-${made}`;
    switch (provider) {
      case "hf-inference":
        return { bytes: png, headers: { "content-type": "image/jpeg" } };
      case "endpoint":
        if (behaviour.endpoint === "b64") return { json: { data: [{ b64_json: b64 }] } };
        if (behaviour.endpoint === "output") return { json: { output: [stored(png)] } };
        return { bytes: png, headers: { "content-type": "image/jpeg" } };
      case "together":
        return { json: { data: [behaviour.togetherUrl === true ? { url: stored(png) } : { b64_json: b64 }] } };
      case "nscale":
        return { json: { data: [{ b64_json: b64 }] } };
      case "replicate":
        if (headers["prefer"] !== "wait") return { status: 400, json: { detail: "expected Prefer: wait" } };
        jobs.set(id, { file: stored(png), polls: behaviour.polls ?? 2 });
        return replicate(id);
      case "fal-ai":
        jobs.set(id, { file: stored(png), polls: behaviour.polls ?? 2 });
        return {
          json: {
            status: "IN_QUEUE",
            request_id: id,
            response_url: `https://queue.fal.run/fal-ai/tiny/requests/${id}`,
          },
        };
      case "wavespeed":
        jobs.set(id, { file: stored(png), polls: behaviour.polls ?? 2 });
        return { json: { data: { urls: { get: `https://api.wavespeed.ai/api/v3/predictions/${id}/result` } } } };
      case "zai-org":
        jobs.set(id, { file: stored(png), polls: behaviour.polls ?? 2 });
        return { json: { id, task_status: "PROCESSING", model: "tiny" } };
    }
  };
  const replicate = (id: string): Answer => {
    const job = jobs.get(id)!;
    const urls = {
      get: `https://api.replicate.com/v1/predictions/${id}`,
      cancel: `https://api.replicate.com/v1/predictions/${id}/cancel`,
    };
    if (behaviour.failure !== undefined) return { json: { id, status: "failed", error: behaviour.failure, urls } };
    if (job.polls-- > 0) return { json: { id, status: "processing", output: null, error: null, urls } };
    return { json: { id, status: "succeeded", output: [job.file], error: null, urls } };
  };

  const ask = (provider: Provider, method: string, path: string): Answer | undefined => {
    const id = /job-\d+/.exec(path)?.[0];
    const job = id === undefined ? undefined : jobs.get(id);
    if (id === undefined || job === undefined) return undefined;
    switch (provider) {
      case "fal-ai":
        if (method === "PUT" && path.endsWith("/cancel"))
          return { status: 202, json: { status: "CANCELLATION_REQUESTED" } };
        if (path.endsWith("/status")) {
          if (behaviour.failure !== undefined) return { status: 422, json: { detail: behaviour.failure } };
          return { json: { status: job.polls-- > 0 ? "IN_PROGRESS" : "COMPLETED", request_id: id } };
        }
        return { json: { images: [{ url: job.file, content_type: "image/jpeg" }], seed: 7 } };
      case "wavespeed":
        if (behaviour.failure !== undefined) return { json: { data: { status: "failed", error: behaviour.failure } } };
        if (job.polls-- > 0) return { json: { data: { status: "processing", outputs: [] } } };
        return { json: { data: { status: "completed", outputs: [job.file] } } };
      case "zai-org":
        if (behaviour.failure !== undefined) return { json: { task_status: "FAIL" } };
        if (job.polls-- > 0) return { json: { task_status: "PROCESSING" } };
        return { json: { task_status: "SUCCESS", image_result: [{ url: job.file }] } };
      case "replicate":
        return method === "POST" ? { json: { id, status: "canceled" } } : replicate(id);
      case "endpoint":
      case "hf-inference":
      case "nscale":
      case "together":
        return undefined;
    }
  };

  const server = await startServer(async (request) => {
    const host = request.headers.host ?? "";
    const path = request.path.split("?")[0] ?? "";
    if (host === "huggingface.co" && path.startsWith("/api/models/")) {
      if (!request.path.endsWith("?expand[]=inferenceProviderMapping"))
        return { status: 400, json: { error: "expected expand[]" } };
      if (behaviour.mapping === undefined) return { status: 404, json: { error: "Repository not found" } };
      return { json: { id: path, inferenceProviderMapping: behaviour.mapping } };
    }
    if (host === "files.example") {
      const bytes = files.get(path);
      if (request.headers.authorization !== undefined) return { status: 400, json: { error: "whose key is this?" } };
      return bytes === undefined ? { status: 404, json: {} } : { bytes, headers: { "content-type": "image/jpeg" } };
    }
    const routed = host === "router.huggingface.co";
    const [, first = "", ...rest] = path.split("/");
    const provider = host === "endpoint.example" ? "endpoint" : routed ? (first as Provider) : HOSTS[host];
    if (provider === undefined || !(provider in schemas))
      return { status: 404, json: { error: `no such host ${host}` } };
    const inner = routed ? `/${rest.join("/")}` : path;
    const answer = ask(provider, request.method, inner);
    if (answer !== undefined) return answer;
    const expected = routes[provider];
    if (request.method !== "POST" || inner !== expected)
      return { status: 404, json: { error: `expected ${expected}, got ${inner}` } };
    return order(provider, request);
  });
  const connect: buildConnector.connector = (_, done) => {
    const { port } = new URL(server.url);
    const socket = createConnection({ host: "127.0.0.1", port: Number(port) });
    socket.once("connect", () => done(null, socket)).once("error", (error) => done(error, null));
  };
  return { ...server, behaviour, connect };
}

const routes: Readonly<Record<Provider, string>> = {
  "hf-inference": "/models/tiny",
  endpoint: "/",
  together: "/v1/images/generations",
  nscale: "/v1/images/generations",
  "fal-ai": "/tiny",
  wavespeed: "/api/v3/tiny",
  "zai-org": "/api/paas/v4/async/images/generations",
  replicate: "/v1/models/tiny/predictions",
};

/** An entry of the hub: `provider` draws with the model. */
export function serves(provider: string, change: object = {}): object {
  return { provider, providerId: "tiny", status: "live", task: "text-to-image", ...change };
}
