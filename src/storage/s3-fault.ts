/** @file What an error of S3's client says about a storage. */

import { networkReason } from "../util/network-error.js";
import { redact } from "../util/secret.js";
import { StorageError, type StorageFault } from "./contract.js";

/** An answer that is no answer of S3, such as the page of a proxy. The client tries again what has a status of 5xx. */
export class ForeignAnswer extends Error {
  readonly $metadata: { readonly httpStatusCode: number };

  constructor(
    readonly actual: string,
    status: number,
  ) {
    super(actual);
    this.$metadata = { httpStatusCode: status };
  }
}

/** What is known of a request that failed. */
export interface S3Request {
  /** `s3://bucket/prefix/key`. */
  readonly where: string;
  /** What it was for: `to read it`. */
  readonly goal: string;
  readonly bucket: string;
  /** The server, undefined for Amazon's. */
  readonly endpoint: URL | undefined;
  /** Whether any request has been answered: credentials that were there once may come back. */
  readonly answered: boolean;
}

/** The parts of the client's errors that say something. Each may be absent. */
interface ClientError {
  readonly name?: string;
  readonly message?: string;
  readonly Region?: string;
  readonly ServerTime?: string | Date;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $response?: { readonly statusCode?: number; readonly headers?: Readonly<Record<string, string>> };
}

type Reason = readonly [fault: StorageFault, actual: string];

/** By S3's codes, where the status says too little. Source: the S3 API reference, "Error responses". */
const FAULTS: Readonly<Record<string, StorageFault>> = {
  ExpiredToken: "denied",
  ExpiredTokenException: "denied",
  InvalidToken: "denied",
  InvalidAccessKeyId: "denied",
  SignatureDoesNotMatch: "denied",
  // versitygw's word for InvalidAccessKeyId, with 404
  XAdminUserNotFound: "denied",
  TokenRefreshRequired: "denied",
  RequestTimeout: "unavailable",
  OperationAborted: "unavailable",
  ConditionalRequestConflict: "unavailable",
  NotImplemented: "invalid",
};

/** `error` as the fault it is, without secrets; errors of ours stay. */
export function explainS3(error: unknown, request: S3Request): unknown {
  if (error instanceof StorageError) return error;
  const client = error as ClientError;
  const [fault, actual] = reasonOf(client, request);
  const text = redact(`${request.where}: expected ${request.goal}, got ${actual}`);
  // an error with an answer holds the request too, with its signature and token
  return new StorageError(text, fault, client.$response === undefined ? { cause: error } : {});
}

function reasonOf(error: ClientError, request: S3Request): Reason {
  const { name = "", message = "" } = error;
  const status = error.$metadata?.httpStatusCode ?? error.$response?.statusCode;
  if (status === undefined) return unansweredReason(error, request);
  if (error instanceof ForeignAnswer) return [status >= 500 ? "unavailable" : "invalid", `${error.actual} (${status})`];
  if (name === "RequestTimeTooSkewed") return skewReason(error);
  if (name === "NoSuchBucket") return ["invalid", `no bucket ${request.bucket}${server(request)}; is the name right?`];
  const region = error.$response?.headers?.["x-amz-bucket-region"] ?? error.Region;
  if (region !== undefined && (status === 301 || status === 307 || status === 400)) {
    return ["invalid", `a bucket in another region, ${clean(region)}; add ?region=${clean(region)} to the address`];
  }
  if (message.startsWith("Deserialization error") || name === "SyntaxError") {
    return [status >= 500 ? "unavailable" : "invalid", `an answer that is not S3's (${status})`];
  }
  const fault = FAULTS[name] ?? faultOfStatus(status);
  const said = ["", name, "UnknownError"].includes(clean(message)) ? "" : `: ${clean(message)}`;
  const reading = request.goal === "to read it" || request.goal === "to look for it";
  const hint =
    name === "AccessDenied" && reading ? "; without the right s3:ListBucket a missing object is answered so, too" : "";
  return [fault, `${clean(name)}${said} (${status})${hint}`];
}

/** No answer: no connection, no credentials, or a fault on this side. */
function unansweredReason(error: ClientError, request: S3Request): Reason {
  const { name = "", message = "" } = error;
  if (/^(CredentialsProviderError|TokenProviderError|CredentialsError)$/.test(name)) {
    if (request.answered) return ["unavailable", `credentials that cannot be had now: ${clean(message)}`];
    return [
      "denied",
      `no credentials (AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, AWS_PROFILE or the machine's role)`,
    ];
  }
  const network = networkReason(error);
  if (network !== undefined) {
    const fault = { unavailable: "unavailable", untrusted: "denied", "bad-response": "invalid" } as const;
    return [fault[network[0]], `${network[1]}${server(request)}`];
  }
  // the client's name for connections that were cut, too, which have a code
  if (name === "TimeoutError") return ["unavailable", `no answer in time${server(request)}`];
  if (/region is missing/i.test(message))
    return ["invalid", "no region; add ?region=... to the address, or set AWS_REGION"];
  return ["invalid", clean(message) === "" ? clean(name) : clean(message)];
}

function skewReason({ ServerTime, $response }: ClientError): Reason {
  const said = $response?.headers?.["date"] ?? ServerTime;
  const theirs =
    said === undefined || Number.isNaN(Date.parse(String(said))) ? "another" : new Date(said).toISOString();
  const ours = new Date().toISOString();
  return ["denied", `a clock that is off (RequestTimeTooSkewed): ${theirs} at the server, ${ours} here`];
}

function faultOfStatus(status: number): StorageFault {
  if (status === 401 || status === 403) return "denied";
  return status === 408 || status === 425 || status === 429 || status >= 500 ? "unavailable" : "invalid";
}

function server({ endpoint }: S3Request): string {
  return endpoint === undefined ? "" : ` (${endpoint.origin})`;
}

/** A server's words in one short line. */
function clean(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > 200 ? `${line.slice(0, 200)}...` : line;
}
