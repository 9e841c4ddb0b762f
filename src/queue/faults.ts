/** @file What goes wrong with queue servers, and what is said of it. */

import { connect } from "node:net";
import { LaurelError } from "../errors.js";
import { redact } from "../util/secret.js";
import type { QueueAddress } from "./address.js";
import { QueueError } from "./contract.js";

const AWAY_CODES = new Set([
  "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "ETIMEDOUT", "EPIPE", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "EHOSTDOWN", "ENETUNREACH", "ENETDOWN", "ENOENT",
]); // prettier-ignore
/** PostgreSQL: connection, resources, shut down or starting, read-only while it is a standby. */
const AWAY_STATES = /^(08|53|57P|25006)/;
/** Redis: restarts, has become a replica, cannot write to its disk, is full. */
const AWAY_REPLIES = /^(LOADING|READONLY|MISCONF|OOM|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|NOREPLICAS)\b/;
const AWAY_TEXTS =
  /^(Connection is closed|Connection terminated|Connection ended|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed|connect ETIMEDOUT|Query read timeout|Socket timeout|Stream isn't writeable)/;

/** Whether an error says that the server is not there at the moment, rather than that something is wrong with what was asked. */
export function isAway(error: unknown): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (error instanceof AggregateError && error.errors.length > 0) return isAway(error.errors[0]);
  if (typeof code === "string" && (AWAY_CODES.has(code) || AWAY_STATES.test(code))) return true;
  return typeof message === "string" && (AWAY_REPLIES.test(message) || AWAY_TEXTS.test(message));
}

/** Whether PostgreSQL undid what was asked since another asked for something that crosses it: the same again goes well. */
export function isConflict(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === "40P01" || code === "40001";
}

/** An error's text, in short and without secrets. */
export function reasonOf(error: unknown): string {
  const first = error instanceof AggregateError && error.errors.length > 0 ? (error.errors[0] as unknown) : error;
  const { message, code } = first as { message?: unknown; code?: unknown };
  const text = typeof message === "string" && message !== "" ? message : String(code ?? first);
  return redact(text.length > 500 ? `${text.slice(0, 500)}...` : text);
}

/** An error of a client or a server, as what callers are promised. */
export function asQueueError(shown: string, error: unknown): Error {
  // no cause: a client's errors may hold its settings, and these the password
  return error instanceof LaurelError ? error : new QueueError(`${shown}: ${reasonOf(error)}`);
}

/** What an error on the way to a server means: `expected X, got Y`. A connection that ended without a word is looked into. */
export async function queueFault(address: QueueAddress, error: unknown): Promise<QueueError> {
  if (error instanceof QueueError) return error;
  const reason = reasonOf(error);
  const { code } = (error instanceof AggregateError ? error.errors[0] : error) as { code?: string };
  const what =
    (code === undefined ? undefined : describeCode(address, code)) ??
    describeText(address, reason) ??
    describeTls(address, reason) ??
    (await describeSilence(address)) ??
    (code === "ETIMEDOUT"
      ? `expected a host that can be reached, got no answer from ${address.host}, port ${address.port}`
      : undefined);
  return new QueueError(`${address.shown}: ${what === undefined ? `expected a queue server, got ${reason}` : `${what} (${reason})`}`); // prettier-ignore
}

function describeCode(address: QueueAddress, code: string): string | undefined {
  const { host, port, kind } = address;
  switch (code) {
    case "ECONNREFUSED":
      return `expected a ${SERVER[kind]} server, got nothing that listens on ${host}, port ${port}`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `expected a host, got a name that is not known: ${host}`;
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return `expected a host that can be reached, got no answer from ${host}, port ${port}`;
    case "ENOENT":
      return `expected a ${SERVER[kind]} server, got no socket at ${host}`;
    case "28P01":
    case "28000":
      return "expected a user and password that the server accepts, got others";
    case "3D000":
      return "expected a database that exists, got another; create it with createdb";
    case "42501":
      return `expected the right to use and, once, to create the schema ${address.prefix}, got less; have it created: CREATE SCHEMA ${address.prefix} AUTHORIZATION the user`;
    case "25006":
      return "expected a server that can be written to, got a read-only one (a standby?)";
    case "57P03":
      return "expected a server that is up, got one that is starting or stopping";
    case "53300":
      return "expected a server with a connection to spare, got one that has too many";
    default:
      return undefined;
  }
}

