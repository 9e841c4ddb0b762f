/** @file Who draws for the backend `huggingface`: its options, and the hub's word on which provider serves a model. */

import { type InferenceProvider, PROVIDERS } from "@huggingface/inference";
import { z } from "zod";
import { UsageError } from "../errors.js";
import type { Secret } from "../util/secret.js";
import type { HttpServer } from "./http/client.js";

/** How the service is used. */
export interface HuggingfaceOptions {
  /** `organisation/name` on the hub. */
  readonly model?: string | undefined;
  /** Left out, the first provider that draws with the model, in the order the hub lists them. */
  readonly provider?: string | undefined;
  /** A dedicated endpoint, instead of a provider. */
  readonly endpoint?: string | undefined;
  /** Of Hugging Face (`hf_...`), or a provider's own key, which goes to the provider and needs `provider`. */
  readonly token?: Secret | undefined;
  /** Account that pays. */
  readonly billTo?: string | undefined;
  /** Calls at once. @default 4 */
  readonly concurrency?: number | undefined;
  /** Seconds a picture may take from a provider that works through a queue. @default 600 */
  readonly queueSeconds?: number | undefined;
  /** Milliseconds before the first question after a queued picture; each further one waits longer, up to eight times as long. @default 500 */
  readonly pollMs?: number | undefined;
}

export const HUB = "https://huggingface.co";
export const TASK = "text-to-image";

const mappingSchema = z.looseObject({
  provider: z.string(),
  providerId: z.string(),
  status: z.string(),
  task: z.string(),
});
/** The hub writes the mapping as a list, and wrote it as an object by provider. */
const hubSchema = z.object({
  inferenceProviderMapping: z.union([
    z.array(mappingSchema),
    z
      .record(z.string(), mappingSchema.omit({ provider: true }))
      .transform((entries) =>
        Object.entries(entries).map(([provider, entry]) => mappingSchema.parse({ ...entry, provider })),
      ),
  ]),
});

/** Who draws, under which name it knows the model. */
export interface Route {
  readonly provider: InferenceProvider;
  readonly model: string;
  readonly mapping: z.infer<typeof mappingSchema> | undefined;
  readonly warnings: readonly string[];
}

/** @throws UsageError for options that do not go together */
export function checkOptions({ endpoint, provider, model, token }: HuggingfaceOptions): void {
  const where = "backend huggingface";
  if (endpoint !== undefined && provider !== undefined) {
    throw new UsageError(`${where}: expected url or provider, got both`);
  }
  if (endpoint === undefined && model === undefined) {
    throw new UsageError(
      `${where}: model: expected a model on the hub, such as stabilityai/stable-diffusion-xl-base-1.0, got none`,
    );
  }
  if (endpoint === undefined && token === undefined) {
    throw new UsageError(
      `${where}: token: expected a token of Hugging Face, got none; set HF_TOKEN, or say where it is`,
    );
  }
  if (model !== undefined && !/^[\w.-]+\/[\w.-]+$/.test(model)) {
    throw new UsageError(`${where}: model: expected organisation/name, got ${JSON.stringify(model)}`);
  }
  const known = Object.keys(PROVIDERS).filter((name) => drawsPictures(name));
  if (provider !== undefined && provider !== "auto" && !drawsPictures(provider)) {
    throw new UsageError(`${where}: provider: expected auto or one of ${known.join(", ")}, got ${provider}`);
  }
  const chosen = endpoint !== undefined || (provider !== undefined && provider !== "auto");
  if (token !== undefined && !isHubToken(token) && !chosen) {
    throw new UsageError(
      `${where}: token: expected one of Hugging Face (hf_...), got another; with a provider's own key, say which provider it is for`,
    );
  }
}

function drawsPictures(provider: string): provider is InferenceProvider {
  return Object.hasOwn(PROVIDERS, provider) && TASK in (PROVIDERS[provider as InferenceProvider] ?? {});
}

function isHubToken(token: Secret): boolean {
  return token.reveal().startsWith("hf_");
}

/** Asks the hub who draws with the model. @throws UsageError when nobody does */
export async function findRoute(
  server: HttpServer,
  { model, endpoint, provider: wanted, token }: HuggingfaceOptions,
  signal: AbortSignal | undefined,
): Promise<Route> {
  if (endpoint !== undefined) return { provider: "hf-inference", model: endpoint, mapping: undefined, warnings: [] };
  const path = `/api/models/${model}`;
  const headers = token !== undefined && isHubToken(token) ? { authorization: `Bearer ${token.reveal()}` } : {};
  const url = new URL(`${path}?expand[]=inferenceProviderMapping`, HUB);
  const parsed = hubSchema.safeParse(
    server.parse(path, await server.send(url, headers, { signal, timeoutMs: 30_000 })),
  );
  if (!parsed.success)
    throw server.fault("bad-response", `${path}: expected the providers of a model, got another answer`);
  const entries = parsed.data.inferenceProviderMapping.filter(({ task }) => task === TASK);
  const auto = wanted === undefined || wanted === "auto";
  const entry = entries.find(({ provider }) => (auto ? drawsPictures(provider) : provider === wanted));
  if (entry === undefined || !drawsPictures(entry.provider)) {
    const others = entries.map(({ provider }) => provider).join(", ");
    throw new UsageError(
      `backend huggingface: expected a provider that draws with ${model}, got ${auto ? "none" : `${wanted}, which does not`}${others === "" ? "" : `; it is served by ${others}`}`,
    );
  }
  const warnings =
    entry.status === "staging"
      ? [`${server.name}: ${entry.provider} serves ${model} for tests only (its status is staging)`]
      : [];
  return { provider: entry.provider, model: entry.providerId, mapping: entry, warnings };
}
