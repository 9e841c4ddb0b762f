/**
 * @file A strict S3 server in memory that fails on demand. It checks every signature (AWS Signature Version 4, header form) with the algorithm as published,
 * knows one bucket, addresses by path alone, and pages its listings. Source: the S3 API reference, "Authenticating Requests: Using the Authorization Header".
 */

import { createHash, createHmac } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What happens to a request instead of a good answer. */
export type S3Fault =
  | {
      readonly kind: "error";
      readonly status: number;
      readonly code: string;
      readonly message?: string;
      readonly headers?: Record<string, string>;
      readonly extra?: string;
    }
  /** Any answer at all. */
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly type: string;
      readonly body: string;
      readonly headers?: Record<string, string>;
    }
  /** Closes the connection when the first bytes of the body have come, or at once without a body. */
  | { readonly kind: "reset" }
  /** Half of the body under the length of the whole, then the connection closes. */
  | { readonly kind: "cut" }
  /** Half of the body, said to be all of it. */
  | { readonly kind: "short" }
  /** A body of the right length with other bytes. */
  | { readonly kind: "garbled" }
  /** Nothing. */
  | { readonly kind: "stall" }
  /** Half of the body, then nothing. */
  | { readonly kind: "stall-body" };

/** A fault, for requests of one method or of all, so many times. */
export interface PlannedFault {
  readonly fault: S3Fault;
  readonly method?: "GET" | "PUT" | "DELETE" | undefined;
  /** @default Infinity */
  times?: number;
}

interface Stored {
  readonly bytes: Buffer;
  readonly metadata: Readonly<Record<string, string>>;
  readonly type: string;
}

const KEY_ID = "STUBKEYIDENTIFIER";
const SECRET = "stub/secret+of/the+strict/server";
const REGION = "us-east-1";
const SKEW_MS = 15 * 60_000;

/** A running stub. */
export class S3Stub {
  readonly objects = new Map<string, Stored>();
  /** Requests as they came in: method, path with query, headers. */
  readonly seen: { readonly method: string; readonly path: string; readonly headers: IncomingMessage["headers"] }[] =
    [];
  pageSize = 3;
  /** Milliseconds that the server's clock is ahead. */
  clockOffsetMs = 0;
  #planned: PlannedFault[] = [];
  readonly #server = createServer((request, response) => void this.#answer(request, response));

  /** Starts one on a free port, or the one given. */
  static async start(port = 0): Promise<S3Stub> {
    const stub = new S3Stub();
    await new Promise<void>((resolve) => stub.#server.listen(port, "127.0.0.1", resolve));
    return stub;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The right credentials, as the environment has them. */
  get environment(): Record<string, string> {
    return { AWS_ACCESS_KEY_ID: KEY_ID, AWS_SECRET_ACCESS_KEY: SECRET, AWS_ENDPOINT_URL_S3: this.url };
  }

  fail(fault: S3Fault, { method, times }: Omit<PlannedFault, "fault"> = {}): void {
    this.#planned.push({ fault, method, times: times ?? Infinity });
  }

  heal(): void {
    this.#planned = [];
    this.clockOffsetMs = 0;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #fault(method: string): S3Fault | undefined {
    const planned = this.#planned.find((one) => (one.method ?? method) === method && one.times! > 0);
    if (planned !== undefined) planned.times! -= 1;
    return planned?.fault;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "" } = request;
    this.seen.push({ method, path: url, headers: request.headers });
    response.setHeader("date", new Date(Date.now() + this.clockOffsetMs).toUTCString());
    const fault = this.#fault(method);
    if (fault?.kind === "reset") {
      if (method === "PUT") request.once("data", () => request.socket.destroy());
      else request.socket.destroy();
      return;
    }
    const pieces: Buffer[] = [];
    try {
      for await (const piece of request) pieces.push(piece as Buffer);
    } catch {
      return; // the client went away
    }
    const body = Buffer.concat(pieces);
    if (fault?.kind === "stall") return;
    if (fault?.kind === "error") {
      const { status, code, message = code, headers = {}, extra = "" } = fault;
      response.writeHead(status, { "content-type": "application/xml", ...headers });
      response.end(errorXml(code, message, extra));
      return;
    }
    if (fault?.kind === "answer") {
      response.writeHead(fault.status, { "content-type": fault.type, ...fault.headers });
      response.end(fault.body);
      return;
    }
    const refusal = refusalOf(request, body, Date.now() + this.clockOffsetMs);
    if (refusal !== undefined) return sendError(response, ...refusal);
    const { pathname, searchParams } = new URL(url, this.url);
    const [, bucket = "", ...rest] = pathname.split("/");
    if (bucket !== "bucket") return sendError(response, 404, "NoSuchBucket", "The specified bucket does not exist");
    const key = decodeURIComponent(rest.join("/"));
    if (key === "" && method === "GET" && searchParams.get("list-type") === "2")
      return this.#list(response, searchParams);
    if (key === "" || url.includes("?") === (searchParams.get("x-id") === null)) {
      return sendError(response, 400, "InvalidRequest", `not expected here: ${url}`);
    }
    this.#object(request, response, { method, key, body, fault });
  }

  #object(
    request: IncomingMessage,
    response: ServerResponse,
    { method, key, body, fault }: { method: string; key: string; body: Buffer; fault: S3Fault | undefined },
  ): void {
    const stored = this.objects.get(key);
    if (method === "PUT") {
      if (request.headers["content-encoding"]?.includes("aws-chunked") === true) {
        return sendError(response, 501, "NotImplemented", "aws-chunked");
      }
      const metadata = Object.entries(request.headers).filter(([name]) => name.startsWith("x-amz-meta-"));
      const type = request.headers["content-type"] ?? "";
      this.objects.set(key, { bytes: body, metadata: Object.fromEntries(metadata) as Record<string, string>, type });
      response.writeHead(200, { etag: tag(body) }).end();
    } else if (method === "DELETE") {
      this.objects.delete(key);
      response.writeHead(204).end();
    } else if (method !== "GET") {
      sendError(response, 405, "MethodNotAllowed", method);
    } else if (stored === undefined) {
      sendError(response, 404, "NoSuchKey", "The specified key does not exist.");
    } else {
      const ranged = request.headers.range === "bytes=0-0";
      if (ranged && stored.bytes.length === 0) return sendError(response, 416, "InvalidRange", "not satisfiable");
      const content = ranged ? stored.bytes.subarray(0, 1) : stored.bytes;
      sendObject(response, content, stored, ranged ? 206 : 200, fault?.kind);
    }
  }