const SERVER = { redis: "Redis", postgres: "PostgreSQL" } as const;

function describeText(address: QueueAddress, reason: string): string | undefined {
  if (/^NOAUTH|client password must be a string|no password supplied/i.test(reason)) {
    return "expected a password in the address, got none";
  }
  if (/^(WRONGPASS|ERR invalid password)/i.test(reason)) {
    return "expected a user and password that the server accepts, got others";
  }
  if (/without any password configured|no password is set/i.test(reason)) {
    return "expected no password in the address, as the server has none, got one";
  }
  if (reason.startsWith("NOPERM")) return `expected the right to all commands on ${address.prefix}:*, got less`;
  if (reason.startsWith("READONLY")) return "expected a server that can be written to, got a read-only replica";
  if (reason.startsWith("MISCONF")) return "expected a server that can be written to, got one that cannot save to its disk"; // prettier-ignore
  if (reason.startsWith("OOM")) return "expected a server with memory left, got a full one";
  if (reason.startsWith("LOADING")) return "expected a server that is up, got one that still loads its data";
  if (/^(MOVED|ASK|CROSSSLOT)\b/.test(reason)) return "expected one Redis server, got a cluster";
  if (/DB index is out of range/i.test(reason)) return "expected a database that exists, got another number";
  return undefined;
}

const NO_TLS = "expected a server that speaks TLS, got one that does not; its address begins with redis://";

function describeTls(address: QueueAddress, reason: string): string | undefined {
  if (/wrong version number|packet length too long|record layer failure|EPROTO/i.test(reason)) {
    return address.kind === "redis" ? NO_TLS : "expected a server that speaks TLS, got one that does not";
  }
  if (/does not support SSL/i.test(reason)) return "expected a server that speaks TLS, got one that does not";
  if (/certificate|self.signed|altname/i.test(reason)) {
    return "expected a certificate that this machine trusts, got another; NODE_EXTRA_CA_CERTS names a file of own authorities";
  }
  return undefined;
}

/** Asks as a browser would: what answers to that is no queue server. */
async function describeSilence(address: QueueAddress): Promise<string | undefined> {
  const kind = SERVER[address.kind];
  if (address.host.startsWith("/")) return undefined;
  switch (await greet(address)) {
    case "http":
      return `expected a ${kind} server, got a web server`;
    case "tls":
      return `expected a ${kind} server without TLS, got one that speaks TLS${address.kind === "redis" ? "; its address begins with rediss://" : "; add ?sslmode=require"}`;
    case "redis":
      if (address.kind === "postgres") return "expected a PostgreSQL server, got a Redis server";
      return address.tls ? NO_TLS : undefined;
    case "postgres":
      return address.kind === "redis" ? "expected a Redis server, got a PostgreSQL server" : undefined;
    case "silent":
      return `expected a ${kind} server, got one that says nothing`;
    case undefined:
      return undefined;
  }
}

const GREET_MS = 1500;
type Greeted = "http" | "tls" | "redis" | "postgres" | "silent" | undefined;
/** Asks PostgreSQL for TLS: it answers S or N, and says nothing to what it does not know. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

async function greet(address: QueueAddress): Promise<Greeted> {
  const known = await said(address, "GET / HTTP/1.0\r\n\r\n", (bytes) => {
    const text = bytes.toString("latin1");
    if (text.startsWith("HTTP/")) return "http";
    if (bytes[0] === 0x15 && bytes[1] === 0x03) return "tls";
    return /^[-+]/.test(text) ? "redis" : undefined;
  });
  return known ?? said(address, SSL_REQUEST, (bytes) => (/^[SN]$/.test(bytes.toString("latin1")) ? "postgres" : undefined)); // prettier-ignore
}

/** What answers to `words`. */
async function said(
  address: QueueAddress,
  words: string | Uint8Array,
  read: (bytes: Buffer) => Greeted,
): Promise<Greeted> {
  return new Promise((resolve) => {
    const socket = connect({ host: address.host, port: address.port });
    const end = (what: Greeted): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(what);
    };
    const timer = setTimeout(() => end(socket.connecting ? undefined : "silent"), GREET_MS);
    socket.once("connect", () => socket.write(words));
    socket.once("error", () => end(undefined));
    socket.once("close", () => end(undefined));
    socket.once("data", (bytes) => end(read(bytes)));
  });
}
