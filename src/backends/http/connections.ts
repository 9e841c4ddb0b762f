/** @file How connections are made: straight, through the proxy that the environment names, or to public addresses alone. */

import type { Duplex } from "node:stream";
import { Agent, type buildConnector, type Dispatcher, EnvHttpProxyAgent } from "undici";
import { publicLookup } from "./public-address.js";

/** What all connections of a server share. */
export interface ConnectionOptions {
  /** Milliseconds without a byte once an answer has begun. */
  readonly idleMs: number;
  /** Makes every connection, in place of name resolution, TLS and proxies. */
  readonly connect?: buildConnector.connector | undefined;
}

const CONNECT_MS = 10_000;
const PROXIES = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"] as const;

/** Connections to `url`'s server. `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` are honoured, except that this machine is never asked for through a proxy. */
export function connectionsTo(url: URL, options: ConnectionOptions): Dispatcher {
  return dispatcher(options, { timeout: CONNECT_MS }, !isLoopback(url.hostname));
}

/** Connections to public addresses. A name is judged by what it resolves to at the moment of connecting; behind a proxy, resolving is the proxy's. */
export function publicConnections(options: ConnectionOptions): Dispatcher {
  return dispatcher(options, { timeout: CONNECT_MS, lookup: publicLookup }, true);
}

/** The same connections; those that become sockets, which undici then forgets, are in `upgraded` until they are closed. */
export function watchUpgrades(connections: Dispatcher, upgraded: Set<Duplex>): Dispatcher {
  return connections.compose(
    (dispatch) => (options, handler) =>
      dispatch(options, {
        onRequestStart: (...given) => handler.onRequestStart?.(...given),
        onRequestUpgrade(controller, status, headers, socket) {
          upgraded.add(socket);
          socket.once("close", () => upgraded.delete(socket));
          handler.onRequestUpgrade?.(controller, status, headers, socket);
        },
        onResponseStart: (...given) => handler.onResponseStart?.(...given),
        onResponseData: (...given) => handler.onResponseData?.(...given),
        onResponseEnd: (...given) => handler.onResponseEnd?.(...given),
        onResponseError: (...given) => handler.onResponseError?.(...given),
      }),
  );
}

function dispatcher(
  { idleMs, connect: own }: ConnectionOptions,
  connect: buildConnector.BuildOptions,
  proxied: boolean,
): Dispatcher {
  // a picture may take longer than undici's 300 s for the first header: the deadline is the caller's
  const common = { headersTimeout: 0, bodyTimeout: idleMs };
  if (own !== undefined) return new Agent({ ...common, connect: own });
  const behindProxy = proxied && PROXIES.some((name) => (process.env[name] ?? "") !== "");
  return behindProxy ? new EnvHttpProxyAgent({ ...common, connect }) : new Agent({ ...common, connect });
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d+){3}$/.test(hostname);
}
