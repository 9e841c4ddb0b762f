/** @file How the hub is spoken to, as the environment says: the variables of Python's huggingface_hub mean the same here. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "../../errors.js";
import { Secret } from "../../util/secret.js";
import { type Environment, expandPath, hubCacheFolder, hubHomeFolder } from "../../util/user-folders.js";

/** Where the hub is, where its cache is, and who asks. */
export interface HubSettings {
  /** The cache's folder. */
  readonly cache: string;
  /** Address of the hub or of a mirror, without a slash at its end. */
  readonly endpoint: string;
  readonly token: Secret | undefined;
  /** Nothing may be asked of the network. */
  readonly offline: boolean;
  /** Snapshots may be links to blobs. */
  readonly symlinks: boolean;
  /** Milliseconds for the head of an answer. @default 10000 */
  readonly etagTimeoutMs?: number | undefined;
  /** Milliseconds without a byte of a file. @default 10000 */
  readonly downloadTimeoutMs?: number | undefined;
}

const HUB = "https://huggingface.co";

/**
 * `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`, `HF_HUB_DISABLE_SYMLINKS`, `HF_HUB_ETAG_TIMEOUT`,
 * `HF_HUB_DOWNLOAD_TIMEOUT`, and what names the cache. Source: huggingface_hub v1.0, constants.py.
 * @throws UsageError for an address or a number that is none
 */
export async function hubSettings(environment: Environment = process.env): Promise<HubSettings> {
  return {
    cache: hubCacheFolder(environment),
    endpoint: endpointOf(environment["HF_ENDPOINT"]),
    token: await tokenOf(environment),
    offline: isOn(environment["HF_HUB_OFFLINE"]) || isOn(environment["TRANSFORMERS_OFFLINE"]),
    symlinks: !isOn(environment["HF_HUB_DISABLE_SYMLINKS"]),
    etagTimeoutMs: milliseconds("HF_HUB_ETAG_TIMEOUT", environment),
    downloadTimeoutMs: milliseconds("HF_HUB_DOWNLOAD_TIMEOUT", environment),
  };
}

function endpointOf(given: string | undefined): string {
  const text = (given ?? "").trim().replace(/\/+$/, "") || HUB;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") {
    throw new UsageError(`HF_ENDPOINT: expected an http(s) address without credentials, got ${describe(text)}`);
  }
  return text;
}

async function tokenOf(environment: Environment): Promise<Secret | undefined> {
  const given = environment["HF_TOKEN"] ?? environment["HUGGING_FACE_HUB_TOKEN"] ?? "";
  const path = environment["HF_TOKEN_PATH"] ?? "";
  const file = path === "" ? join(hubHomeFolder(environment), "token") : expandPath(path, environment);
  const text = (given.trim() === "" ? await readFile(file, "utf8").catch(() => "") : given).trim();
  if (text === "") return undefined;
  if (/[^\u0021-\u007e]/.test(text)) {
    throw new UsageError("HF_TOKEN: expected one word of ASCII, got other characters (not shown here)");
  }
  return new Secret(text, "HF_TOKEN");
}

function isOn(value: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(value ?? "");
}

function milliseconds(name: string, environment: Environment): number | undefined {
  const text = (environment[name] ?? "").trim();
  if (text === "") return undefined;
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= 3600)) {
    throw new UsageError(`${name}: expected seconds from 1 to 3600, got ${JSON.stringify(text)}`);
  }
  return seconds * 1000;
}

/** An address may hold a password. */
function describe(text: string): string {
  return JSON.stringify(text.replace(/\/\/[^/\s]*@/g, "//[redacted]@"));
}
