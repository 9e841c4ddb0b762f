/** @file Whether a configured backend can be used: it is opened and asked what costs nothing. */

import type { BackendConfig } from "../backends/config.js";
import { HttpError, type HttpFault } from "../backends/http/error.js";
import { openConfigured } from "../backends/open.js";
import { CancelledError, UsageError } from "../errors.js";
import { type Check, failure } from "./check.js";

const HINTS: Readonly<Partial<Record<HttpFault, string>>> = {
  unavailable: "start the server, or give the address it listens at in the backend's configuration",
  unauthorised: "the configuration of the backend says where its key is looked for",
  untrusted: "a server of your own may be named by http where the network is your own",
  "bad-response": "what answers there may be another program, or behind a login",
};

/** Opens `config` and asks its servers. @throws CancelledError when `signal` aborts */
export async function checkBackend(config: BackendConfig, signal?: AbortSignal): Promise<Check> {
  const name = "backend";
  if (config.backend === "local") return { name, status: "ok", detail: "local: it is this installation itself" };
  const once = "url" in config ? { ...config, retries: 0 } : config;
  try {
    const backend = await openConfigured(once, { local: unreachable, signal });
    try {
      const found = (await backend.probe?.(signal)) ?? [];
      const facts = { backend: backend.name, model: backend.model.name, found };
      const detail = found.length > 0 ? found.join("; ") : `${backend.name}: ${backend.model.name}, not asked anything`;
      return { name, status: "ok", detail, facts };
    } finally {
      await backend.dispose();
    }
  } catch (error) {
    if (error instanceof CancelledError) throw error;
    return failure(name, error, error instanceof HttpError ? HINTS[error.fault] : undefined);
  }
}

function unreachable(): never {
  throw new UsageError("backend: expected a server or pictures, got a model");
}
