/** @file Who may ask: names of this server, origins of web pages, the bearer token. */

import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import ipaddr from "ipaddr.js";
import { UsageError } from "../errors.js";
import type { Secret } from "../util/secret.js";
import { Problem } from "./problem.js";

/** A shorter token could be found by trying. */
const SHORTEST_TOKEN = 16;

/** Who may ask. */
export interface GuardOptions {
  /** What the server listens on: a name or an address. */
  readonly host: string;
  /** What every request but that for health has to carry. */
  readonly token?: Secret | undefined;
  /** Names that the server is reached by, beside its own and those of this machine's loopback. */
  readonly allowedHosts: readonly string[];
  /** Origins of web pages that may ask, such as `https://pictures.example`. */
  readonly allowedOrigins: readonly string[];
}

/** True for an address or name that only this machine reaches. */
export function isLoopback(host: string): boolean {
  const name = unbracketed(host).toLowerCase();
  if (name === "localhost" || name.endsWith(".localhost")) return true;
  return ipaddr.isValid(name) && ipaddr.process(name).range() === "loopback";
}

/**
 * Checks whom a server would be open to.
 * @throws UsageError when other machines can reach it without a token, for a token that is short or no header carries, or for what is no name or origin
 */
export function checkExposure({ host, token, allowedHosts, allowedOrigins }: GuardOptions): void {
  if (token === undefined && !isLoopback(host)) {
    throw new UsageError(
      `host ${host}: expected a token, as other machines can reach it, got none; set one with --token-env or --token-file, or listen on 127.0.0.1`,
    );
  }
  const length = token?.reveal().length ?? SHORTEST_TOKEN;
  if (length < SHORTEST_TOKEN) {
    throw new UsageError(`token: expected at least ${SHORTEST_TOKEN} characters, got ${length}`);
  }
  if (/[^!-~]/.test(token?.reveal() ?? "")) {
    throw new UsageError("token: expected visible ASCII characters alone, as a header carries them, got others");
  }
  for (const name of allowedHosts) {
    if (ipaddr.isValid(unbracketed(name)) || nameOf(name) === name.toLowerCase()) continue;
    throw new UsageError(`allowed host: expected a name without port such as gpu.example, got ${shown(name)}`);
  }
  for (const origin of allowedOrigins) {
    if (!isOrigin(origin)) {
      throw new UsageError(
        `origin: expected one such as https://pictures.example:8080, got ${JSON.stringify(origin)}; there is none for all`,
      );
    }
  }
}

function isOrigin(text: string): boolean {
  try {
    return /^https?:$/.test(new URL(text).protocol) && new URL(text).origin === text;
  } catch {
    return false;
  }
}

/**
 * Checks the names in a request. The Host has to be one of this server's, else a page whose name is made to point here could read its answers (DNS rebinding);
 * an Origin has to be allowed or the server's own, else any page in a browser of this machine could ask.
 * @throws Problem 403
 */
export function checkNames(headers: IncomingHttpHeaders, options: GuardOptions): void {
  const { host = "", origin } = headers;
  if (!isOwnName(nameOf(host), options)) {
    throw new Problem(403, `Host: expected a name of this server, got ${shown(host)}; --allow-host adds one`);
  }
  if (origin === undefined || origin === `http://${host}` || options.allowedOrigins.includes(origin)) return;
  throw new Problem(403, `Origin: expected no other web page, got ${shown(origin)}; --allow-origin adds one`);
}

function isOwnName(name: string, { host, allowedHosts }: GuardOptions): boolean {
  if (name === "") return false;
  const own = unbracketed(host).toLowerCase();
  if (isLoopback(name) || name === own || allowedHosts.some((one) => unbracketed(one).toLowerCase() === name))
    return true;
  // whoever listens on all addresses is reached by any of them; only names can be made to point elsewhere
  return ipaddr.isValid(own) && ipaddr.process(own).range() === "unspecified" && ipaddr.isValid(name);
}

/** The name in a Host header, lower case, without port and brackets; empty for what is none. */
function nameOf(host: string): string {
  const [, name = ""] = /^(\[[0-9a-f:.]+\]|[^\s:/@[\]]+)(?::\d{1,5})?$/i.exec(host) ?? [];
  return unbracketed(name).toLowerCase();
}

function unbracketed(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1");
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}

/** @throws Problem 401 without the token; how long it takes does not depend on what was sent instead */
export function checkToken({ authorization = "" }: IncomingHttpHeaders, token: Secret | undefined): void {
  if (token === undefined) return;
  const [, sent = ""] = /^Bearer +(\S+) *$/i.exec(authorization) ?? [];
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  if (timingSafeEqual(digest(sent), digest(token.reveal()))) return;
  const what = authorization === "" ? "none" : "another";
  const headers = { "www-authenticate": 'Bearer realm="laurel"' };
  throw new Problem(401, `Authorization: expected the server's bearer token, got ${what}`, { headers });
}

/** The headers that let a page of an allowed origin read the answer; none for others. */
export function corsHeaders({ origin }: IncomingHttpHeaders, { allowedOrigins }: GuardOptions): OutgoingHttpHeaders {
  if (allowedOrigins.length === 0) return {};
  const allowed = origin !== undefined && allowedOrigins.includes(origin);
  return { vary: "Origin", ...(allowed ? { "access-control-allow-origin": origin } : {}) };
}

/** The headers that answer a browser that asks before it sends. */
export function preflightHeaders(methods: readonly string[]): OutgoingHttpHeaders {
  return {
    "access-control-allow-methods": methods.join(", "),
    "access-control-allow-headers": "authorization, content-type",
    "access-control-max-age": "600",
  };
}
