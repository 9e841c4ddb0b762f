/**
 * @file The backend `huggingface`: text to image through Hugging Face's inference providers or a dedicated endpoint. The client library says how each
 * provider is asked; sending, repeating, waiting and reading the answer are done here, because the library repeats a 503 without pause or end, labels
 * every picture image/jpeg, and fetches addresses from answers without any limit.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { getProviderHelper, makeRequestOptionsFromResolvedModel } from "@huggingface/inference";
import { throwIfAborted } from "../util/abort.js";
import type { GeneratedGroup, ImageBackend, ImageRequest } from "./contract.js";
import { drawGroups, type GroupOptions } from "./groups.js";
import type { HttpReply, HttpServer } from "./http/client.js";
import { type Answer, isCompleted, isUnderway, type Job, readAnswer } from "./huggingface-answer.js";
import { checkOptions, findRoute, HUB, type HuggingfaceOptions, type Route, TASK } from "./huggingface-route.js";
import { bytesOfBase64, decodeReceived, sizeWarning } from "./received.js";
import { checkRequest, NO_DEFAULTS } from "./resolve.js";

const ROUTER_HOST = "router.huggingface.co";
const MAXIMUM_SIDE = 4096;
/** Milliseconds that telling a provider of a cancellation may take. */
const CANCEL_MS = 2000;

/**
 * Opens the service. A call draws one picture. The seed is passed on, but which providers honour it is not known: a seed is recorded as reported only
 * where the answer has one.
 * @throws UsageError for options that do not go together
 */
export function openHuggingface(server: HttpServer, options: HuggingfaceOptions): ImageBackend {
  checkOptions(options);
  let route: Promise<Route> | undefined;
  const routed = async (signal: AbortSignal | undefined): Promise<Route> => {
    route ??= findRoute(server, options, signal);
    try {
      return await route;
    } catch (error) {
      route = undefined; // asked again next time
      throw error;
    }
  };
  const concurrency = options.concurrency ?? 4;
  const backend: ImageBackend = {
    name: "huggingface",
    model: { name: options.model ?? options.endpoint!, path: undefined },
    capabilities: {
      seeds: "requested",
      cancel: "waiting",
      negativePrompt: true,
      steps: true,
      guidance: true,
      samplers: [],
      size: { multiple: 8, minimum: 64, maximum: MAXIMUM_SIDE },
      maximumBatch: 1,
      concurrency,
      textToImage: true,
      imageToImage: false,
      inpainting: false,
    },
    defaults: NO_DEFAULTS,
    async *generate(request, given = {}) {
      checkRequest(backend, request);
      throwIfAborted(given.signal);
      const found = await routed(given.signal);
      yield* drawGroups(request, concurrency, given, ({ seed }, watched) =>
        server.during(watched.signal, (signal) =>
          drawOne({ server, options, request, route: found }, seed, { ...watched, signal }),
        ),
      );
    },
    async probe(signal) {
      if (options.endpoint !== undefined) return [];
      const { provider, model } = await routed(signal);
      return [`${HUB}: ${options.model} is drawn by ${provider} as ${model}`];
    },
    dispose: () => server.close(),
  };
  return backend;
}

interface Drawing {
  readonly server: HttpServer;
  readonly options: HuggingfaceOptions;
  readonly request: ImageRequest;
  readonly route: Route;
}

async function drawOne(drawing: Drawing, seed: number, { signal, onProgress }: GroupOptions): Promise<GeneratedGroup> {
  const { server, request, route } = drawing;
  const { bytes, seed: reportedSeed } = await askFor(drawing, seed, signal);
  const image = await decodeReceived(bytes, `${server.name}: picture`);
  onProgress({ step: 1, steps: 1, candidates: 1 });
  const asked = [
    ...(reportedSeed === null ? ["seed"] : []),
    ...(request.negativePrompt === undefined ? [] : ["negative prompt"]),
    ...(request.steps === undefined ? [] : ["steps"]),
    ...(request.guidance === undefined ? [] : ["guidance"]),
  ];
  const warnings = [
    ...route.warnings,
    ...(asked.length === 0
      ? []
      : [`${server.name}: ${asked.join(", ")}: passed on, but the provider does not say whether it honours them`]),
    ...(reportedSeed === null || reportedSeed === seed
      ? []
      : [`${server.name}: expected the seeds asked for, got others; the record of each picture says which`]),
    ...sizeWarning(server.name, request, image),
  ];
  return {
    images: [{ seed, image, evaluations: 0, reportedSeed, source: `${server.name} (${route.provider})` }],
    warnings,
  };
}

