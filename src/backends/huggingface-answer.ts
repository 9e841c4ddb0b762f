/** @file What an inference provider answers: the picture, where it lies, that it is still being drawn, or that it failed. Told by its form, not by who sent it. */

import { z } from "zod";

/** One answer. Addresses of files are the provider's word and must be fetched with care. */
export type Answer =
  | { readonly kind: "encoded"; readonly base64: string; readonly seed: number | null }
  | { readonly kind: "file"; readonly address: string; readonly seed: number | null }
  | { readonly kind: "pending"; readonly job: Job }
  | { readonly kind: "failed"; readonly reason: string };

/** A picture in the making. Paths are those of the provider, from its host on. */
export interface Job {
  /** Asked until it is done. */
  readonly poll: string;
  /** Asked for the picture then; the last answer has it where this is undefined. */
  readonly result: string | undefined;
  /** Stops the work. */
  readonly cancel: { readonly method: "POST" | "PUT"; readonly path: string } | undefined;
}

const text = z.string().min(1);
const seeded = z.looseObject({ seed: z.number().int().nonnegative().optional().catch(undefined) });
/** together, nscale, deepinfra, and dedicated endpoints: as OpenAI's API. */
const data = z.looseObject({
  data: z.array(z.looseObject({ b64_json: z.string().nullish(), url: z.string().nullish() })).min(1),
});
/** fal. */
const images = z.looseObject({ images: z.array(z.looseObject({ url: text })).min(1) });
/** replicate, and dedicated endpoints. */
const output = z.looseObject({ output: z.union([text, z.array(text).min(1)]) });
/** wavespeed. */
const outputs = z.looseObject({ data: z.looseObject({ outputs: z.array(text).min(1) }) });
/** zai-org. */
const imageResult = z.looseObject({ image_result: z.array(z.looseObject({ url: text })).min(1) });

/** How a job stands, as each of them writes it. */
const standing = z.looseObject({
  status: z.string().optional().catch(undefined),
  task_status: z.string().optional().catch(undefined),
  error: z.unknown().optional(),
  data: z
    .looseObject({ status: z.string().optional().catch(undefined), error: z.unknown().optional() })
    .optional()
    .catch(undefined),
});
const FAILED = new Set(["failed", "canceled", "cancelled", "fail", "error"]);
const UNDERWAY = new Set(["in_queue", "in_progress", "created", "queued", "pending", "starting", "processing"]);

/** fal's queue: https://docs.fal.ai/model-endpoints/queue */
const falQueue = z.looseObject({ request_id: text, response_url: z.url() });
/** replicate and wavespeed name where to ask: https://replicate.com/docs/reference/http */
const urls = z.looseObject({ urls: z.looseObject({ get: z.url(), cancel: z.url().optional().catch(undefined) }) });
/** zai-org. */
const task = z.looseObject({ id: text, task_status: z.literal("PROCESSING") });

/** Reads a JSON answer; undefined when it has none of the known forms. */
export function readAnswer(json: unknown): Answer | undefined {
  const seed = seeded.safeParse(json).data?.seed ?? null;
  const file = (address: string): Answer =>
    address.startsWith("data:") ? { kind: "encoded", base64: address, seed } : { kind: "file", address, seed };
  const fal = images.safeParse(json);
  if (fal.success) return file(fal.data.images[0]!.url);
  const wavespeed = outputs.safeParse(json);
  if (wavespeed.success) return file(wavespeed.data.data.outputs[0]!);
  const openai = data.safeParse(json);
  if (openai.success) {
    const [{ b64_json: base64, url } = {}] = openai.data.data;
    if (typeof base64 === "string") return { kind: "encoded", base64, seed };
    if (typeof url === "string") return file(url);
  }
  const zai = imageResult.safeParse(json);
  if (zai.success) return file(zai.data.image_result[0]!.url);
  const replicate = output.safeParse(json);
  if (replicate.success) {
    const [first] = [replicate.data.output].flat();
    if (first !== undefined) return file(first);
  }
  return readFailure(json) ?? readJob(json);
}

function readFailure(json: unknown): Answer | undefined {
  const status = statusOf(json);
  if (status === undefined || !FAILED.has(status)) return undefined;
  const { data: said } = standing.safeParse(json);
  const error = said?.error ?? said?.data?.error ?? `its status is ${status}`;
  return { kind: "failed", reason: typeof error === "string" ? error : JSON.stringify(error) };
}

function statusOf(json: unknown): string | undefined {
  const { data: said } = standing.safeParse(json);
  return (said?.status ?? said?.task_status ?? said?.data?.status)?.toLowerCase();
}

function readJob(json: unknown): Answer | undefined {
  const fal = falQueue.safeParse(json);
  if (fal.success) {
    const path = new URL(fal.data.response_url).pathname;
    const cancel = { method: "PUT", path: `${path}/cancel` } as const;
    return { kind: "pending", job: { poll: `${path}/status`, result: path, cancel } };
  }
  const named = urls.safeParse(json).data ?? urls.safeParse((json as { data?: unknown } | null)?.data).data;
  if (named !== undefined) {
    const { get, cancel } = named.urls;
    const stop = cancel === undefined ? undefined : ({ method: "POST", path: new URL(cancel).pathname } as const);
    return { kind: "pending", job: { poll: new URL(get).pathname, result: undefined, cancel: stop } };
  }
  const zai = task.safeParse(json);
  if (!zai.success) return undefined;
  const poll = `/api/paas/v4/async-result/${encodeURIComponent(zai.data.id)}`;
  return { kind: "pending", job: { poll, result: undefined, cancel: undefined } };
}

/** True when a queue says that the picture can be fetched. */
export function isCompleted(json: unknown): boolean {
  return statusOf(json) === "completed";
}

/** True when a job says that it is still being worked on. */
export function isUnderway(json: unknown): boolean {
  return UNDERWAY.has(statusOf(json) ?? "");
}
