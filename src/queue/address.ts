/** @file Addresses of queue servers: what they may say, and what of them may be shown. */

import { UsageError } from "../errors.js";
import { Secret } from "../util/secret.js";

const FORMS = "redis://host[:port][/number], rediss:// for TLS, or postgres://user@host[:port]/database";
/** A key's first part on Redis, a schema on PostgreSQL: what both allow. */
const PREFIX = /^[A-Za-z_][A-Za-z0-9_]{0,39}$/;

/** An address, taken apart. */
export interface QueueAddress {
  readonly kind: "redis" | "postgres";
  /** Without password and settings. */
  readonly shown: string;
  /** For PostgreSQL's client: everything but what is Laurel's own. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  readonly username: string | undefined;
  readonly password: Secret | undefined;
  /** Redis' database. */
  readonly database: number;
  /** Keeps what is Laurel's, or one team's, apart on a server that others use too. */
  readonly prefix: string;
}

/** Reads an address. @throws UsageError that repeats nothing secret */
export function parseQueueAddress(address: string): QueueAddress {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(address)?.[1]?.toLowerCase();
  const refuse = (actual: string): never => {
    throw new UsageError(`queue: expected ${FORMS}, got ${actual}`);
  };
  if (scheme === undefined) return refuse(address.trim() === "" ? "an empty text" : "no scheme://");
  const kind = KINDS[scheme];
  if (kind === undefined) return refuse(`${scheme}://`);
  if (!URL.canParse(address)) return refuse(`${scheme}:// and what is no address`);
  const url = new URL(address);
  const prefix = url.searchParams.get("prefix") ?? "laurel";
  if (!PREFIX.test(prefix) || prefix.toLowerCase().startsWith("pg_")) {
    return refuse(`a prefix of other than 1 to 40 letters, digits and _, or one that begins with pg_`);
  }
  url.searchParams.delete("prefix");
  // what the client takes them for, said so that it does not print a warning
  if (
    /^(prefer|require|verify-ca)$/.test(url.searchParams.get("sslmode") ?? "") &&
    !url.searchParams.has("uselibpqcompat")
  ) {
    url.searchParams.set("sslmode", "verify-full");
  }
  if (kind === "redis" && [...url.searchParams].length > 0) {
    return refuse(`the setting ${[...url.searchParams.keys()].join(", ")}; there is only prefix`);
  }
  if (kind === "redis" && url.hostname === "") return refuse("no host");
  const path = url.pathname.replace(/^\//, "");
  if (kind === "redis" && !/^\d{0,4}$/.test(path)) return refuse(`the database "${path}", which is a number on Redis`);
  const secret = decode(url.password) || (url.searchParams.get("password") ?? "");
  const host = url.searchParams.get("host") ?? url.hostname.replace(/^\[|\]$/g, "");
  const port = Number(url.searchParams.get("port") ?? (url.port || (kind === "redis" ? 6379 : 5432)));
  const user = url.username === "" ? "" : `${url.username}@`;
  return {
    kind,
    shown: `${scheme}://${user}${url.hostname === "" ? host : url.hostname}:${port}${path === "" ? "" : `/${path}`}`,
    url: url.href,
    host: host === "" ? "localhost" : host,
    port,
    tls: scheme === "rediss",
    username: url.username === "" ? undefined : decode(url.username),
    password: secret === "" ? undefined : new Secret(secret, "queue"),
    database: kind === "redis" && path !== "" ? Number(path) : 0,
    prefix,
  };
}

const KINDS: Readonly<Record<string, QueueAddress["kind"] | undefined>> = {
  redis: "redis",
  rediss: "redis",
  postgres: "postgres",
  postgresql: "postgres",
};

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // a % that stands for itself
    return text;
  }
}