  #list(response: ServerResponse, query: URLSearchParams): void {
    const prefix = query.get("prefix") ?? "";
    const after = query.get("continuation-token") ?? query.get("start-after") ?? "";
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    const page = keys.slice(0, this.pageSize);
    const more = keys.length > page.length;
    const contents = page.map((key) => {
      const { bytes } = this.objects.get(key)!;
      return `<Contents><Key>${key}</Key><Size>${bytes.length}</Size><ETag>${tag(bytes)}</ETag></Contents>`;
    });
    const next = more ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : "";
    response.writeHead(200, { "content-type": "application/xml" });
    response.end(
      `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>bucket</Name><Prefix>${prefix}</Prefix>` +
        `<KeyCount>${page.length}</KeyCount><IsTruncated>${more}</IsTruncated>${next}${contents.join("")}</ListBucketResult>`,
    );
  }
}

function sendObject(
  response: ServerResponse,
  content: Buffer,
  { bytes, metadata, type }: Stored,
  status: number,
  fault: S3Fault["kind"] | undefined,
): void {
  const half = content.subarray(0, content.length >> 1);
  const length = fault === "short" ? half.length : content.length;
  response.writeHead(status, { "content-type": type, "content-length": length, etag: tag(bytes), ...metadata });
  if (fault === "short") response.end(half);
  else if (fault === "garbled") response.end(content.map((byte) => byte ^ 0xff));
  else if (fault === "stall-body") response.write(half);
  else if (fault === "cut") response.write(half, () => setImmediate(() => response.socket?.destroy()));
  else response.end(content);
}

type Refusal = readonly [status: number, code: string, message: string, extra?: string];

function sendError(response: ServerResponse, ...[status, code, message, extra = ""]: Refusal): void {
  response.writeHead(status, { "content-type": "application/xml" }).end(errorXml(code, message, extra));
}

function errorXml(code: string, message: string, extra: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${message}</Message>${extra}<RequestId>1</RequestId></Error>`;
}

const tag = (bytes: Buffer): string => `"${createHash("md5").update(bytes).digest("hex")}"`;
const hex = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("hex");
const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();

/** Why a request is refused, undefined for a good signature. */
function refusalOf(request: IncomingMessage, body: Buffer, now: number): Refusal | undefined {
  const { authorization = "" } = request.headers;
  if (authorization === "") return [403, "AccessDenied", "Access Denied"];
  const form =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$/;
  const match = form.exec(authorization);
  if (match === null) return [400, "AuthorizationHeaderMalformed", "malformed"];
  const [, keyId, day, region, names = "", signature] = match;
  if (keyId !== KEY_ID)
    return [403, "InvalidAccessKeyId", "The access key does not exist", `<AWSAccessKeyId>${keyId}</AWSAccessKeyId>`];
  if (region !== REGION) {
    return [
      400,
      "AuthorizationHeaderMalformed",
      `the region '${region}' is wrong; expecting '${REGION}'`,
      `<Region>${REGION}</Region>`,
    ];
  }
  const stamp = String(request.headers["x-amz-date"]);
  const [, Y, M, D, h, m, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(stamp) ?? [];
  const sent = Date.parse(`${Y}-${M}-${D}T${h}:${m}:${s}Z`);
  if (!(Math.abs(sent - now) < SKEW_MS)) {
    const extra = `<RequestTime>${stamp}</RequestTime><ServerTime>${new Date(now).toISOString()}</ServerTime>`;
    return [
      403,
      "RequestTimeTooSkewed",
      "The difference between the request time and the server's time is too large.",
      extra,
    ];
  }
  const payload = String(request.headers["x-amz-content-sha256"]);
  if (payload !== hex(body)) return [400, "XAmzContentSHA256Mismatch", "the body is not what was signed"];
  const signed = names.split(";");
  if (!signed.includes("host") || !signed.includes("x-amz-content-sha256"))
    return [403, "AccessDenied", "host not signed"];
  const [path = "", query = ""] = request.url!.split("?");
  const canonical = [
    request.method,
    path,
    query
      .split("&")
      .filter((part) => part !== "")
      .map((part) => (part.includes("=") ? part : `${part}=`))
      .sort()
      .join("&"),
    ...signed.map((name) => `${name}:${String(request.headers[name]).trim().replace(/ +/g, " ")}`),
    "",
    names,
    payload,
  ].join("\n");
  const toSign = ["AWS4-HMAC-SHA256", stamp, `${day}/${region}/s3/aws4_request`, hex(canonical)].join("\n");
  const key = ["s3", "aws4_request"].reduce(hmac, hmac(hmac(`AWS4${SECRET}`, day!), region!));
  if (hmac(key, toSign).toString("hex") === signature) return undefined;
  return [
    403,
    "SignatureDoesNotMatch",
    "The request signature we calculated does not match",
    `<StringToSign>${toSign}</StringToSign>`,
  ];
}