/** Asks for one picture and waits for it. */
async function askFor(
  { server, options, request, route }: Drawing,
  seed: number,
  signal: AbortSignal,
): Promise<{ readonly bytes: Uint8Array; readonly seed: number | null }> {
  const { address, headers, body } = requestOf(options, route, request, seed);
  const reply = await server.send(address, headers, { text: body, signal });
  if (!isJson(reply)) return { bytes: reply.bytes, seed: null };
  const where = address.pathname;
  let answer = understood(server, where, server.parse(where, reply));
  if (answer.kind === "pending") answer = await waitFor(server, options, { address, headers }, answer.job, signal);
  if (answer.kind === "failed")
    throw server.fault("bad-response", `${where}: expected a picture, got ${answer.reason}`);
  if (answer.kind === "pending") throw server.fault("bad-response", `${where}: expected a picture, got another job`);
  const picture = { seed: answer.seed };
  if (answer.kind === "encoded") return { ...picture, bytes: bytesOfBase64(answer.base64, `${server.name}: picture`) };
  return { ...picture, bytes: (await server.download(answer.address, { signal })).bytes };
}

/** The request as the client library writes it for the provider. */
function requestOf(
  { endpoint, token, billTo }: HuggingfaceOptions,
  { provider, model, mapping }: Route,
  request: ImageRequest,
  seed: number,
): { readonly address: URL; readonly headers: Readonly<Record<string, string>>; readonly body: string } {
  const parameters = {
    seed,
    negative_prompt: request.negativePrompt,
    num_inference_steps: request.steps,
    guidance_scale: request.guidance,
    width: request.width,
    height: request.height,
  };
  const given = Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined));
  const { url, info } = makeRequestOptionsFromResolvedModel(
    model,
    getProviderHelper(provider, TASK),
    {
      inputs: request.prompt,
      parameters: given,
      ...(endpoint === undefined ? {} : { endpointUrl: endpoint }),
      ...(token === undefined ? {} : { accessToken: token.reveal() }),
    },
    mapping as Parameters<typeof makeRequestOptionsFromResolvedModel>[3],
    // base64 rather than an address, where there is a choice
    { task: TASK, outputType: "dataUrl", ...(billTo === undefined ? {} : { billTo }) } as object,
  );
  return { address: new URL(url), headers: info.headers as Record<string, string>, body: info.body as string };
}

/** Asks after a queued picture until it is there. The questions go to the host that took the order, whatever the answer names. */
async function waitFor(
  server: HttpServer,
  { queueSeconds = 600, pollMs = 500 }: HuggingfaceOptions,
  { address, headers }: { readonly address: URL; readonly headers: Readonly<Record<string, string>> },
  { poll, result, cancel }: Job,
  signal: AbortSignal,
): Promise<Answer> {
  // the router puts the provider's name before its paths
  const prefix = address.host === ROUTER_HOST ? `/${address.pathname.split("/")[1] ?? ""}` : "";
  const at = (path: string): URL => new URL(`${prefix}${path}${address.search}`, address.origin);
  const ask = async (path: string): Promise<unknown> =>
    server.parse(path, await server.send(at(path), headers, { signal, timeoutMs: 60_000 }));
  const deadline = performance.now() + queueSeconds * 1000;
  try {
    for (let wait = pollMs; ; wait = Math.min(wait * 1.5, pollMs * 8)) {
      await sleep(wait, undefined, { signal });
      const json = await ask(poll);
      if (result !== undefined && isCompleted(json)) return understood(server, result, await ask(result));
      if (!isUnderway(json)) return understood(server, poll, json);
      if (performance.now() > deadline) {
        throw server.fault("unavailable", `${poll}: expected a picture within ${queueSeconds} s, got it still queued`);
      }
    }
  } catch (error) {
    if (cancel !== undefined) {
      const stop = { method: cancel.method, aside: true, timeoutMs: CANCEL_MS };
      await server.send(at(cancel.path), headers, stop).catch(() => undefined);
    }
    throw error;
  }
}

/** @throws HttpError for an answer of no known form */
function understood(server: HttpServer, where: string, json: unknown): Answer {
  const answer = readAnswer(json);
  if (answer !== undefined) return answer;
  throw server.fault("bad-response", `${where}: expected a picture, got ${JSON.stringify(json).slice(0, 100)}`);
}

function isJson({ contentType, bytes }: HttpReply): boolean {
  // pictures come under whatever label, JSON comes as text that begins like it
  return contentType.includes("json") || bytes[0] === 0x7b;
}
