/** @file The backend `huggingface`: text to image through Hugging Face's inference providers or a dedicated endpoint. */

import { InferenceClient, type InferenceProviderOrPolicy } from "@huggingface/inference";
import { UsageError } from "../errors.js";
import type { RgbImage } from "../image/types.js";
import type { Secret } from "../util/secret.js";
import type { GeneratedGroup, ImageBackend, ImageRequest } from "./contract.js";
import { drawGroups, type GroupOptions } from "./groups.js";
import type { HttpServer } from "./http/client.js";
import { HttpError } from "./http/error.js";
import { bytesOfBase64, decodeReceived, sizeWarning } from "./received.js";
import { checkRequest } from "./resolve.js";

/** How the service is used. */
export interface HuggingfaceOptions {
  /** `organisation/name` on the hub. */
  readonly model?: string | undefined;
  /** Left out, the first provider that serves the model, in the order of the account's settings. */
  readonly provider?: string | undefined;
  /** A dedicated endpoint, instead of a provider. */
  readonly endpoint?: string | undefined;
  readonly token?: Secret | undefined;
  /** Account that pays. */
  readonly billTo?: string | undefined;
  /** Calls at once. @default 4 */
  readonly concurrency?: number | undefined;
}

const MAXIMUM_SIDE = 4096;

/**
 * Opens the service. A call draws one picture. The seed is passed on, but which providers honour it is not known: it is recorded as requested and never
 * as reported.
 * @throws UsageError for options that do not go together
 */
export function openHuggingface(server: HttpServer, options: HuggingfaceOptions): ImageBackend {
  if (options.endpoint !== undefined && options.provider !== undefined) {
    throw new UsageError("backend huggingface: expected url or provider, got both");
  }
  if (options.endpoint === undefined && options.model === undefined) {
    throw new UsageError(
      "backend huggingface: model: expected a model on the hub, such as stabilityai/stable-diffusion-xl-base-1.0, got none",
    );
  }
  // its own repetition after 503 knows no pause and no end: ours does
  const client = new InferenceClient(options.token?.reveal(), { retry_on_error: false });
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
      concurrency: options.concurrency ?? 4,
      textToImage: true,
      imageToImage: false,
      inpainting: false,
    },
    defaults: {
      steps: undefined,
      guidance: undefined,
      sampler: undefined,
      width: undefined,
      height: undefined,
      batch: 1,
    },
    async *generate(request, given = {}) {
      checkRequest(backend, request);
      yield* drawGroups(request, options.concurrency ?? 4, given, ({ seed }, watched) =>
        drawOne({ client, server, options, request }, seed, watched),
      );
    },
    dispose: () => server.close(),
  };
  return backend;
}

interface Drawing {
  readonly client: InferenceClient;
  readonly server: HttpServer;
  readonly options: HuggingfaceOptions;
  readonly request: ImageRequest;
}

async function drawOne(drawing: Drawing, seed: number, { signal, onProgress }: GroupOptions): Promise<GeneratedGroup> {
  const { server, request } = drawing;
  const image = await server.call((limited) => callClient(drawing, seed, limited, signal), { signal });
  onProgress({ step: 1, steps: 1, candidates: 1 });
  const told =
    "whether the seed, the negative prompt and the steps are honoured depends on the provider, which does not say";
  const warnings = [`${server.name}: ${told}`, ...sizeWarning(server.name, request, image)];
  return { images: [{ seed, image, evaluations: 0, reportedSeed: null }], warnings };
}

async function callClient(
  { client, server, options, request }: Drawing,
  seed: number,
  limited: typeof globalThis.fetch,
  signal: AbortSignal,
): Promise<RgbImage> {
  const { provider = options.endpoint === undefined ? "auto" : undefined, endpoint, model, billTo } = options;
  const parameters = {
    seed,
    ...(request.negativePrompt === undefined ? {} : { negative_prompt: request.negativePrompt }),
    ...(request.steps === undefined ? {} : { num_inference_steps: request.steps }),
    ...(request.guidance === undefined ? {} : { guidance_scale: request.guidance }),
    ...(request.width === undefined ? {} : { width: request.width }),
    ...(request.height === undefined ? {} : { height: request.height }),
  };
  const args = {
    inputs: request.prompt,
    parameters,
    ...(model === undefined ? {} : { model }),
    ...(endpoint === undefined ? {} : { endpointUrl: endpoint }),
    ...(provider === undefined ? {} : { provider: provider as InferenceProviderOrPolicy }),
  };
  // with `dataUrl` and `url` the client hands on what came; asked for a blob it would fetch an address from the answer without any limit
  const own = provider === undefined || provider === "hf-inference";
  const common = {
    fetch: withoutAddresses(limited, server, signal),
    signal,
    ...(billTo === undefined ? {} : { billTo }),
  };
  let result: unknown;
  try {
    result = own
      ? await client.textToImage(args, { ...common, outputType: "dataUrl" })
      : await client.textToImage(args, { ...common, outputType: "url" });
  } catch (error) {
    throw explained(error, server);
  }
  const where = `${server.name}: picture`;
  if (typeof result !== "string") throw server.fault("bad-response", `expected a picture, got ${typeof result}`);
  // the client labels everything image/jpeg; the decoder looks at the bytes
  const bytes = result.startsWith("data:")
    ? bytesOfBase64(result, where)
    : (await server.download(result, { signal })).bytes;
  return decodeReceived(bytes, where);
}

/** Some endpoints answer `{ "output": ["https://..."] }`, which the client would fetch unchecked: it is fetched here, under the server's limits. */
function withoutAddresses(
  limited: typeof globalThis.fetch,
  server: HttpServer,
  signal: AbortSignal,
): typeof globalThis.fetch {
  return async (input, init) => {
    const response = await limited(input, init);
    if (!(response.headers.get("content-type") ?? "").startsWith("application/json")) return response;
    const json: unknown = await response
      .clone()
      .json()
      .catch(() => undefined);
    const output = typeof json === "object" && json !== null ? (json as { output?: unknown }).output : undefined;
    const address: unknown = Array.isArray(output) ? output[0] : undefined;
    if (typeof address !== "string" || address.startsWith("data:")) return response;
    const { bytes } = await server.download(address, { signal });
    return new Response(Buffer.from(bytes), { headers: { "content-type": "image/png" } });
  };
}

/** The client's own errors: a wrong use is the user's, a broken answer the server's. */
function explained(error: unknown, server: HttpServer): unknown {
  if (error instanceof HttpError || !(error instanceof Error)) return error;
  const message = error.message.split("\n")[0] ?? "";
  if (error.name === "InputError" || error.name === "RoutingError")
    return new UsageError(`${server.name}: ${message}`, { cause: error });
  if (
    error.name === "ProviderOutputError" ||
    error.name === "ProviderApiError" ||
    error.name === "HubApiError" ||
    error instanceof SyntaxError
  ) {
    return server.fault("bad-response", message, { cause: error });
  }
  return error;
}
