/** @file One job on a server of stable-diffusion.cpp: put into its queue, asked after until it is over, taken back when nobody wants it. */

import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { throwIfAborted } from "../../util/abort.js";
import { answered } from "../http/answered.js";
import type { HttpServer } from "../http/client.js";
import { HttpError, oneLine } from "../http/error.js";
import { parseAnswer } from "./capabilities.js";

/** How jobs are followed. */
export interface JobOptions {
  /** Most milliseconds between two questions. */
  readonly pollMs: number;
  /** Milliseconds a job may take once the server has begun with it, and that a full queue is waited for. */
  readonly timeoutMs: number;
}

/** How a job ended: with pictures in base64, forgotten by the server, or cancelled by somebody else. */
export type JobOutcome =
  | { readonly kind: "done"; readonly images: readonly string[] }
  | { readonly kind: "lost" }
  | { readonly kind: "cancelled" };

const FIRST_POLL_MS = 20;
const ASK_MS = 30_000;
/** Milliseconds that taking a job back may take. */
const CANCEL_MS = 2000;

const sentSchema = z.object({ id: z.string().min(1) });
const jobSchema = z.object({
  status: z.enum(["queued", "generating", "completed", "failed", "cancelled"]),
  result: z
    .object({ images: z.array(z.object({ index: z.number().int().nonnegative(), b64_json: z.string() })) })
    .nullish(),
  error: z.object({ code: z.string().nullish(), message: z.string().nullish() }).nullish(),
});

/**
 * Has a job done.
 * @throws HttpError when the server refuses it, it fails or takes too long; CancelledError when the signal aborts, with the job taken back
 */
export async function runJob(
  server: HttpServer,
  body: unknown,
  options: JobOptions,
  signal: AbortSignal,
): Promise<JobOutcome> {
  const id = await submit(server, body, options, signal);
  let over = false;
  try {
    const outcome = await finished(server, id, options, signal);
    over = true;
    return outcome;
  } finally {
    if (!over) await cancel(server, id);
  }
}

/** Puts a job into the queue, waiting for a place in it. */
async function submit(
  server: HttpServer,
  body: unknown,
  { pollMs, timeoutMs }: JobOptions,
  signal: AbortSignal,
): Promise<string> {
  const since = performance.now();
  for (;;) {
    try {
      return await submitOnce(server, body, signal);
    } catch (error) {
      const full = error instanceof HttpError && error.fault === "rate-limited";
      if (!full || performance.now() - since > timeoutMs) throw error;
      await sleep(Math.max(error.retryAfterMs ?? 0, pollMs), undefined, { signal }).catch(() => undefined);
      throwIfAborted(signal);
    }
  }
}

/** Sends a job. A cancellation waits for the answer, which comes at once: without the id the job could not be taken back. */
async function submitOnce(server: HttpServer, body: unknown, signal: AbortSignal): Promise<string> {
  throwIfAborted(signal);
  const path = "sdcpp/v1/img_gen";
  const reply = await answered((late) => server.json(path, { body, signal: late, timeoutMs: ASK_MS }), signal);
  const { id } = parseAnswer(server, path, sentSchema, reply);
  if (signal.aborted) await cancel(server, id);
  throwIfAborted(signal);
  return id;
}

async function finished(
  server: HttpServer,
  id: string,
  { pollMs, timeoutMs }: JobOptions,
  signal: AbortSignal,
): Promise<JobOutcome> {
  const path = `sdcpp/v1/jobs/${encodeURIComponent(id)}`;
  let since: number | undefined;
  for (let wait = FIRST_POLL_MS; ; wait = Math.min(wait * 1.5, pollMs)) {
    await sleep(wait, undefined, { signal }).catch(() => undefined);
    throwIfAborted(signal);
    let reply: unknown;
    try {
      reply = await server.json(path, { signal, timeoutMs: ASK_MS });
    } catch (error) {
      // forgotten, or forgotten on purpose after a while
      if (error instanceof HttpError && (error.status === 404 || error.status === 410)) return { kind: "lost" };
      throw error;
    }
    const { status, result, error } = parseAnswer(server, path, jobSchema, reply);
    if (status === "completed") {
      const images = [...(result?.images ?? [])].sort((a, b) => a.index - b.index);
      return { kind: "done", images: images.map(({ b64_json: encoded }) => encoded) };
    }
    if (status === "cancelled") return { kind: "cancelled" };
    if (status === "failed") {
      const said = oneLine([error?.code, error?.message].filter(Boolean).join(": ")) || "no reason";
      throw server.fault("bad-response", `${path}: expected pictures, got a failed job: ${said}`);
    }
    if (status === "generating") since ??= performance.now();
    if (since !== undefined && performance.now() - since > timeoutMs) {
      throw server.fault("unavailable", `${path}: expected pictures within ${timeoutMs / 1000} s, got none`);
    }
  }
}

/** Takes a job back. One that is being drawn goes on where the server cannot stop it. */
async function cancel(server: HttpServer, id: string): Promise<void> {
  const path = `sdcpp/v1/jobs/${encodeURIComponent(id)}/cancel`;
  try {
    await server.request(path, { body: {}, aside: true, timeoutMs: CANCEL_MS });
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
  }
}
