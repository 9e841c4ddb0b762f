/** @file What a connection that failed says, as the fault it is and in words a user can act on. */

/** `unavailable` may pass, `untrusted` is about certificates and TLS, `bad-response` is no HTTP. */
export type NetworkFault = "unavailable" | "untrusted" | "bad-response";

type Reason = readonly [fault: NetworkFault, text: string];

const TRUST = "; name the authority that signed it in NODE_EXTRA_CA_CERTS";

/** By the codes of Node, OpenSSL and undici. */
const REASONS: Readonly<Record<string, Reason>> = {
  ECONNREFUSED: ["unavailable", "connection refused; is the server running?"],
  ENOTFOUND: ["unavailable", "no such host"],
  EAI_AGAIN: ["unavailable", "the host name cannot be resolved now"],
  ECONNRESET: ["unavailable", "connection reset"],
  EPIPE: ["unavailable", "connection reset"],
  UND_ERR_SOCKET: ["unavailable", "connection closed before the answer was complete"],
  UND_ERR_BODY_TIMEOUT: ["unavailable", "the answer stalled"],
  UND_ERR_CONNECT_TIMEOUT: ["unavailable", "no connection within 10 s"],
  UND_ERR_HEADERS_OVERFLOW: ["bad-response", "expected an answer, got more than 16 KiB of headers"],
  DEPTH_ZERO_SELF_SIGNED_CERT: ["untrusted", `its certificate is self-signed${TRUST}`],
  SELF_SIGNED_CERT_IN_CHAIN: ["untrusted", `its certificate is signed by an unknown authority${TRUST}`],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ["untrusted", `its certificate is signed by an unknown authority${TRUST}`],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ["untrusted", `its certificate is signed by an unknown authority${TRUST}`],
  CERT_HAS_EXPIRED: ["untrusted", "its certificate has expired"],
  CERT_NOT_YET_VALID: ["untrusted", "its certificate is not valid yet; is the clock right?"],
  ERR_TLS_CERT_ALTNAME_INVALID: ["untrusted", "its certificate is for another host"],
};

/** Families of codes. */
const FAMILIES: readonly (readonly [RegExp, Reason])[] = [
  [/^HPE_/, ["bad-response", "expected an answer in HTTP, got something else"]],
  [/^Z_/, ["bad-response", "expected a compressed answer, got damaged bytes"]],
  [/^ERR_SSL_|^EPROTO$/, ["untrusted", "expected TLS, got something else; is it http rather than https?"]],
];

/** Why `error`, thrown by fetch or `node:http`, failed; undefined when it is no failure of the network. */
export function networkReason(error: unknown): Reason | undefined {
  if (!(error instanceof Error)) return undefined;
  const cause = (error.cause ?? error) as NodeJS.ErrnoException & { errors?: NodeJS.ErrnoException[] };
  // undici gives some of its parser's errors no code
  const code = cause.code ?? cause.errors?.[0]?.code ?? (cause.name === "HTTPParserError" ? "HPE_UNKNOWN" : undefined);
  if (code === undefined && error.message !== "fetch failed" && error.message !== "terminated") return undefined;
  if (code === "EPRIVATE") return ["bad-response", cause.message];
  return (
    REASONS[code ?? ""] ??
    FAMILIES.find(([family]) => family.test(code ?? ""))?.[1] ?? [
      "unavailable",
      cause.message.split("\n")[0] ?? String(error),
    ]
  );
}
