/** @file What can go wrong between Laurel and the hub, in words a user can act on. */

import { BackendError, type LaurelError, ModelError } from "../../errors.js";
import type { Repository } from "./repository.js";

/** A failure that may pass: the same request may work later. */
export class TransientFailure extends BackendError {
  /** What the server asked to wait, milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, retryAfterMs?: number, options?: ErrorOptions) {
    super(message, options);
    this.retryAfterMs = retryAfterMs;
  }
}

/** What a request was for. */
export interface RequestContext {
  readonly endpoint: string;
  readonly hasToken: boolean;
  readonly repository: Repository | undefined;
  /** The file; undefined for the repository itself. */
  readonly path: string | undefined;
}

type Header = (name: string) => string | undefined;

/** The error that a status stands for; undefined for a success. */
export function explainStatus(
  status: number,
  header: Header,
  body: string,
  context: RequestContext,
): LaurelError | undefined {
  if (status < 300) return undefined;
  const what = describeTarget(context);
  const code = header("x-error-code") ?? "";
  const said = header("x-error-message") ?? firstWords(body);
  if (status === 429 || status === 408 || status === 425 || status >= 500) {
    const wait = retryAfter(header("retry-after"), Date.now());
    const asked = wait === undefined ? "" : `; it asks to wait ${Math.ceil(wait / 1000)} s`;
    const meaning = status === 429 ? "too many requests" : "a failure of the server";
    return new TransientFailure(
      `${what}: expected an answer of ${context.endpoint}, got ${status}, ${meaning}${asked}`,
      wait,
    );
  }
  if (status === 401 || status === 403 || code === "GatedRepo") return refusal(status, code, said, what, context);
  if (status === 404) return absence(code, what, context);
  const reply = said === "" ? String(status) : `${status}: ${said}`;
  return new ModelError(`${what}: expected an answer of ${context.endpoint}, got ${reply}`);
}

/** Not for this user: a licence that was not accepted, a token that is missing or wrong, a name that does not exist. */
function refusal(status: number, code: string, said: string, what: string, context: RequestContext): LaurelError {
  const { endpoint, hasToken, repository } = context;
  const page = repository === undefined ? endpoint : `${endpoint}/${repository.id}`;
  const login = hasToken ? "with the account of this token" : "and set HF_TOKEN to a token of that account";
  if (code === "GatedRepo" || /gated|awaiting|accept/i.test(said)) {
    return new ModelError(
      `${what}: expected a model this user may fetch, got one with a licence to accept (${status}); accept it at ${page} ${login}`,
    );
  }
  if (code === "RepoNotFound" || (status === 401 && !hasToken)) {
    const hint = hasToken ? "this token may not see it" : "set HF_TOKEN if it is private";
    return new ModelError(
      `${what}: expected a repository on ${endpoint}, got none of that name, or a private one; ${hint}`,
    );
  }
  const meaning =
    status === 401 ? "a token that is not valid; look at HF_TOKEN" : "no right to read it with this token";
  return new ModelError(`${what}: expected to be let in by ${endpoint}, got ${status}: ${meaning}`);
}

function absence(code: string, what: string, { endpoint, repository, path }: RequestContext): LaurelError {
  if (path !== undefined && code !== "RepoNotFound" && code !== "RevisionNotFound") {
    return new ModelError(`${what}: expected a file on ${endpoint}, got none of that name`);
  }
  if (code === "RevisionNotFound") {
    return new RevisionAbsent(`${repository?.id ?? what}: expected a revision, got none named ${repository?.revision}`);
  }
  return new RepositoryAbsent(`${what}: expected a repository on ${endpoint}, got none of that name`);
}

/** A revision that a repository does not have. */
export class RevisionAbsent extends ModelError {}

/** A repository that the hub does not have. */
export class RepositoryAbsent extends ModelError {}

function describeTarget({ repository, path }: RequestContext): string {
  return [repository?.id, path].filter((part) => part !== undefined).join(": ");
}

/** What a failed answer says, in one line: a page's title, a JSON's `error`, or its first words. */
function firstWords(body: string): string {
  const title = /<title[^>]*>([^<]*)/i.exec(body)?.[1]?.trim();
  if (title !== undefined) return `an HTML page (${title.slice(0, 100)})`;
  if (/^\s*</.test(body)) return "an HTML page";
  try {
    const { error } = JSON.parse(body) as { error?: unknown };
    if (typeof error === "string") return error.slice(0, 200);
  } catch {
    // not JSON: the text itself is the message
  }
  return body.replace(/\s+/g, " ").trim().slice(0, 200);
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ENOTFOUND: "no such host",
  EAI_AGAIN: "a host name that cannot be resolved now",
  ECONNRESET: "connection reset",
  EPIPE: "connection reset",
  UND_ERR_SOCKET: "connection closed before the end",
  UND_ERR_BODY_TIMEOUT: "no more bytes (the answer stalled)",
  UND_ERR_HEADERS_TIMEOUT: "no answer in time",
  UND_ERR_CONNECT_TIMEOUT: "no connection within 10 s",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "an end before all bytes had come",
};

/** What a connection that failed says. Certificates do not become right by waiting; the rest may. */
export function networkFailure(error: unknown, where: string): Error {
  if (!(error instanceof Error)) return new TransientFailure(`${where}: expected an answer, got ${String(error)}`);
  const { code = "", errors } = error as NodeJS.ErrnoException & { errors?: NodeJS.ErrnoException[] };
  const known = code === "" ? (errors?.[0]?.code ?? "") : code;
  if (/CERT|SSL|EPROTO|UNABLE_TO/.test(known)) {
    return new BackendError(
      `${where}: expected a certificate to be trusted, got ${known}; name the authority that signed it in NODE_EXTRA_CA_CERTS`,
      { cause: error },
    );
  }
  return new TransientFailure(`${where}: expected an answer, got ${REASONS[known] ?? error.message}`, undefined, {
    cause: error,
  });
}

/** `Retry-After` in milliseconds: seconds or a date (RFC 9110, section 10.2.3); undefined when it is neither. */
function retryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined || header.trim() === "") return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
