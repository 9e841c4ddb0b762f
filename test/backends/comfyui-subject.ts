/** @file A backend on a ComfyUI of its own, for tests, and requests to it. */

import type { ComfyuiOptions } from "#laurel/backends/comfyui";
import { openComfyui } from "#laurel/backends/comfyui";
import type { ImageBackend, ImageRequest } from "#laurel/backends/contract";
import { HttpServer } from "#laurel/backends/http/client";
import { drawn, request as anyRequest } from "./drawn.js";
import { type ComfyuiBehaviour, type ComfyuiServer, startComfyui } from "./servers/comfyui-server.js";

/** What has to be closed. */
export const started: { close(): Promise<void> }[] = [];
/** Closes what was opened since the last call. */
export async function closeAll(): Promise<void> {
  await Promise.all(started.splice(0).map((one) => one.close()));
}

export const MODEL = { model: "tiny" };
export const SIZE = { width: 64, height: 64 };

export async function connect(server: ComfyuiServer, options: ComfyuiOptions = MODEL): Promise<ImageBackend> {
  const client = new HttpServer({ name: "comfyui", url: server.url, backoffMs: 1, maximumBackoffMs: 5, idleMs: 100 });
  started.push({ close: () => client.close() });
  const backend = await openComfyui(client, { pollMs: 20, ...options });
  started.push({ close: () => backend.dispose() });
  return backend;
}

export async function open(
  behaviour: ComfyuiBehaviour = {},
  options: ComfyuiOptions = MODEL,
): Promise<{ server: ComfyuiServer; backend: ImageBackend }> {
  const server = await startComfyui(behaviour);
  started.push(server);
  return { server, backend: await connect(server, options) };
}

/** Three pictures, one a prompt. */
export function request(change: Partial<ImageRequest> = {}): ImageRequest {
  return anyRequest({ batch: 1, ...change });
}

export async function draw(backend: ImageBackend, change: Partial<ImageRequest> = {}): ReturnType<typeof drawn> {
  return drawn(backend, request(change));
}
