/** @file Opens a backend from its configuration: the one place that knows every kind. */

import { readSecret, Secret, type SecretSource } from "../util/secret.js";
import type { BackendConfig, BackendKind } from "./config.js";
import type { ImageBackend } from "./contract.js";
import type { HttpServer, HttpServerOptions } from "./http/client.js";

/** What opening may need. */
export interface OpenContext {
  /** Opens the Stable Diffusion in a folder, or the one that ships inside. */
  readonly local: (directory: string | null) => Promise<ImageBackend>;
  readonly signal?: AbortSignal | undefined;
  /** Where secrets are looked up. @default process.env */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
}

type ConfigOf<Kind extends BackendKind> = Extract<BackendConfig, { backend: Kind }>;
type Opener<Kind extends BackendKind> = (config: ConfigOf<Kind>, context: OpenContext) => Promise<ImageBackend>;

const OPENERS: { readonly [Kind in BackendKind]: Opener<Kind> } = {
  local: (config, { local }) => local(config.model ?? null),
  webui: async (config, context) => {
    const { openWebui } = await import("./webui.js");
    const { model, scheduler, batch: maximumBatch } = config;
    const headers = await basicAuthorization(config, context);
    return pooled(config, headers, (server) => openWebui(server, { model, scheduler, maximumBatch }, context.signal));
  },
  comfyui: async (config, context) => {
    const { openComfyui } = await import("./comfyui.js");
    const { model, scheduler, loras, workflow, slots, output, concurrency } = config;
    const unseeded = config.seeds === undefined ? undefined : true;
    const timeoutMs = config.timeout === undefined ? undefined : config.timeout * 1000;
    const options = { model, scheduler, loras, workflow, slots, output, unseeded, concurrency, timeoutMs };
    const headers = await basicAuthorization(config, context);
    return pooled(config, headers, (server) => openComfyui(server, options, context.signal));
  },
  sdcpp: async (config, context) => {
    const { openSdcpp } = await import("./sdcpp.js");
    const { scheduler, loras, batch: maximumBatch, concurrency } = config;
    const timeoutMs = config.timeout === undefined ? undefined : config.timeout * 1000;
    const options = { scheduler, loras, maximumBatch, concurrency, timeoutMs };
    return pooled(config, {}, (server) => openSdcpp(server, options, context.signal));
  },
  openai: async (config, context) => {
    const { openOpenai } = await import("./openai.js");
    const key = await secretOf(config.key ?? { env: "OPENAI_API_KEY" }, "backend openai: key", context);
    const headers = key === undefined ? {} : { authorization: new Secret(`Bearer ${key.reveal()}`) };
    const { model, quality, extra, concurrency } = config;
    return pooled(config, headers, async (server) => openOpenai(server, { model, quality, extra, concurrency }));
  },
  huggingface: async (config, context) => {
    const { openHuggingface } = await import("./huggingface.js");
    const token = await secretOf(config.token ?? { env: "HF_TOKEN" }, "backend huggingface: token", context);
    const { model, provider, url: endpoint, billTo, concurrency } = config;
    const address = endpoint ?? "https://router.huggingface.co";
    return pooled({ ...config, url: address }, {}, async (server) =>
      openHuggingface(server, { model, provider, endpoint, token, billTo, concurrency }),
    );
  },
  folder: async (config, { signal }) => {
    const { openFolder } = await import("./folder.js");
    return openFolder(typeof config.path === "string" ? [config.path] : config.path, config.prompts, signal);
  },
};

/**
 * Opens what `config` says.
 * @throws what the backend throws when it cannot be used: UsageError, ModelError, HttpError
 */
export function openConfigured(config: BackendConfig, context: OpenContext): Promise<ImageBackend> {
  const open = OPENERS[config.backend] as Opener<BackendKind>;
  return open(config, context);
}

/** Opens one server, or several of a kind as one backend. */
async function pooled(
  config: ConfigOf<"webui" | "comfyui" | "sdcpp" | "openai" | "huggingface"> & {
    readonly url: string | readonly string[];
  },
  headers: HttpServerOptions["headers"],
  open: (server: HttpServer) => Promise<ImageBackend>,
): Promise<ImageBackend> {
  const { HttpServer: Server } = await import("./http/client.js");
  const urls = typeof config.url === "string" ? [config.url] : config.url;
  const servers = urls.map(
    (url) =>
      new Server({
        name: `${config.backend} ${url}`,
        url,
        headers,
        timeoutMs: config.timeout === undefined ? undefined : config.timeout * 1000,
        // where another server can take over, asking the same one again and again only costs time
        retries: config.retries ?? (urls.length > 1 ? 1 : undefined),
      }),
  );
  const { poolOf } = await import("./pool.js");
  return poolOf(servers, open, { concurrency: config.concurrency, rate: config.rate });
}

async function basicAuthorization(
  { backend, user, password }: ConfigOf<"webui" | "comfyui">,
  context: OpenContext,
): Promise<HttpServerOptions["headers"]> {
  const secret = password === undefined ? undefined : await secretOf(password, `backend ${backend}: password`, context);
  if (user === undefined && secret === undefined) return {};
  const credentials = `${user ?? ""}:${secret?.reveal() ?? ""}`;
  return { authorization: new Secret(`Basic ${Buffer.from(credentials).toString("base64")}`) };
}

function secretOf(source: SecretSource, where: string, { environment }: OpenContext): Promise<Secret | undefined> {
  return readSecret(source, where, environment);
}
