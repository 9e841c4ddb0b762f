/** @file What can go wrong between Laurel and a server, told apart by what to do about it. */

import { BackendError } from "../../errors.js";

/**
 * - `invalid-request`: the server refused the request itself (4xx); asking again changes nothing.
 * - `unauthorised`: a key is missing, wrong, without the right or without credit (401, 402, 403).
 * - `rate-limited`: too many requests (429); later it may work.
 * - `unavailable`: no connection, a timeout, 5xx; later it may work.
 * - `untrusted`: its certificate does not hold, or it speaks no TLS.
 * - `bad-response`: the answer is not what the contract says.
 */
export type HttpFault =
  "invalid-request" | "unauthorised" | "rate-limited" | "unavailable" | "untrusted" | "bad-response";

/** A failed request. Its message is one line and holds no secret. */
export class HttpError extends BackendError {
  readonly fault: HttpFault;
  /** Status of the answer; undefined when there was none. */
  readonly status: number | undefined;
  /** What the server asked to wait, milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    facts: { fault: HttpFault; status?: number | undefined; retryAfterMs?: number | undefined },
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.fault = facts.fault;
    this.status = facts.status;
    this.retryAfterMs = facts.retryAfterMs;
  }

  /** True when the same request may work later. */
  get transient(): boolean {
    return this.fault === "unavailable" || this.fault === "rate-limited";
  }
}

/** The fault that a status stands for. */
export function faultOfStatus(status: number): HttpFault {
  if (status >= 401 && status <= 403) return "unauthorised";
  if (status === 429) return "rate-limited";
  if (status === 408 || status === 425 || status >= 500) return "unavailable";
  return status >= 400 ? "invalid-request" : "bad-response";
}

/**
 * What the body of a failed request says, in one line: the forms of FastAPI (`detail`), OpenAI (`error.message`), AUTOMATIC1111
 * (`error`, `detail`, `errors`), ComfyUI (`error`, `node_errors`), plain text, or the title of an HTML page.
 */
export function describeBody(bytes: Uint8Array, contentType: string): string {
  const text = new TextDecoder().decode(bytes.subarray(0, 65_536)).trim();
  if (text === "") return "an empty answer";
  if (contentType.includes("html") || /^<(!doctype|html)/i.test(text)) {
    const title = /<title[^>]*>([^<]*)/i.exec(text)?.[1]?.trim();
    return `an HTML page${title === undefined || title === "" ? "" : ` (${oneLine(title)})`}`;
  }
  try {
    const said = messageOf(JSON.parse(text));
    if (said !== undefined) return oneLine(said);
  } catch {
    // not JSON: the text itself is the message
  }
  return oneLine(text);
}

/** Milliseconds that the body of a failed request asks to wait: `estimated_time` in seconds, as Hugging Face's servers say while a model loads. */
export function waitOfBody(bytes: Uint8Array): number | undefined {
  if (bytes.byteLength > 65_536) return undefined;
  try {
    const { estimated_time: seconds } = (JSON.parse(new TextDecoder().decode(bytes)) ?? {}) as Record<string, unknown>;
    return typeof seconds === "number" && seconds >= 0 && Number.isFinite(seconds) ? seconds * 1000 : undefined;
  } catch {
    return undefined;
  }
}

function messageOf(json: unknown): string | undefined {
  if (typeof json === "string") return json;
  if (Array.isArray(json)) {
    const all = json.map(messageOf).filter((one) => one !== undefined);
    return all.length === 0 ? undefined : all.join("; ");
  }
  if (typeof json !== "object" || json === null) return undefined;
  const object = json as Record<string, unknown>;
  // pydantic: { loc: ["body", "steps"], msg: "..." }
  if (typeof object["msg"] === "string") {
    const loc = Array.isArray(object["loc"]) ? `${object["loc"].join(".")}: ` : "";
    return `${loc}${object["msg"]}`;
  }
  const nodes = object["node_errors"];
  const parts = ["error", "message", "detail", "details", "errors"]
    .map((key) => messageOf(object[key]))
    // ComfyUI says what is wrong with a node beside the error, by node
    .concat(typeof nodes === "object" && nodes !== null ? messageOf(Object.values(nodes)) : undefined)
    .filter((one) => one !== undefined && one !== "");
  return parts.length === 0 ? undefined : [...new Set(parts)].join(": ");
}

/** What a server says, for a message: one line, 300 characters at most. */
export function oneLine(text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length > 300 ? `${line.slice(0, 300)}...` : line;
}

/** `Retry-After` in milliseconds: seconds or a date (RFC 9110, section 10.2.3); undefined when it is neither. */
export function retryAfter(header: string | null, now: number): number | undefined {
  if (header === null) return undefined;
  const seconds = Number(header);
  if (header.trim() !== "" && Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
