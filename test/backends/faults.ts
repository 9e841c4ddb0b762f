/** @file What can go wrong with any server: faults that pass, which every backend survives, and answers that it refuses at once with a reason. */

import type { HttpError } from "#laurel/backends/http/error";
import type { Fault } from "./servers/scripted-server.js";

const html = { "content-type": "text/html" };
const status = (code: number, message: string): Fault => ({
  kind: "status",
  status: code,
  body: JSON.stringify({ error: message }),
});

/** Faults that pass: the second attempt works. A client that waits 300 ms for the next byte meets the stalled ones soon. */
export const FAULTS: readonly (readonly [string, Fault])[] = [
  ["a dropped connection", { kind: "drop" }],
  ["a cut answer", { kind: "cut" }],
  ["a stalled answer", { kind: "stall-body" }],
  ["429 with a wait", { kind: "status", status: 429, headers: { "retry-after": "0" } }],
  [
    "500 in plain text",
    { kind: "status", status: 500, body: "Internal Server Error", headers: { "content-type": "text/plain" } },
  ],
  [
    "502 with a page of the proxy",
    { kind: "status", status: 502, body: "<html><title>Bad Gateway</title></html>", headers: html },
  ],
  ["503", { kind: "status", status: 503 }],
  ["504", { kind: "status", status: 504 }],
];

/** Answers that end a request: what fault they are, and what the message says. */
export const REFUSALS: readonly (readonly [string, Fault, HttpError["fault"], RegExp])[] = [
  ["400", status(400, "no such size"), "invalid-request", /400: no such size/],
  ["401", status(401, "wrong key"), "unauthorised", /401: wrong key/],
  ["402", status(402, "credits exceeded"), "unauthorised", /402: credits exceeded/],
  ["403", status(403, "not yours"), "unauthorised", /403: not yours/],
  ["404", status(404, "no such model"), "invalid-request", /404: no such model/],
  ["422", status(422, "bad prompt"), "invalid-request", /422: bad prompt/],
  [
    "a page instead of an answer",
    { kind: "status", status: 200, body: "<html><title>Sign in</title></html>", headers: html },
    "bad-response",
    /expected/,
  ],
  [
    "garbage",
    { kind: "status", status: 200, body: Uint8Array.from({ length: 64 }, (_, i) => (i * 37) % 251) },
    "bad-response",
    /expected/,
  ],
  ["nothing", { kind: "status", status: 200, body: "" }, "bad-response", /expected/],
  ["another form", { kind: "status", status: 200, body: JSON.stringify({ hello: 1 }) }, "bad-response", /expected/],
  [
    "a redirect",
    { kind: "status", status: 302, headers: { location: "https://elsewhere.example/" } },
    "bad-response",
    /redirect to/,
  ],
];
